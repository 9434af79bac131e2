"""The page of a host's health: what it shows, and how it looks on a phone and a desk."""

import base64
import hashlib
import html
import re
from dataclasses import fields

import pytest
from browser import BROWSER, title_of
from starlette.applications import Starlette
from test_starlette import served

from runtime.adapters.starlette import health_routes
from runtime.adapters.status_page import STATUS_HEADERS, render_status
from runtime.asgi import connectors_lifespan
from runtime.connectors.health import BundleHealth, LastError, ServiceHealth
from runtime.settings import EffectiveSetting


def service(**given):
    values = {
        "breakers": {"identity": "closed"},
        "budget_balance": 10.0,
        "calls_in_flight": 0,
        "attempts_in_flight": 0,
        "attempts_queued": 0,
        "attempts_limit": 20,
        "last_error": None,
        "settings": (),
        "settings_problems": (),
    }
    assert set(values) == {one.name for one in fields(ServiceHealth)}
    return ServiceHealth(**{**values, **given})


LONG = "/etc/platform/" + "x" * 120
BUSY = service(
    breakers={"identity": "half_open", "identity.get_user": "open"},
    budget_balance=0.4,
    calls_in_flight=3,
    attempts_in_flight=2,
    attempts_queued=1,
    last_error=LastError("SERVER_ERROR", "get_user", 503, 90.0),
    settings=(EffectiveSetting("transport.ca_file", LONG, "<environment>"),),
    settings_problems=("connectors.toml: is <empty>",),
)


def page(state="open", **services):
    return render_status(BundleHealth(mode="managed", state=state, services=services), process=42)


def text_of(markup):
    return " ".join(html.unescape(re.sub(r"<style>.*?</style>|<[^>]+>", " ", markup, flags=re.DOTALL)).split())


def test_all_of_a_services_health_is_shown():
    """Breakers, budget, permits, the last error, settings with their origins; the worst breaker counts."""
    text = text_of(page(identity=BUSY))
    for part in (
        "Connectors: ready Mode managed , worker process 42",
        "identity circuit open",
        "identity half open identity.get_user open",
        "0.4 retries left",
        "3 in flight",
        "2 of 20 permits, 1 queued",
        "SERVER_ERROR (503) get_user, 2 min ago",
        "earlier settings are in force: connectors.toml: is <empty>",
        "1 setting given",
        f"transport.ca_file = {LONG} <environment>",
    ):
        assert part in text, text


@pytest.mark.parametrize(
    ("given", "part"),
    [
        ({"budget_balance": None}, "Retry budget off"),
        ({"breakers": {"identity": "disabled"}}, "circuit disabled"),
        ({"last_error": LastError("RESPONSE_LOST", "get_user", None, 7200.0)}, "RESPONSE_LOST get_user, 2.0 h ago"),
        ({}, "Last error none Settings: all defaults"),
    ],
    ids=["no budget", "disabled", "no status", "at rest"],
)
def test_what_is_not_there_is_said(given, part):
    """In words, not by an empty field."""
    assert part in text_of(page(identity=service(**given)))


def test_a_draining_host_and_mocks():
    """The state of the bundle is the heading; without services there is a sentence."""
    text = text_of(page(state="draining"))
    assert "Connectors: draining" in text
    assert "Mocks respond to all calls" in text


async def test_the_route_serves_it_under_a_policy_that_allows_its_style_alone(no_settings):
    """The digest in the policy is that of the page's own style."""
    app = Starlette(lifespan=connectors_lifespan(), routes=health_routes("/h"))
    (response,) = await served(app, "/h/status")
    assert (response.status_code, response.headers["content-type"]) == (200, "text/html; charset=utf-8")
    style = re.search(r"<style>(.*?)</style>", response.text, re.DOTALL).group(1)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'sha256-{digest}'" in response.headers["content-security-policy"]
    assert response.headers["cache-control"] == "no-store"
    assert "<script" not in response.text
    assert "style=" not in response.text
    assert STATUS_HEADERS.items() <= dict(response.headers).items()


@pytest.mark.sockets
def test_nothing_overflows_a_phone_or_a_desk(tmp_path, capsys):
    """In a real browser, with every `details` open, at 390 and 1440 pixels."""
    if BROWSER is None:
        with capsys.disabled():
            print("\nno browser here: the status page is checked by its markup alone")  # noqa: T201
        return
    (tmp_path / "page.html").write_text(page(identity=BUSY, hosting=service(), billing=service(), payment=service()))
    frames = "".join(f'<iframe src="page.html" style="width:{width}px;height:800px"></iframe>' for width in (390, 1440))
    (tmp_path / "frames.html").write_text(
        f"{frames}<script>onload = () => {{ document.title = JSON.stringify([...document.querySelectorAll('iframe')].map((one) => {{"
        "const d = one.contentDocument; d.querySelectorAll('details').forEach((each) => each.open = true);"
        "const tops = [...d.querySelectorAll('.service')].map((each) => each.getBoundingClientRect().top);"
        "return {room: d.documentElement.clientWidth, wide: d.documentElement.scrollWidth,"
        "rows: new Set(tops).size}; })); }</script>"
    )
    phone, desk = title_of(tmp_path / "frames.html", tmp_path / "profile")
    assert phone["wide"] <= phone["room"]
    assert desk["wide"] <= desk["room"]
    assert phone["rows"] == 4
    assert desk["rows"] == 2
