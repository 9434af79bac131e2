"""
OpenAPI documents of .NET services, read into one model, whatever version and generator wrote them.

`load` reads a document from a file or a URL, `read` makes its `Api`: operations, parameters, schemas and responses,
each with its place in the document. Imports nothing of the rest of the runtime, so that a command starts at once.
"""

from .documents import Document, DocumentError, load, parse, plain
from .model import (
    INTEGER_RANGES,
    Api,
    Body,
    Discriminator,
    Note,
    Operation,
    Parameter,
    Property,
    Response,
    Schema,
    is_json,
)
from .names import attribute_name, class_name, operation_names, snake
from .reading import read

__all__ = [
    "INTEGER_RANGES",
    "Api",
    "Body",
    "Discriminator",
    "Document",
    "DocumentError",
    "Note",
    "Operation",
    "Parameter",
    "Property",
    "Response",
    "Schema",
    "attribute_name",
    "class_name",
    "is_json",
    "load",
    "operation_names",
    "parse",
    "plain",
    "read",
    "snake",
]
