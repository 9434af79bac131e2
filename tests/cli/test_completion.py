"""`python3 -m runtime completion`: what the script of each shell completes, and what is said where it cannot be made."""

import importlib
import shlex
import shutil
import subprocess
import sys
from contextlib import redirect_stdout
from functools import cache
from io import StringIO

import pytest

from middleware import ConfigError
from runtime.cli import completion, config_settings
from runtime.cli.main import COMMANDS, main
from runtime.connectors.registry import connectors

SHELLS = [shell for shell in ("bash", "fish", "zsh") if shutil.which(shell)]
# Calls the script's function as bash does when Tab is pressed at the end of the line.
PRESS_TAB = """
press_tab() {
    COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
    _shtab_mozaiks_runtime
    echo "${COMPREPLY[*]}"
}
"""


@cache
def script(shell):
    with redirect_stdout(StringIO()) as written:
        assert completion.main([shell]) == 0
    return written.getvalue()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_in_the_script_with_all_of_its_options(name):
    """A command without `make_parser` would be in it without options."""
    parser = importlib.import_module(COMMANDS[name].module).make_parser()
    (line,) = [line for line in script("bash").splitlines() if f"_runtime_{name}_option_strings=" in line]
    options = shlex.split(line.partition("=(")[2].removesuffix(")"))
    assert set(options) == {option for action in parser._actions for option in action.option_strings}


@pytest.mark.sockets
def test_bash_completes_commands_options_values_and_files(tmp_path):
    """In a real bash, a line of words each; the last word is what is completed."""
    services = sorted(one.name for one in connectors())
    hosting = next(one for one in connectors() if one.name == "hosting")
    (tmp_path / "traces.jsonl").touch()
    (tmp_path / "traces").mkdir()
    expected = {
        ("",): list(COMMANDS),
        ("do",): ["doctor"],
        ("doctor", "--ti"): ["--timeout"],
        ("stack", ""): ["up", "down", "status"],
        ("completion", ""): ["bash", "fish", "zsh"],
        ("demo", "--behind", "e"): ["envoy"],
        ("trace", "--outcome", "success", "--outcome", "can"): ["cancelled"],
        ("trace", "--html", "traces"): ["traces", "traces.jsonl"],
        ("new", "orders", "--output", "traces"): ["traces"],
        ("gateway", "--from", "traces.j"): ["traces.jsonl"],
        ("test", "--un"): ["--unit"],
        ("config", "check", "--proc"): ["--processes"],
        ("config", "explain", ""): services,
        ("config", "show", ""): services,
        ("config", "hosting", ""): list(hosting.operations),
    }
    lines = [f"press_tab mozaiks-runtime {shlex.join(words)}" for words in expected]
    text = "\n".join([script("bash"), PRESS_TAB, *lines])
    run = subprocess.run(["bash", "-c", text], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.stderr == ""
    found = dict(zip(expected, (sorted(line.split()) for line in run.stdout.splitlines()), strict=True))
    assert found == {words: sorted(values) for words, values in expected.items()}


@pytest.mark.sockets
@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_reads_its_script(shell, tmp_path):
    """No syntax error, in the shells that this machine has."""
    file = tmp_path / "script"
    file.write_text(script(shell))
    run = subprocess.run([shell, "-n", str(file)], capture_output=True, text=True, check=False)
    assert run.returncode == 0
    assert run.stderr == ""


def test_without_the_library_one_line_says_how_to_install_it(monkeypatch, capsys):
    """The help needs no library."""
    monkeypatch.setenv("MOZAIKS_VENV", "none")
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(["completion", "bash"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == "completion needs shtab: pip install -e '.[cli]'\n"
    with pytest.raises(SystemExit) as ended:
        main(["completion", "--help"])
    assert ended.value.code == 0
    assert "source <(mozaiks-runtime completion bash)" in capsys.readouterr().out


def test_a_connector_that_cannot_be_used_is_named(monkeypatch, capsys):
    """As in the other commands that read them."""

    def services():
        raise ConfigError(["orders: has no operations"])

    monkeypatch.setattr(config_settings, "services", services)
    assert completion.main(["zsh"]) == 3
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == "orders: has no operations\n"
