"""
Build Jaeger and the Collector with Go, in the versions of docker-compose.otel.yml, and fetch Debian's Prometheus.

Prints the directory that contains `jaeger`, `otelcol-contrib`, `prometheus`, `promtool`, and `compose-spec`, which
checks compose files by the specification's own library. They are kept outside the project, in
`$XDG_CACHE_HOME/mozaiks-otel-stack` (or below `~/.cache`), one directory for each set of versions and modules; what is
there already is not made again. Ends with code 3 where no Prometheus is to be had.

With `--scale` only `jaeger`, and `otelcol-scale`: the Collector with the parts that dashboards/scale names.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, TypeAlias

import yaml

ROOT = Path(__file__).resolve().parents[1]
COMPOSE_GO = "v2.16.2"
NO_PROMETHEUS = 3
Maker: TypeAlias = Callable[[Path], list[Path]]
ENVIRONMENT = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-trimpath -buildvcs=false"}


def main() -> None:
    """Make what is missing."""
    compose = yaml.safe_load((ROOT / "docker-compose.otel.yml").read_text("utf-8"))
    version = {name: service["image"].rpartition(":")[2] for name, service in compose["services"].items()}
    modules = compose["x-go-modules"]
    recipe = (ROOT / ".ci" / "otelcol-builder.yml").read_text("utf-8") + json.dumps([modules, COMPOSE_GO])
    digest = hashlib.sha256(recipe.encode()).hexdigest()[:8]
    key = f"jaeger-{version['jaeger']}-otelcol-{version['otel-collector']}-{digest}"
    home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "mozaiks-otel-stack" / key
    home.mkdir(parents=True, exist_ok=True)

    def built(program: str, recipe: str) -> Maker:
        return lambda work: collector(work, program, recipe, version["otel-collector"], modules)

    makers: dict[str, Maker] = {
        "prometheus": prometheus,  # first, since without it nothing else is of use
        "promtool": prometheus,
        "otelcol-contrib": built("otelcol-contrib", "otelcol-builder.yml"),
        "jaeger": lambda work: jaeger(work, version["jaeger"], modules["jaeger"]),
        "compose-spec": compose_spec,
    }
    if "--scale" in sys.argv[1:]:
        makers = {"jaeger": makers["jaeger"], "otelcol-scale": built("otelcol-scale", "otelcol-scale-builder.yml")}
    for name, make in makers.items():
        if not (home / name).exists():
            started = time.monotonic()
            with tempfile.TemporaryDirectory(dir=home) as work:
                for path in make(Path(work)):
                    path.replace(home / path.name)  # atomically, so that no one runs half a program
            sys.stderr.write(f"{name}: made in {time.monotonic() - started:.0f} s\n")
    print(home)


def run(*command: str, cwd: Path, **environment: str) -> str:
    """Return what *command* printed; raises when it fails."""
    result = subprocess.run(
        command, cwd=cwd, env=ENVIRONMENT | environment, stdout=subprocess.PIPE, text=True, check=True, timeout=1500
    )
    return result.stdout


def collector(work: Path, program: str, recipe: str, version: str, modules: dict[str, str]) -> list[Path]:
    """The Collector's own builder, then what it wrote."""
    text = (ROOT / ".ci" / recipe).read_text("utf-8").replace("{version}", version)
    (work / "builder.yml").write_text(text.replace("{providers}", modules["otel-collector-providers"]), "utf-8")
    run("go", "install", f"go.opentelemetry.io/collector/cmd/builder@v{version}", cwd=work, GOBIN=str(work))
    run("./builder", "--skip-compilation", "--config=builder.yml", cwd=work)
    run("go", "build", "-ldflags=-s -w", "-o", str(work / program), ".", cwd=work / "source")
    return [work / program]


def jaeger(work: Path, version: str, module: str) -> list[Path]:
    """
    Jaeger's own module, built in its place: its go.mod replaces a dependency, which `go install` does not allow.

    The module contains no user interface; in its place the program shows a page that says so.
    """
    found = run("go", "mod", "download", "-json", f"github.com/jaegertracing/jaeger@{module}", cwd=work)
    flags = f"-s -w -X github.com/jaegertracing/jaeger/internal/version.latestVersion=v{version}"
    directory = Path(json.loads(found)["Dir"])
    run("go", "build", "-ldflags", flags, "-o", str(work / "jaeger"), "./cmd/jaeger", cwd=directory)
    return [work / "jaeger"]


def compose_spec(work: Path) -> list[Path]:
    """The command in the library that Docker Compose itself reads its files with."""
    found = run("go", "mod", "download", "-json", f"github.com/compose-spec/compose-go/v2@{COMPOSE_GO}", cwd=work)
    run("go", "build", "-o", str(work / "compose-spec"), "./cmd", cwd=Path(json.loads(found)["Dir"]))
    return [work / "compose-spec"]


def no_prometheus() -> NoReturn:
    """End with a code of its own: that is no fault of the project."""
    sys.stderr.write("no Prometheus to be had: neither on PATH nor by apt-get\n")
    sys.exit(NO_PROMETHEUS)


def prometheus(work: Path) -> list[Path]:
    """The machine's own if it has one, else Debian's package, unpacked and not installed: no service is started."""
    names = ("prometheus", "promtool")
    found = [shutil.which(name) for name in names]
    if all(found):
        return [Path(shutil.copy(str(path), work)) for path in found]
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        no_prometheus()
    commands = ("apt-get download prometheus", "apt-get update -qq", "apt-get download prometheus")  # lists grow old
    for command in commands:
        said = subprocess.run(command.split(), cwd=work, capture_output=True, check=False)
        if list(work.glob("*.deb")):
            break
    else:
        sys.stderr.write(said.stderr.decode("utf-8", "replace"))
        no_prometheus()
    (package,) = work.glob("*.deb")
    run("dpkg", "-x", str(package), str(work), cwd=work)
    return [work / "usr" / "bin" / name for name in names]


if __name__ == "__main__":
    main()
