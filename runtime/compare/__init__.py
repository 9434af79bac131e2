"""
What a changed OpenAPI document means for connectors: by method breaking, compatible or new, with reason and place.

Breaking is what makes a call fail that worked, or loses a value in silence, judged by what connectors send and read at
run time. Documents are parsed, connectors too: nothing is imported or executed.
"""

from .connectors import Call, calls_in, for_connectors
from .operations import MethodChanges, compare, places
from .rules import RULES, Change, Verdict

__all__ = ["RULES", "Call", "Change", "MethodChanges", "Verdict", "calls_in", "compare", "for_connectors", "places"]
