"""A daemon's state: a small JSON file in its home, there from when it is ready."""

from __future__ import annotations

import dataclasses
import json

from .backends.protocol import Home, Record
from .errors import SettingsError
from .settings import Settings

STATE = "state.json"

# Raised when a field of `Record` changes: another version's state is not read.
_VERSION = 1


def read(home: Home) -> tuple[Record, Settings] | None:
    """A daemon's record, and the settings it was started with.

    None when there is none, or none that this version can read: the daemon is started anew then.
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
    """Write the state of a daemon, whole or not at all."""
    fields = {
        field.name: getattr(record, field.name)
        for field in dataclasses.fields(record)
        if field.name != "home"
    }
    content = {"version": _VERSION, "record": fields, "settings": dataclasses.asdict(settings)}
    aside = record.home.path / f"{STATE}.new"
    aside.write_text(json.dumps(content))
    aside.replace(record.home.path / STATE)
