"""Records of daemons, for the other processes of a run: JSON files, written whole or not at all."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from ..errors import SettingsError
from ..lifetime.directories import explained
from ..lifetime.layout import STATE, Home
from ..settings import Settings
from .protocol import Record

# Raised when a field of `Record` changes: a record of another version is not read.
_VERSION = 5


def read(home: Home) -> tuple[Record, Settings] | None:
    """Read a daemon's record, and the settings it was started with.

    None where there is none, or none that this version can read: the daemon is started anew then.
    """
    try:
        found = json.loads((home.path / STATE).read_text())
        if found["version"] != _VERSION:
            return None
        fields = found["record"]
        fields["published"] = tuple(fields["published"])
        return Record(**fields, home=home), Settings(**found["settings"])
    except (OSError, ValueError, KeyError, TypeError, SettingsError):
        return None


def write(record: Record, settings: Settings) -> None:
    """Write a daemon's record for the run's other processes, whole or not at all."""
    fields = {
        field.name: getattr(record, field.name)
        for field in dataclasses.fields(record)
        if field.name != "home"
    }
    content = {"version": _VERSION, "record": fields, "settings": dataclasses.asdict(settings)}
    write_json(record.home.path / STATE, content)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file, whole or not at all."""
    aside = path.with_name(f"{path.name}.new")
    with explained(path):
        aside.write_text(json.dumps(content))
        aside.replace(path)
