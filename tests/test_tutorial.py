"""docs/tutorial.md works as it is written: its files, without a platform, against the gateway, and their tests."""

import importlib
import re
import sys
from pathlib import Path

import pytest

from runtime.connectors.loader import load_connectors
from runtime.gateway import DEFAULT_API_KEY, Fault, Gateway

PAGE = (Path(__file__).parent.parent / "docs" / "tutorial.md").read_text("utf-8")
FILES = dict(re.findall(r"^```python title=\"(.*?)\"\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE))


@pytest.fixture
def files(no_settings, tmp_path):
    """Its files in a folder; returns how one of them is imported."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    no_settings.syspath_prepend(str(tmp_path))
    names = [name.removesuffix(".py") for name in FILES]
    yield importlib.import_module
    for name in names:
        sys.modules.pop(name, None)


def managed(settings, url):
    """The variables that it exports."""
    for line in re.findall(r"^export (\w+=\S+)$", PAGE, re.MULTILINE):
        name, _, value = line.partition("=")
        settings.setenv(name, url if name.endswith("BASE_URL") else value)


def test_it_runs_without_a_platform(files, capsys, no_settings):
    """The output is the one that it shows."""
    no_settings.setattr("sys.argv", ["try_it.py", "Milk"])
    files("try_it")
    shown = re.search(r"^\$ [^\n]*try_it.py Milk\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    assert capsys.readouterr().out == shown[1]


@pytest.mark.parametrize("name", ["notes", "notes_if_possible"])
async def test_a_setting_that_is_wrong_is_a_result(files, no_settings, name):
    """A plugin never raises, as the page says."""
    no_settings.setenv("MOZAIKS_MANAGED", "perhaps")
    assert (await files(name).execute({}))["error_code"] == "CONFIGURATION_ERROR"


@pytest.mark.parametrize("name", re.findall(r"^async def (test_\w+)", FILES["test_notes.py"], re.MULTILINE))
def test_its_tests_pass(files, name):
    """Each of them."""
    getattr(files("test_notes"), name)()


@pytest.mark.parametrize(("step", "notes"), [(404, []), (503, None)])
def test_the_second_plugin_responds_without_notes(files, step, notes):
    """Not found is an empty list, a platform that is ill none."""
    from runtime.testing import ScriptedUpstream, bundle, run_virtual

    async def executed():
        user = files("test_notes").USER
        service = ScriptedUpstream([], then=step)
        async with bundle(identity=[user], service=service, process_wide=True):
            return await files("notes_if_possible").execute({})

    assert run_virtual(executed()) == {"hello": "ada", "notes": notes}


@pytest.mark.sockets
async def test_it_runs_against_the_gateway(files, no_settings):
    """Two failures are repeated; the error of a lost write is the one that it shows."""
    async with Gateway() as gateway:
        managed(no_settings, gateway.url)
        assert DEFAULT_API_KEY in PAGE
        plugin = files("notes")
        gateway.script(Fault.from_text("503 2x GET /api/auth/me"))
        data = {"user_jwt": "token-ada", "text": "Milk"}
        assert await plugin.execute(data) == {"hello": "ada", "notes": ["Milk"]}
        gateway.script(Fault.from_text("reset applied POST"))
        result = await plugin.execute(data)
        await load_connectors().aclose()
    assert f'"error": "{result["error"]}"' in PAGE
    assert (result["error_code"], result["details"]["outcome_unknown"]) == ("RESPONSE_LOST", True)
