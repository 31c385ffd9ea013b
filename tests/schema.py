"""The schema of a report's data, as far as it uses JSON Schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_SCHEMA = Path(__file__).parents[1] / "docs" / "report.schema.json"
_TYPES = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int}


def mistakes(value: Any, schema: dict[str, Any], where: str = "") -> list[str]:
    """What in a value is not as a schema says, as far as ours uses JSON Schema."""
    kind = schema.get("type")
    if "const" in schema and value != schema["const"]:
        return [f"{where}: {value!r}"]
    if "enum" in schema and value not in schema["enum"]:
        return [f"{where}: {value!r}"]
    if kind == "number":
        return [] if type(value) in (int, float) else [f"{where}: {value!r}"]
    if kind and type(value) is not _TYPES[kind]:
        return [f"{where}: {value!r}"]
    if kind == "array":
        return [text for one in value for text in mistakes(one, schema["items"], f"{where}[]")]
    if kind != "object":
        return []
    known = schema["properties"]
    found = [
        f"{where}.{name} is missing" for name in schema.get("required", ()) if name not in value
    ]
    for name, one in value.items():
        its = known.get(name)
        found += mistakes(one, its, f"{where}.{name}") if its else [f"{where}.{name} is unknown"]
    return found


def schema() -> dict[str, Any]:
    """Return the schema."""
    found: dict[str, Any] = json.loads(_SCHEMA.read_text())
    return found


def check(found: dict[str, Any]) -> None:
    """Fail where data are not as the schema says."""
    assert mistakes(found, schema()) == []
