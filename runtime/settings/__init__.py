"""Where settings come from, how they are merged, and which mode they ask for."""

from .sources import (
    FILE_VARIABLE,
    PREFIX,
    REQUIRE_VARIABLE,
    EffectiveSetting,
    LivePolicies,
    Policies,
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
    "LivePolicies",
    "Policies",
    "Row",
    "known_variables",
    "no_such",
    "settings",
    "settings_table",
    "switch",
]
