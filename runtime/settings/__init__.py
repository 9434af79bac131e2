"""Where settings come from, how they are merged, and which mode they ask for."""

from middleware._internal.moved import announce_renames

from .environment import Environment
from .live import LiveSettings
from .resolution import EffectiveSetting, ResolvedSettings
from .sources import (
    FILE_VARIABLE,
    PREFIX,
    REQUIRE_VARIABLE,
    Row,
    known_variables,
    no_such,
    settings,
    settings_table,
    switch,
)

__all__ = [
    "FILE_VARIABLE",
    "PREFIX",
    "REQUIRE_VARIABLE",
    "EffectiveSetting",
    "Environment",
    "LiveSettings",
    "ResolvedSettings",
    "Row",
    "known_variables",
    "no_such",
    "settings",
    "settings_table",
    "switch",
]

announce_renames(__name__)
