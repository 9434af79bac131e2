"""docs/gateway.md: its test of a plugin is collected here, and what it says of the platform's data is so."""

import re
from pathlib import Path

import pytest

from runtime.gateway import DEFAULT_TOKENS
from runtime.gateway.store import Store
from runtime.plugins import plugin_connectors

pytestmark = pytest.mark.sockets

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "gateway.md").read_text("utf-8")


def block(text, title):
    """A file that a page shows."""
    return re.search(rf'^```python title="{title}"\n(.*?)^```', text, re.DOTALL | re.MULTILINE)[1]


exec(block((DOCS / "tutorial.md").read_text("utf-8"), "notes.py"))  # noqa: S102 - our own documentation
exec(block(PAGE, "test_notes_on_the_gateway.py").replace("from notes import execute\n", ""))  # noqa: S102 - as above


@pytest.fixture(autouse=True)
def _no_other_settings(no_settings):
    """Those of the page's test alone."""


def test_users_and_tokens_are_listed():
    """Each with its roles."""
    listed = dict(re.findall(r"`(user_\d` \w+) \((?:roles )?([^)]*)\)", PAGE))
    users = Store().users.values()
    assert listed == {f"{one['user_id']}` {one['username']}": ", ".join(one["roles"]) for one in users}
    assert set(re.findall(r"`(token-\w+)`", PAGE)) == set(DEFAULT_TOKENS)


async def test_what_is_there_at_the_start(gateway):
    """For a user who has done nothing yet, as the connectors read it."""
    with plugin_connectors({"user_jwt": "token-alan"}) as connectors:
        plan = await connectors.billing.get_subscription_status()
        access = await connectors.billing.check_features(["export", "custom_domain", "another"])
        (invoice,) = await connectors.billing.list_invoices()
        paid = await connectors.payment.subscription_status(scope="platform")
        (listing,) = await connectors.discovery.list_featured()
        (quest,) = await connectors.discovery.list_quests()
        found = [*await connectors.hosting.list_apps(), *await connectors.service.list_items()]
    assert (plan.status, plan.tier, paid.active) == ("active", "premium", True)
    assert {name for name, one in access.items() if one.allowed} == {"export", "custom_domain"}
    assert (invoice.id, listing.id, listing.app_id) == ("in_1", "l_1", "app_1")
    assert (quest.id, quest.total_steps) == ("quest_1", 3)
    assert found == []
