"""What the tests of the drop-in for the production core need."""

import json

from raw_server import ok

from runtime.adapters import core as adapter
from runtime.connectors import loader

JWT, ID = "user-token", "7b0f6f3e-3d43-4b0e-9a2d-0c8f5a4e1b11"


URL = "http://127.0.0.1:9"


STATUS = {"scope": "platform", "appId": None, "correlation_id": ID, "user_jwt": JWT}


ACTIVE = ok(b'{"active": true, "status": "active", "plan": "pro"}', b"content-type: application/json")


def managed(core, url=URL, **more):
    for name, value in {"MANAGED": "true", "GATEWAY_BASE_URL": url, "GATEWAY_API_KEY": "moz_test_key", **more}.items():
        core.setenv(f"MOZAIKS_{name}", value)


def core_lines(caplog):
    found = [one for one in caplog.records if one.name.startswith("mozaiks_sdk.")]
    return [(one.name, one.levelname, json.loads(one.getMessage())) for one in found]


def loaded():
    from mozaiks_app.runtime import connector_loader

    return connector_loader.load_connectors()


async def close():
    await loader.load_connectors().aclose()
    adapter.reset_connectors()
