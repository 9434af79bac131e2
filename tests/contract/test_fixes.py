"""`check --contract 2 --fix`: a connector of the contract's first version becomes one of the second."""

import sys
from importlib.util import module_from_spec, spec_from_file_location

import pytest
from contract_support import CONNECTORS, ROOT, TEMPLATE

from runtime.cli.check import main
from runtime.conformance import Conformance
from runtime.conformance.suite import suite_of
from runtime.connectors.registry import Connector
from runtime.contract import Severity, check_paths, fix_paths


@pytest.fixture
def template(tmp_path):
    """A file with the contract's template, verbatim."""
    path = tmp_path / "service.py"
    path.write_text(TEMPLATE)
    return path


def loaded(path):
    """Import a file as a connector next to ours, and declare it."""
    spec = spec_from_file_location("runtime.connectors.template_of_the_contract", path)
    module = module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up; `_forget` removes it
    spec.loader.exec_module(module)
    return Connector("template", module.ManagedServiceConnector, module.MockServiceConnector)


@pytest.fixture
def _forget():
    yield
    sys.modules.pop("runtime.connectors.template_of_the_contract", None)


def failed(path):
    """Generated tests of the managed class that fail, for any operation."""
    suite, found = suite_of(Conformance(loaded(path)))(), set()
    for name in dir(suite):
        for operation in suite.subject.operations if name.startswith("test_") and "raises" not in name else ():
            try:
                getattr(suite, name)(operation)
            except AssertionError:
                found.add(name)
    return found


@pytest.mark.usefixtures("_forget")
# The contract's template calls `utcnow`, which is deprecated since Python 3.12.
@pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")
def test_the_template_becomes_a_connector_of_the_second_contract(template, capsys):
    """No finding is left but where it is registered; a second run changes nothing; and it runs."""
    assert main([str(template), "--contract", "2"]) == 1
    assert failed(template) == {
        "test_documents_may_change",  # a further key is an error
        "test_each_error_status_becomes_its_error",  # a failure in a 200 is an empty list
        "test_the_mock_is_what_the_platform_could_respond",  # an argument is wrong after the request
    }
    assert main([str(template), "--contract", "2", "--fix"]) == 0
    assert f"fixed {template}" in capsys.readouterr().err
    assert [one.rule for one in check_paths([template], contract=2)] == ["CC305"]
    assert failed(template) == set()
    text = template.read_text()
    assert fix_paths([template]) == []
    assert template.read_text() == text
    assert max(map(len, text.splitlines())) <= 120


def test_the_second_contract_makes_the_templates_shortcomings_errors(template):
    """Those alone: a rule about the check itself is what it was."""
    template.write_text(TEMPLATE + "# contract: ignore[CC203] nothing is suppressed here\n")
    first, second = check_paths([template]), check_paths([template], contract=2)
    assert [(one.rule, one.line) for one in first] == [(one.rule, one.line) for one in second]
    changed = {two.rule for one, two in zip(first, second, strict=True) if one.severity is not two.severity}
    assert changed == {"CC107", "CC304", "CC401", "CC402", "CC403", "CC404", "CC405"}
    assert {one.severity for one in second if one.rule == "CC902"} == {Severity.WARNING}


GET = """        response = await self._http.get(
            f"/api/service/items/{item_id}",
            user_jwt=user_jwt,
            correlation_id=correlation_id
        )
        return ServiceItem(**response)
"""
CREATE = """            json_body={
                "name": request.name,
                "config": request.config
            },
"""
OTHER_SHAPES = {
    "a value that is no plain name": (GET, GET.replace("{item_id}", "{item_id.lower()}")),
    "a format": (GET, GET.replace("{item_id}", "{item_id:>8}")),
    "a statement between": (GET, GET.replace("        return", "        response.pop('x', None)\n        return")),
    "a part of the response": (GET, GET.replace("**response", "**response['item']")),
    "two models": (GET, GET.replace("ServiceItem(**response)", "ServiceItem(id=item_id, **response)")),
    "a default of its own": ('response.get("success", False)', 'response.get("success", True)'),
    "unpacked arguments": (GET, GET.replace("user_jwt=user_jwt", "**{'user_jwt': user_jwt}")),
    "a declared request": (GET, GET.replace("user_jwt=user_jwt", "idempotent=True, user_jwt=user_jwt")),
    "a decoder of its own": (GET, GET.replace("user_jwt=user_jwt", "decode=dict, user_jwt=user_jwt")),
    "path_params": (GET, GET.replace("user_jwt=user_jwt", "path_params={}, user_jwt=user_jwt")),
    "another client": (GET, GET.replace("self._http", "self._other")),
    "a comment": (GET, GET.replace("        return", "        # the platform's own keys\n        return")),
    "a query": (GET, GET.replace("{item_id}", "{item_id}?full=1")),
    "quotes in the path": (GET, GET.replace('f"/api/service/items/{item_id}"', "f'/api/\"service\"/{item_id}'")),
    "quotes in the key": ('response.get("items", [])', "response.get('it\"ems', [])"),
    "docstrings with quotes": ('"""Create a new item."""', "'''Create a \"new\" item\"'''"),
    "a body on the line of its signature": (":\n        return list(self._items.values())", ": return list(self._items.values())"),
    "a suppressed finding": (GET, GET.replace('{item_id}",', '{item_id}",  # contract: ignore[CC401] ids are plain here').replace("(**response)", "(**response)  # contract: ignore[CC402] keys are fixed here")),
}  # fmt: skip


