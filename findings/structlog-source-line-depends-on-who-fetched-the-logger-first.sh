#!/usr/bin/env bash
# Finding: structlog on top of the standard library's logging gives structlog's own file as the source line of a record,
# for each logger that any code fetched before `structlog.stdlib.LoggerFactory()` was made.
#
# The factory sets a logger class whose `findCaller` skips structlog's frames, by `logging.setLoggerClass`. That counts
# for loggers made afterwards. `logging.getLogger("app")` in a module that is imported first, or a level for "app" in
# `logging.config.dictConfig` before `structlog.configure`, makes the logger with the class of before, and it keeps that:
# two loggers of one program, written to by the same call on the same line, name two different files.
#
# Seen with structlog 26.1.0. Exits with 1 when the behaviour changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet 'structlog==26.1.0'
cat > "$work/program.py" <<'PY'
import logging
import logging.config
from importlib.metadata import version
from pathlib import Path

import structlog

files: dict[str, str] = {}


class Keep(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        files[record.name] = Path(record.pathname).name


logging.getLogger().addHandler(Keep())
logging.config.dictConfig(
    {"version": 1, "disable_existing_loggers": False, "loggers": {"named.first": {"level": "INFO"}}}
)
logging.getLogger("fetched.first")
structlog.configure(
    processors=[structlog.processors.KeyValueRenderer()],
    logger_factory=structlog.stdlib.LoggerFactory(),
    wrapper_class=structlog.stdlib.BoundLogger,
)
for name in ("fetched.first", "named.first", "fetched.later"):
    structlog.get_logger(name).warning("hello")

print("structlog", version("structlog"))
for name, file in files.items():
    print(f"  {name:14} source file of the record: {file}")
expected = {"fetched.first": "_base.py", "named.first": "_base.py", "fetched.later": "program.py"}
raise SystemExit(files != expected)
PY
"$work/venv/bin/python" "$work/program.py"
