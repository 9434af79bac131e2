"""
What a changed OpenAPI document means for connectors: by method breaking, compatible or new, with reason and place.

Breaking is what makes a call fail that worked, or loses a value in silence, judged by what connectors send and read at
run time. Documents are parsed, connectors too: nothing is imported or executed.
"""

from .operations import MethodChanges, compare
from .rules import RULES, Change, Verdict, verdict_of

__all__ = ["RULES", "Change", "MethodChanges", "Verdict", "compare", "verdict_of"]
