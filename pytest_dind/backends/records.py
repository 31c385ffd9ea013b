"""Records of daemons, for the other processes of a run: JSON files, written whole or not at all."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from ..errors import SettingsError
from ..lifetime import layout
from ..lifetime.directories import explained
from ..lifetime.layout import STATE, Home
from ..settings import Settings
from .protocol import Record
from .registry import Choice, Obstacle

# Raised when a field of `Record` changes: a record of another version is not read.
_VERSION = 4


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
    _replace(record.home.path / STATE, content)


def read_choices(run: Path) -> dict[str, Choice]:
    """What this run's processes found out about modes so far, by what they asked."""
    try:
        found = json.loads((run / layout.MODES).read_text())
    except (OSError, ValueError):
        return {}
    return {key: _choice(fields) for key, fields in found.items()}


def _choice(fields: dict[str, Any]) -> Choice:
    obstacle = fields.pop("obstacle")
    if obstacle is not None:
        obstacle = Obstacle(**obstacle | {"remedy": tuple(obstacle["remedy"])})
    return Choice(**fields, obstacle=obstacle)


def write_choices(run: Path, choices: dict[str, Choice]) -> None:
    """Keep what was found out for the run's other processes."""
    _replace(
        run / layout.MODES, {key: dataclasses.asdict(choice) for key, choice in choices.items()}
    )


def _replace(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file, whole or not at all."""
    aside = path.with_name(f"{path.name}.new")
    with explained(path):
        aside.write_text(json.dumps(content))
        aside.replace(path)
