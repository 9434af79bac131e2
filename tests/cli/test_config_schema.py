"""`python3 -m runtime config schema`: the schema, as printed and as written."""

import json

import jsonschema
import pytest

from runtime.cli.config import main
from runtime.connectors.loader import services_and_operations
from runtime.settings.schema import schema

SERVICES = services_and_operations()


SCHEMA = schema(SERVICES)


def test_the_schema_is_one(capsys, tmp_path):
    """Draft 2020-12, as printed and as written."""
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out) == SCHEMA
    assert main(["schema", "--output", str(tmp_path / "settings.schema.json")]) == 0
    assert json.loads((tmp_path / "settings.schema.json").read_text()) == SCHEMA
    with pytest.raises(SystemExit, match="2"):
        main(["schema", "--output", str(tmp_path)])
