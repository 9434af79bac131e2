"""
`python3 -m runtime completion SHELL`: a script with which the shell completes commands, options, values and files.

The script is complete in itself: no Python starts when a key is pressed. It knows the commands and connectors that were
installed when it was printed, so print it again after an upgrade.
"""

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from middleware import ConfigError

from .config_settings import write_problems

__all__ = ["main", "make_parser"]

_PROGRAM = "mozaiks-runtime"
_SHELLS = ("bash", "fish", "zsh")
_FILES = {"CONNECTOR", "DOCUMENT", "FILE", "NEW", "OLD", "PATH"}
_EPILOG = f"""\
examples, for this shell alone:
  source <({_PROGRAM} completion bash)
  {_PROGRAM} completion fish | source
  eval "$({_PROGRAM} completion zsh)"

for every new shell; the folder for zsh is one of $fpath:
  {_PROGRAM} completion bash > ~/.local/share/bash-completion/completions/{_PROGRAM}
  {_PROGRAM} completion fish > ~/.config/fish/completions/{_PROGRAM}.fish
  {_PROGRAM} completion zsh > ~/.zfunc/_{_PROGRAM}

in a checkout, where no program has that name, a function takes its place; in bash and zsh:
  {_PROGRAM}() {{ python3 -m runtime "$@"; }}
  source <({_PROGRAM} completion bash)
"""


def main(argv: Sequence[str]) -> int:
    """Print the script of a shell; 0, 2 for wrong usage, or 3 when the connectors cannot be loaded."""
    options = make_parser().parse_args(argv)
    import shtab

    try:
        whole = _whole_command_line()
    except ConfigError as error:  # of a connector that another package adds
        return write_problems(error)
    sys.stdout.write(shtab.complete(whole, options.shell))
    return 0


def make_parser() -> argparse.ArgumentParser:
    """Return what reads the arguments."""
    parser = argparse.ArgumentParser(
        prog="python3 -m runtime completion",
        description=__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("shell", choices=_SHELLS, help="whose script to print")
    return parser


def _whole_command_line() -> argparse.ArgumentParser:
    """Return the parsers of all commands as one; it parses nothing."""
    from .main import COMMANDS

    whole = argparse.ArgumentParser(prog=_PROGRAM)
    whole.add_argument("--version", action="version", version="", help="print the version")
    commands = whole.add_subparsers()
    for name, command in COMMANDS.items():
        parser = importlib.import_module(command.module).make_parser()
        commands.add_parser(name, help=command.help, parents=[parser], add_help=False)
    _complete_files(whole)
    return whole


def _complete_files(parser: argparse.ArgumentParser) -> None:
    """Mark the arguments of *parser*, and of the parsers below it, that are names of files or folders."""
    import shtab

    for action in parser._actions:  # noqa: SLF001 - argparse has no other list of them; shtab reads the same
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - as above
            for below in action.choices.values():
                _complete_files(below)
        elif action.metavar == "FOLDER":
            action.complete = shtab.DIRECTORY  # type: ignore[attr-defined] # shtab's own attribute
        elif action.type is Path or action.metavar in _FILES:
            action.complete = shtab.FILE  # type: ignore[attr-defined] # as above
