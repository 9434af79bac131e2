"""The page of each connector in docs/connectors is the one that the code makes."""

import connector_pages
import pytest

from runtime.connectors import registry

pytestmark = pytest.mark.torture

SERVICES = {one.name: one.operations for one in registry._OWN}


@pytest.fixture(scope="module")
def made():
    """The text of each page, as the code is now."""
    return {path.stem: text for path, text in connector_pages.pages().items()}


def test_each_connector_has_a_page():
    """And no page is left of a connector that is gone."""
    assert sorted(path.stem for path in connector_pages.PAGES.iterdir()) == sorted(SERVICES)


@pytest.mark.parametrize("service", SERVICES)
def test_a_page_is_current(made, service):
    """After a change of a connector, a model, an error or a header: `python3 .ci/tools/connector_pages.py --write`."""
    assert (connector_pages.PAGES / f"{service}.md").read_text() == made[service]


@pytest.mark.parametrize("service", SERVICES)
def test_a_page_lists_everything(made, service):
    """Each method with its request, each model with its fields, errors, and the headers of R50 and of credentials."""
    text = made[service]
    module, _ = connector_pages.connector(service)
    for operation in SERVICES[service]:
        assert f"async def {operation}(\n" in text
    for name in module.__all__:
        assert f"### {name}\n" in text or name.endswith("Connector")
    for listed in ("RequestNotSentError", "NotFoundError", "DecodeError", "OperationFailedError"):
        assert f"| `{listed}` |" in text
    for header in ("authorization", "x-mozaiks-app-key", "x-correlation-id", "x-attempt", "traceparent"):
        assert f"| `{header}` |" in text


def test_what_is_repeated_is_observed(made):
    """A read after anything; a write that was or may have been read only with an honoured key."""
    text = made["service"]
    section = text.partition("### create_item")[2].partition("### ")[0]
    every = "a refused connection, 429, 503, a lost response."
    assert f"- Repeated after: a refused connection, 429; with an honoured idempotency key: {every}" in section
    assert f"- Repeated after: {every}" in text.partition("### get_item")[2].partition("### ")[0]
