"""
`python3 -m runtime config explain`: when the attempts of one call start and end while its service is ill.

The bounds are exact for a call of a new client that makes no other calls. With --rps also the requests per second that
the traffic makes of it, with and without the retry budget, when the circuit opens, and what callers get then.
"""

import argparse
import json
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

from middleware import ConfigError
from runtime._internal.files import write_text
from runtime.forecast.charts import schedule_svg
from runtime.forecast.explain import explain
from runtime.forecast.report import explanation_text

from .config_settings import services, write_problems
from .config_target import add_target, number, operation_of, settings_of

__all__ = ["main", "make_parser"]

_EPILOG = """\
faults:
  hang          reads the request and never responds
  503           a status; 429:30 with a Retry-After of 30 s
  refused       the connection is refused
  slow:2s       responds after 2 s
  lost          reads the request and resets the connection
  half-body     a 200 whose body ends too early
  flapping:5s   503 for 5 s, then well for 5 s, and so on

examples:
  python3 -m runtime config explain hosting
  python3 -m runtime config explain hosting deploy --fault 429:30 --rps 5
  python3 -m runtime config explain billing --fault slow:2s --file new.toml --svg schedule.svg

exit codes: 0 fine, 1 a file cannot be written, 2 wrong usage, 3 the settings cannot be used
"""


def main(argv: Sequence[str]) -> int:
    """Print the schedule of one call under a fault."""
    try:
        known = services()
    except ConfigError as error:
        return write_problems(error)
    parser = make_parser(known)
    options = parser.parse_args(argv)
    connector = known[options.service]
    operation = operation_of(parser, connector, options.operation)
    try:
        settings, operation = settings_of(parser, options.file, connector, operation)
        found = explain(settings, options.fault, operation=operation, rps=options.rps, latency_s=options.latency)
    except ConfigError as error:
        return write_problems(error)
    except ValueError as error:
        parser.error(f"argument --fault: {error}")
    sys.stdout.write(json.dumps(found.document(), indent=2) + "\n" if options.json else explanation_text(found))
    if options.svg is not None:
        try:
            write_text(options.svg, schedule_svg(found.schedule, f"{found.name} under {options.fault}"))
        except OSError as error:
            sys.stderr.write(f"{options.svg}: {error.strerror}\n")
            return 1
    return 0


def make_parser(known: Collection[str]) -> argparse.ArgumentParser:
    """Return what reads the arguments, for the services *known*."""
    parser = argparse.ArgumentParser(
        prog="python3 -m runtime config explain",
        description=__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_target(parser, known)
    parser.add_argument("--fault", default="hang", metavar="F", help="what is wrong with the service; default hang")
    rate = number("the rate", least=0.001)
    parser.add_argument("--rps", type=rate, metavar="N", help="calls per second of one process")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of text")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="write the chart of the schedule to a file")
    return parser
