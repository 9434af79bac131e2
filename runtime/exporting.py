"""Moved to `runtime.telemetry.exporting`; this path goes with the next release."""

import sys
import warnings

import runtime.telemetry.exporting as _moved

warnings.warn(
    "runtime.exporting has moved to runtime.telemetry.exporting; the old path goes with the next release",
    DeprecationWarning,
    stacklevel=2,
)
sys.modules[__name__] = _moved
