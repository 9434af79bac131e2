"""The schema of settings files: what it says of each setting, and that it accepts the settings files that the reader accepts."""

import json
import tomllib

import jsonschema
import pytest

from middleware import ConfigError
from middleware.settings import SecretUrl
from runtime.connectors.loader import services_and_operations
from runtime.settings import ResolvedSettings, settings
from runtime.settings.schema import schema

SERVICES = services_and_operations()
SCHEMA = schema(SERVICES)
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
EVERY_DEFAULT = "\n".join(
    f"{row.path} = {json.dumps(row.setting.default)}" for row in settings() if str(row.setting.default)
)


def test_each_setting_has_its_description_default_and_bounds():
    """An editor shows them; an operation has only what its service does not share."""
    for row in settings():
        declared = SCHEMA["$defs"][row.section]["properties"][row.setting.name]
        spec = row.setting.spec
        assert declared["description"].startswith(spec.doc)
        default = row.setting.default
        assert declared["default"] == (default.reveal() if isinstance(default, SecretUrl) else default)
        assert declared.get("minimum") == spec.ge
        assert declared.get("maximum") == spec.le
        assert declared.get("enum", []) == list(spec.choices)
        of_operation = SCHEMA["$defs"].get(f"{row.section}_of_operation", {"properties": ()})
        assert (row.setting.name in of_operation["properties"]) is not spec.shared


def accepts(document):
    try:
        ResolvedSettings(document, services=SERVICES)
    except ConfigError:
        return False
    return True


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("", True),
        (EVERY_DEFAULT, True),
        ("[retry]\nmax_attempts = 10\n", True),
        ("[retry]\nmax_attempts = 11\n", False),
        ("[retry]\nmax_attempts = true\n", False),
        ("[retry]\nmax_attempts = '3'\n", False),
        ("[retry]\nbase_delay_s = 1\n", True),
        ("[retry]\nmax_atempts = 3\n", False),
        ("[retri]\nmax_attempts = 3\n", False),
        ("retry = 3\n", False),
        ("[deadline]\ntotal_s = inf\n", False),
        ("[circuit_breaker]\nmode = 'shadow'\n", True),
        ("[circuit_breaker]\nmode = 'shadowy'\n", False),
        ("[services.hosting.bulkhead]\npermits = 2\n", True),
        ("[services.hostin.bulkhead]\npermits = 2\n", False),
        ("[services.hosting.operations.deploy.retry]\nmax_attempts = 1\n", True),
        ("[services.hosting.operations.deploi.retry]\nmax_attempts = 1\n", False),
        ("[services.hosting.operations.deploy.bulkhead]\npermits = 2\n", False),
        ("[services.hosting.operations.deploy.circuit_breaker]\nwindow_s = 5\n", False),
        ("[services.hosting.operations.deploy.circuit_breaker]\nmode = 'shadow'\n", True),
        ("[services.hosting.operations]\ndeploy = 1\n", False),
    ],
    ids=lambda value: "every default" if value == EVERY_DEFAULT else repr(value),
)
def test_the_schema_and_the_reader_agree(text, valid):
    """Real TOML, by an independent validator."""
    document = tomllib.loads(text)
    assert VALIDATOR.is_valid(document) is accepts(document) is valid
