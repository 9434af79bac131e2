"""docs/connectors/ says what the code does."""

import re

import connector_pages
import pytest
from connector_support import MODULES, implementations, required_arguments

from middleware import CallError
from runtime.testing import ScriptedUpstream, virtual_time

PAGES = connector_pages.pages()


@pytest.mark.parametrize(("file", "text"), PAGES.items(), ids=lambda value: getattr(value, "stem", ""))
def test_the_page_is_made_from_the_code(file, text):
    """`python3 .ci/tools/connector_pages.py --write` writes it anew."""
    assert file.read_text() == text


def test_each_connector_has_a_page_and_no_other():
    """A connector that is gone takes its page with it."""
    assert set(connector_pages.FOLDER.iterdir()) == set(PAGES)
    assert len(PAGES) == len(MODULES)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__.rpartition(".")[2])
@virtual_time
async def test_the_headers_that_go_out_are_those_of_the_page(recorder, module):
    """Of every method, with all that a caller and the settings can add; `host` and the framing belong to HTTP."""
    cells = [line.split("|")[1] for line in connector_pages.HEADERS.splitlines()[2:]]
    known = {name.lower() for cell in cells for name in re.findall(r"`([\w-]+)", cell)}
    upstream = ScriptedUpstream([], then=404)
    settings = {"idempotency": {"honors_key": True}, "attempt": {"announce": True}, "retry": {"max_attempts": 1}}
    client = upstream.client(telemetry=recorder.telemetry, **settings)
    connector, seen = implementations(module)[1](client), set()
    for name in [name for name in vars(type(connector)) if not name.startswith("_")]:
        method = getattr(connector, name)
        with pytest.raises(CallError):
            await method(**required_arguments(method), user_jwt="token", correlation_id="c")
        seen |= set(upstream.requests[-1].headers)
    assert seen - {"host", "content-length"} <= known
    assert known - seen <= {"tracestate", "x-mozaiks-app-key", "idempotency-key", "content-type"}
