"""Moved to `runtime.settings`; this path goes with the next release."""

import sys
import warnings

import runtime.settings as _moved

warnings.warn(
    "runtime.config has moved to runtime.settings; the old path goes with the next release",
    DeprecationWarning,
    stacklevel=2,
)
sys.modules[__name__] = _moved