@pytest.mark.parametrize(("old", "new"), OTHER_SHAPES.values(), ids=OTHER_SHAPES)
def test_another_shape_is_left_as_it_is(template, old, new):
    """A fix whose meaning is not known is none; the rest of the file is fixed."""
    template.write_text(TEMPLATE.replace(old, new))
    fix_paths([template])
    assert new in template.read_text()
    compile(template.read_text(), "service.py", "exec")


@pytest.mark.parametrize(
    "body",
    [
        CREATE.replace('"config": request.config', '"settings": request.config'),
        CREATE.replace(',\n                "config": request.config', ""),
        CREATE.replace("request.config", "request.config or {}"),
        CREATE.replace('"name": request.name', '"name": request.name.strip()'),
    ],
    ids=["another key", "not every field", "a default", "a changed value"],
)
def test_a_body_that_body_of_would_send_otherwise_is_left(template, body):
    """The call becomes an endpoint's; what it sends stays."""
    template.write_text(TEMPLATE.replace(CREATE, body))
    fix_paths([template])
    text = template.read_text()
    assert body.split("json_body=")[1].strip().rstrip(",") in text
    assert text.count("body_of(") == 1  # of the update
    assert [one.rule for one in check_paths([template], contract=2) if one.severity is Severity.ERROR] == ["CC405"]


@pytest.mark.parametrize(
    "line",
    [
        "from .base import PlatformHttpClient as Http",
        "from . import base",
        "if True:\n    from .base import PlatformHttpClient",
    ],
    ids=["alias", "module", "in a block"],
)
def test_no_name_is_used_that_cannot_be_imported(template, line):
    """Where the import of the client cannot be added to, requests are left; docstrings and times are not."""
    template.write_text(TEMPLATE.replace("from .base import PlatformHttpClient", line))
    fix_paths([template])
    text = template.read_text()
    assert "Endpoint(" not in text
    assert "body_of" not in text
    assert "datetime.now(UTC)" in text


def test_a_time_by_an_alias_is_left(template):
    """UTC is not imported there."""
    text = TEMPLATE.replace("import datetime\n", "import datetime as Time\n").replace("datetime.utcnow", "Time.utcnow")
    template.write_text(text.replace("datetime | None", "Time | None"))
    fix_paths([template])
    assert "Time.utcnow()" in template.read_text()


def test_a_name_that_is_taken_is_not_bound_again(template):
    """The request that would bind it is left; the others are not."""
    template.write_text(TEMPLATE.replace("class Mock", '_GET_ITEM = "mine"\n\n\nclass Mock', 1))
    fix_paths([template])
    text = template.read_text()
    assert text.count("_GET_ITEM =") == 1
    assert GET in text
    assert "_DELETE_ITEM = Endpoint(" in text


def test_a_decoder_that_is_there_is_used(template):
    """A file that is half converted is converted."""
    names = "import PlatformHttpClient, decoder"
    text = TEMPLATE.replace("import PlatformHttpClient", names)
    template.write_text(
        text.replace(
            "class ManagedServiceConnector", "_service_item = decoder(ServiceItem)\n\n\nclass ManagedServiceConnector"
        )
    )
    fix_paths([template])
    assert template.read_text().count("decoder(ServiceItem)") == 1
    assert "_GET_ITEM = Endpoint(" in template.read_text()


def test_times_and_imports_are_written_as_the_file_has_them(template):
    """By the module's name too, and in an import that has the name already."""
    text = TEMPLATE.replace("from datetime import datetime", "import datetime")
    text = text.replace("datetime.utcnow()", "datetime.datetime.now()").replace(
        "datetime | None", "datetime.datetime | None"
    )
    template.write_text(text.replace("import PlatformHttpClient", "import PlatformHttpClient, body_of"))
    fix_paths([template])
    fixed = template.read_text()
    assert "created_at=datetime.datetime.now(datetime.UTC)" in fixed
    assert "from .base import Endpoint, PlatformHttpClient, body_of, decode_page, decoder, succeeded\n" in fixed


@pytest.mark.parametrize(
    ("change", "back"),
    [
        (lambda text: text.replace("\n", "\r\n"), lambda text: text.replace("\r\n", "\n")),
        (lambda text: text.replace("\n", "\r"), lambda text: text.replace("\r", "\n")),
        (lambda text: "\ufeff" + text, lambda text: text.removeprefix("\ufeff")),
        (lambda text: "\x0c" + text, lambda text: text.removeprefix("\x0c")),
    ],
    ids=["crlf", "cr", "byte order mark", "form feed"],
)
def test_the_files_form_is_kept(template, change, back):
    """Ends of lines, a byte order mark and form feeds are as they were, and the fix is the same."""
    fix_paths([template])
    expected = template.read_text()
    template.write_bytes(change(TEMPLATE).encode())
    assert fix_paths([template]) == [template]
    text = template.read_bytes().decode()
    assert text == change(expected)
    assert back(text) == expected


def test_a_file_that_cannot_be_written_is_wrong_usage(template, monkeypatch, capsys):
    """The path is named, without a traceback."""

    def denied(path, data):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("pathlib.Path.write_bytes", denied)
    with pytest.raises(SystemExit) as stopped:
        main([str(template), "--fix"])
    assert stopped.value.code == 2
    assert "service.py: cannot be written: Permission denied" in capsys.readouterr().err


def test_nothing_of_ours_is_rewritten(tmp_path):
    """Nor a file that is no connector."""
    for path in (*CONNECTORS.glob("*.py"), ROOT / "examples" / "acme_orders" / "acme_orders" / "__init__.py"):
        (tmp_path / path.name).write_text(path.read_text())
    assert fix_paths([tmp_path]) == []
