"""
Calls every operation of a generated connector on the reference gateway, which serves the connector's document.

    python3 .ci/tools/generated_calls.py NAME DOCUMENT      # with NAME_connector to be imported

A call succeeds where the gateway, which checks it by the document, takes it, the result is read, and no value is lost
on either way. Prints one line of JSON: the calls, those that succeeded, and what is wrong with the others.
"""

import asyncio
import importlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import get_type_hints
from urllib.parse import parse_qs

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from middleware.errors import PlatformError
from runtime.conformance.documents import encoded
from runtime.connectors.base import PlatformHttpClient, decoder
from runtime.connectors.loader import managed_connector
from runtime.gateway import DEFAULT_API_KEY, GatewayProcess
from runtime.gateway.samples import Samples
from runtime.generate import Options, make_plan
from runtime.openapi import load, read


def leaves(document):
    """Return how many values other than null are in a document."""
    if isinstance(document, Mapping | list):
        return sum(map(leaves, document.values() if isinstance(document, Mapping) else document))
    return document is not None


class Caller:
    """Makes the arguments of each method, and looks at what came of them."""

    def __init__(self, name, document):
        self.api = read(load(document))
        self.plan = make_plan(self.api, Options(name))
        self.module = importlib.import_module(f"{name}_connector")
        self.sent, self.received = Samples(self.api, sent=True), Samples(self.api)

    def argument(self, kind, sample):
        """Return the argument of type *kind* that the document has as *sample*."""
        if kind in (str, str | None) and not isinstance(sample, str):
            return json.dumps(sample)  # an object in a parameter, for which services have no common notation
        return decoder(kind, getattr(self.module, "_NAMES", {}), getattr(self.module, "_VARIANTS", {}))(sample)

    def arguments(self, method):
        """Every parameter, the optional ones too, and the body; and the body as the document has it."""
        managed = next(name for name in self.module.__all__ if name.startswith("Managed"))
        hints = get_type_hints(getattr(getattr(self.module, managed), method.name))
        declared = {(one.location, one.name): one for one in method.operation.parameters}
        found = {}
        for one in method.arguments:
            parameter = declared[one.location, one.wire]
            sample = parameter.example if parameter.example is not None else self.sent.of(parameter.schema)
            found[one.name] = self.argument(hints[one.name], sample)
        if method.body is None:
            return found, None
        body = self.sent.of(method.operation.body.json)
        return {**found, "request": self.argument(hints["request"], body)}, body

    def lost(self, method, body, result, request):
        """Say what is not on the wire, or not in the result, though it was given."""
        query = set(parse_qs(request["query"], keep_blank_values=True))
        wanted = {one.wire for one in method.arguments if one.location == "query"}
        if query != wanted:
            return f"query has {sorted(query)}, not {sorted(wanted)}"
        if body is not None and leaves(json.loads(request["body"] or "null")) != leaves(body):
            return f"body is {request['body']}, not {body}"
        if method.result is not None:
            response = method.operation.success
            media = next(one for one in response.contents if response.contents[one] is response.json)
            document = self.received.of_content(response, media)
            if leaves(encoded(result)) != leaves(document):
                return f"result is {result}, the document {document}"
        return ""


async def calls(name, document):
    """Return what came of one call of each method, by its name: what is wrong, or nothing."""
    caller, found = Caller(name, document), {}
    with GatewayProcess(document=document) as gateway:
        client = PlatformHttpClient(gateway.url, DEFAULT_API_KEY, service=name)
        connector = managed_connector(getattr(caller.module, name.upper()), client)
        for method in caller.plan.methods:
            gateway.reset()
            try:
                arguments, body = caller.arguments(method)
                result = await getattr(connector, method.name)(**arguments, user_jwt="token-ada")
            except PlatformError as error:
                found[method.name] = f"{type(error).__name__}: {error}; {getattr(error, 'problem', '')}"
            else:
                found[method.name] = caller.lost(method, body, result, gateway.requests()[-1])
        await client.aclose()
    return found


def main():
    """Print the outcome; 0 where every call succeeded."""
    name, document = sys.argv[1:]
    found = asyncio.run(calls(name, document))
    wrong = {method: text for method, text in found.items() if text}
    print(json.dumps({"calls": len(found), "succeeded": len(found) - len(wrong), "wrong": wrong}))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
