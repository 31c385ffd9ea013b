"""The state files: read back as written, or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_dind import Settings, SettingsError
from pytest_dind.backends import records
from pytest_dind.backends.protocol import Record
from pytest_dind.lifetime.layout import STATE, Home

SETTINGS = Settings(arg=("--debug",), publish=("8080",), reuse="name", timeout=7.5)


@pytest.fixture
def record(tmp_path: Path) -> Record:
    """A daemon's record, whose home is there."""
    (tmp_path / "main").mkdir()
    return Record(
        mode="dind",
        home=Home(tmp_path / "main"),
        id="0" * 64,
        host="unix:///run/docker.sock",
        address="172.17.0.2",
        published=("8080/tcp",),
        version="28.5.2",
        api_version="1.51",
        driver="overlay2",
        user_namespace=False,
        seconds=0.5,
    )


def test_read_as_written(record: Record) -> None:
    """Record and settings come back whole."""
    records.write(record, SETTINGS)

    assert records.read(record.home) == (record, SETTINGS)


def test_none(record: Record) -> None:
    """There is none before it is written."""
    assert records.read(record.home) is None


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "null",
        "[]",
        "7",
        '"text"',
        "{}",
        '{"version": 0}',
        '{"version": 1}',
        '{"version": 2}',
        '{"version": 3}',
        "\udcff",
    ],
)
def test_corrupt(record: Record, content: str) -> None:
    """What is no state reads as none."""
    (record.home.path / STATE).write_bytes(content.encode(errors="surrogateescape"))

    assert records.read(record.home) is None


@pytest.mark.parametrize(
    ("part", "changes"),
    [
        ("version", 999),
        ("record", None),
        ("record", {"published": None}),
        ("record", {"unheard": "of"}),
        ("settings", "text"),
        ("settings", {"mode": "unheard-of"}),
        ("settings", {"timeout": "soon"}),
        ("settings", {"publish": [None]}),
        ("settings", {"unheard": "of"}),
    ],
)
def test_of_another_version(record: Record, part: str, changes: Any) -> None:
    """A state with other fields or values than this version's reads as none."""
    records.write(record, SETTINGS)
    path = record.home.path / STATE
    content = json.loads(path.read_text())
    content[part] = content[part] | changes if isinstance(changes, dict) else changes
    path.write_text(json.dumps(content))

    assert records.read(record.home) is None


def test_written_whole(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that fails half-way leaves the state that was there, and says what failed."""
    records.write(record, SETTINGS)

    def full(self: Path, text: str) -> None:
        with self.open("w") as file:
            file.write(text[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(SettingsError, match=f"{STATE}, which daemons of this user need, cannot"):
        records.write(record, SETTINGS.replace(reuse="other"))
    monkeypatch.undo()

    assert records.read(record.home) == (record, SETTINGS)
