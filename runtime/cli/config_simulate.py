"""
`python3 -m runtime config simulate`: traffic on the real stack in virtual time, against a service that is ill.

Nothing is sent. Each seed is one run. Two policies meet the same calls and the same service in each seed, and a test
over the seeds says whether a difference between them is real or noise.
"""

import argparse
import json
import os
import shutil
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from middleware import ConfigError
from runtime._internal.files import write_text
from runtime.forecast.models import MODELS, model_of
from runtime.forecast.page import render_simulation
from runtime.forecast.report import compare, simulation_text, summary
from runtime.forecast.simulate import Run, Scenario, Sections, run_all, sections_of

from .config_settings import services, write_problems
from .config_target import add_target, number, operation_of, settings_of

__all__ = ["main", "make_parser"]

_EPILOG = """\
models, besides a status as 503 or 429:30:
{models}

examples:
  python3 -m runtime config simulate hosting --fault brownout:1.5 --rps 10 --processes 4
  python3 -m runtime config simulate hosting --fault errors:30% --rps 5 --vs new.toml --page compared.html
  python3 -m runtime config simulate billing --fault outage:hang --rps 20 --duration 180 --ill 30-60 --json

exit codes: 0 fine, 1 a file cannot be written, 2 wrong usage, 3 the settings cannot be used
"""


def main(argv: Sequence[str]) -> int:
    """Simulate one policy or two, and print the figures."""
    try:
        known = services()
    except ConfigError as error:
        return write_problems(error)
    parser = make_parser(known)
    options = parser.parse_args(argv)
    if options.ill is not None and options.ill[0] >= options.duration:
        parser.error(f"argument --ill: must begin before the end of --duration, {options.duration:g} s")
    connector = known[options.service]
    operation = operation_of(parser, connector, options.operation)
    try:
        model_of(options.fault)
    except ValueError as error:
        parser.error(f"argument --fault: {error}")
    files = {"now" if options.file is None else options.file.name: options.file}
    if options.vs is not None:
        files[options.vs.name if options.vs.name not in files else str(options.vs)] = options.vs
    if options.vs is not None and len(files) == 1:
        parser.error(f"argument --vs: {options.vs} is the file that it is compared with")
    try:
        found = [settings_of(parser, file, connector, operation) for file in files.values()]
    except ConfigError as error:
        return write_problems(error)
    ill = options.ill or (None, None)
    scenarios = [
        Scenario(
            fault=options.fault,
            rps=options.rps,
            processes=options.processes,
            duration_s=options.duration,
            ill_from_s=ill[0],
            ill_until_s=ill[1],
            latency_s=options.latency,
            operation=called,
        )
        for _, called in found
    ]
    cases = [(scenario, sections_of(one)) for scenario, (one, _) in zip(scenarios, found, strict=True)]
    runs = _run(cases, options)
    named = dict(zip(files, runs, strict=True))
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    shown = _json(scenarios[0], named) if options.json else simulation_text(scenarios[0], named, columns=columns)
    sys.stdout.write(shown)
    if options.page is None:
        return 0
    try:
        title = f"{options.service} under {options.fault}"
        write_text(options.page, render_simulation(scenarios[0], named, title=title))
    except OSError as error:
        sys.stderr.write(f"{options.page}: {error.strerror}\n")
        return 1
    return 0


def make_parser(known: Collection[str]) -> argparse.ArgumentParser:
    """Return what reads the arguments, for the services *known*."""
    models = "\n".join(f"  {one.form:<16}{one.doc}" for one in MODELS.values())
    parser = argparse.ArgumentParser(
        prog="python3 -m runtime config simulate",
        description=__doc__,
        epilog=_EPILOG.format(models=models),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_target(parser, known)
    parser.add_argument("--fault", required=True, metavar="MODEL", help="what is wrong with the service, see below")
    parser.add_argument(
        "--rps",
        type=number("the rate", least=0.001),
        required=True,
        metavar="N",
        help="calls per second of each process: with 10 processes, 10 are 100 in all",
    )
    parser.add_argument(
        "--processes", type=number("processes", least=1, whole=True), default=1, metavar="P", help="default 1"
    )
    parser.add_argument(
        "--duration", type=number("the duration", least=1), default=60.0, metavar="S", help="seconds; default 60"
    )
    parser.add_argument(
        "--ill", type=_period, metavar="FROM-TO", help="when the service is ill, in seconds; default from 1/6 to 2/3"
    )
    parser.add_argument("--vs", type=Path, metavar="OTHER", help="compare with the settings of another TOML file")
    parser.add_argument(
        "--seeds", type=number("seeds", least=1, whole=True), default=10, metavar="N", help="runs; default 10"
    )
    parser.add_argument(
        "--workers",
        type=number("workers", least=1, whole=True),
        metavar="N",
        help="processes that simulate; default one for each core",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of a table")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write an HTML page to a file")
    return parser


def _period(text: str) -> tuple[float, float]:
    try:
        begins, ends = map(float, text.split("-"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be like 10-40, got {text!r}") from None
    if not 0 <= begins < ends < float("inf"):
        raise argparse.ArgumentTypeError(f"must end after it begins, got {text!r}")
    return begins, ends


def _run(cases: Sequence[tuple[Scenario, Sections]], options: argparse.Namespace) -> list[list[Run]]:
    """Return the runs of each policy in the order of their seeds; says on a terminal how far it is."""
    found: list[list[Run]] = [[] for _ in cases]
    total, shows = options.seeds * len(cases), sys.stderr.isatty()
    workers = options.workers or len(os.sched_getaffinity(0))
    if shows:
        sys.stderr.write(f"\rrun 0 of {total}")
    for done, (index, run) in enumerate(run_all(cases, range(options.seeds), workers=workers), 1):
        found[index].append(run)
        if shows:
            sys.stderr.write(f"\rrun {done} of {total}" if done < total else "\r\033[K")
            sys.stderr.flush()
    return [sorted(runs, key=lambda run: run.seed) for runs in found]


def _json(scenario: Scenario, runs: dict[str, list[Run]]) -> str:
    names, setting = list(runs), scenario.setting
    document: dict[str, Any] = {
        "fault": scenario.fault,
        "rps": scenario.rps,
        "processes": scenario.processes,
        "duration_s": scenario.duration_s,
        "ill_s": [setting.ill_from_s, setting.ill_until_s],
        "policies": {
            name: {
                "figures": {figure: one._asdict() for figure, one in summary(scenario, found).items()},
                "runs": [
                    {
                        "seed": run.seed,
                        "calls": run.calls,
                        "succeeded": run.succeeded,
                        "requests": run.requests,
                        "rejected": run.rejected,
                        "errors": dict(run.errors),
                        "recovery_s": run.recovery_s,
                        "opened_at_s": run.opened_at_s,
                    }
                    for run in found
                ],
            }
            for name, found in runs.items()
        },
    }
    if len(names) > 1:
        differences = compare(scenario, runs[names[0]], runs[names[1]])
        document["differences"] = {figure: one._asdict() for figure, one in differences.items()}
    return json.dumps(document, indent=2) + "\n"
