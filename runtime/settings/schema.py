"""The JSON Schema of the settings file (draft 2020-12), made from the SettingSpecs."""

from typing import Any

from middleware.settings import SecretUrl, Setting

from .sources import PREFIX, Row, Services, settings

__all__ = ["schema"]

_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string", SecretUrl: "string"}


def schema(services: Services) -> dict[str, Any]:
    """
    Return the schema.

    Args:
        services: Operations by service; other names are not valid, as for the reader.
    """
    rows = list(settings())
    sections = list(dict.fromkeys(row.section for row in rows))
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Settings of the connectors",
        "description": "What is set here applies to all services. A service's own settings are in services.NAME, those "
        "of one operation in services.NAME.operations.OPERATION.",
        "type": "object",
        "properties": {
            **{section: {"$ref": f"#/$defs/{section}"} for section in sections},
            "services": {
                "description": "Settings of single services.",
                "type": "object",
                "properties": {name: _service(name, own, sections, rows) for name, own in services.items()},
                "additionalProperties": False,
            },
        },
        "additionalProperties": False,
        "$defs": {
            **{section: _section([row for row in rows if row.section == section]) for section in sections},
            **{
                f"{section}_of_operation": _section(own)
                for section in sections
                if (own := [row for row in rows if row.section == section and not row.setting.spec.shared])
            },
        },
    }


def _service(name: str, operations: Any, sections: list[str], rows: list[Row]) -> dict[str, Any]:
    own = list(dict.fromkeys(row.section for row in rows if not row.setting.spec.shared))
    operation = {section: {"$ref": f"#/$defs/{section}_of_operation"} for section in own}
    return {
        "description": f"Settings of {name}; they win over those of all services.",
        "type": "object",
        "properties": {
            **{section: {"$ref": f"#/$defs/{section}"} for section in sections},
            "operations": {
                "description": f"Settings of single operations of {name}; they win over those of the service.",
                "type": "object",
                "properties": {
                    one: {
                        "description": f"Settings of {name}.{one}.",
                        "type": "object",
                        "properties": operation,
                        "additionalProperties": False,
                    }
                    for one in operations
                },
                "additionalProperties": False,
            },
        },
        "additionalProperties": False,
    }


def _section(rows: list[Row]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {row.setting.name: _value(row) for row in rows},
        "additionalProperties": False,
    }


def _value(row: Row) -> dict[str, Any]:
    setting: Setting = row.setting
    spec = setting.spec
    unit = f" In {spec.unit}." if spec.unit else ""
    source = f" The default is from: {spec.source}." if spec.source else ""
    bounds = {"minimum": spec.ge, "maximum": spec.le, "enum": list(spec.choices) or None}
    return {
        "description": f"{spec.doc}{unit}{source} Variable: {PREFIX}{row.name}",
        "type": _TYPES[setting.type],
        "default": str(setting.default) if setting.type is SecretUrl else setting.default,
        **{name: bound for name, bound in bounds.items() if bound is not None},
    }
