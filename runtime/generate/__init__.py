"""
Writes a connector from an OpenAPI document: models, Protocol, endpoints, managed class, mock and tests.

`plan` decides what the connector has, and lists what of the document cannot be expressed; `code` writes it; `project`
puts the files into a folder and keeps what was edited there.
"""

from .code import connector_files
from .plan import LeftOut, Options, Plan, make_plan
from .project import Conflict, FileChange, NotGeneratedError, changes, write

__all__ = [
    "Conflict",
    "FileChange",
    "LeftOut",
    "NotGeneratedError",
    "Options",
    "Plan",
    "changes",
    "connector_files",
    "make_plan",
    "write",
]
