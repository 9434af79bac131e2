"""The contract's template as a document."""

import sys

import pytest
from generated_support import imported

from runtime.connectors.registry import Connector
from runtime.contract import check_paths
from runtime.generate import Options, changes, connector_files, make_plan, write
from runtime.generate.template import template
from runtime.openapi import read

pytestmark = pytest.mark.sockets


def test_a_connector_made_by_flags_is_conformant(tmp_path):
    """The contract's template: five operations; it is registered by its entry point, and passes the check."""
    document = template("invoices", "Invoice", ["amount:decimal", "due:date", "paid:bool"], "/api/invoices")
    list(write(tmp_path, changes(tmp_path, connector_files(make_plan(read(document), Options("invoices"))))))
    assert check_paths([tmp_path], strict=True) == []
    module = imported(tmp_path, "invoices")
    try:
        assert isinstance(module.INVOICES, Connector)
        assert module.INVOICES.operations == (
            "list_invoices",
            "create_invoice",
            "get_invoice",
            "update_invoice",
            "delete_invoice",
        )
    finally:
        del sys.modules["invoices_connector"]
    assert 'invoices = "invoices_connector:INVOICES"' in (tmp_path / "pyproject.toml").read_text()
