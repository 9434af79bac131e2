"""Moved to `runtime.traces.trace_file`; this path goes with the next release."""

import sys
import warnings

import runtime.traces.trace_file as _moved

warnings.warn(
    "runtime.trace_file has moved to runtime.traces.trace_file; the old path goes with the next release",
    DeprecationWarning,
    stacklevel=2,
)
sys.modules[__name__] = _moved
