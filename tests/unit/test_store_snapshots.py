"""Snapshots without an engine: their names and keys, and which daemon may start from which."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from pytest_dind import Settings, SettingsError, SnapshotFailed
from pytest_dind.store import seeding, snapshots
from pytest_dind.store.snapshots import Snapshot

_SNAPSHOT = Snapshot(
    name="db",
    key="snapshot-db-0123456789ab",
    mode="dind",
    image="docker:28-dind",
    image_id="sha256:28",
    engine="unix:///var/run/docker.sock",
    version="28.5.2",
    arg=("--debug",),
    running=("c0ffee",),
    images=("postgres:17",),
)


def test_json() -> None:
    """What the store has of a snapshot is one line, from which it comes back the same."""
    text = _SNAPSHOT.to_json()

    assert "\n" not in text
    assert Snapshot.from_json(text) == _SNAPSHOT


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"name": "db"}'])
def test_other_json(text: str) -> None:
    """What another version has written, or cut short, is none."""
    assert Snapshot.from_json(text) is None


@pytest.mark.parametrize("name", ["db", "a", "0", "migrated_2.1-x", "a" * 40])
def test_valid_names(name: str) -> None:
    """Names are lower-case words, as they are part of a directory's."""
    assert snapshots.demand_name("snapshot", name) == name


@pytest.mark.parametrize("name", ["", "No", "-a", ".a", "a b", "a/b", "a" * 41, 3, None, "a\n"])
def test_bad_names(name: object) -> None:
    """Anything else is an error that says what is valid."""
    with pytest.raises(SettingsError, match="is not a valid name of a snapshot") as raised:
        snapshots.demand_name("dind_snapshot", name)
    assert raised.value.what.startswith("dind_snapshot: ")
    assert "1 to 40 of a-z, 0-9" in raised.value.evidence


def _key(name: str = "db", mode: str = "dind", image: str = "sha256:1", **changes: Any) -> str:
    extra = changes.pop("extra", "")
    return snapshots.key_for(name, mode, image, Settings().replace(**changes), extra)


def test_key() -> None:
    """Of one name, what may make other contents makes another key; directories and ports don't."""
    usual = _key()
    others = [
        _key(mode="sysbox"),
        _key(image="sha256:2"),
        _key(arg=["--debug"]),
        _key(memory="1g"),
        _key(extra="more"),
    ]

    assert usual.startswith("snapshot-db-")
    assert len({usual, *others}) == 6
    assert _key(mount=[]) == _key(publish=["8080"]) == _key(timeout=9) == usual
    assert _key(name="other").startswith("snapshot-other-")


def test_key_for_one_run() -> None:
    """No two runs, and no two snapshots of a run, have the same."""
    one, two = snapshots.for_one_run("db"), snapshots.for_one_run("db")
    assert one.name == two.name == "db"
    assert one.once
    assert one.key != two.key


def test_same_daemon() -> None:
    """One of the same image, mode and arguments may start from it, whatever its other settings."""
    settings = Settings(arg=("--debug",), image="other:name", memory="1g")
    _SNAPSHOT.demand_same("dind", "sha256:28", settings)


@pytest.mark.parametrize(
    ("mode", "image_id", "settings", "unlike"),
    [
        ("sysbox", "sha256:28", {}, "mode: 'dind' -> 'sysbox'"),
        ("dind", "sha256:27", {"image": "d:27"}, "image: 'docker:28-dind' -> 'd:27'"),
        ("dind", "sha256:29", {}, "(another image of this name)"),
        ("dind", "sha256:28", {"arg": []}, "args: ['--debug'] -> []"),
    ],
)
def test_other_daemon(mode: str, image_id: str, settings: dict[str, Any], unlike: str) -> None:
    """Another one may not: the error names what it is of, and what is unlike."""
    given = Settings(image="docker:28-dind", arg=("--debug",)).replace(**settings)
    with pytest.raises(SnapshotFailed) as raised:
        _SNAPSHOT.demand_same(mode, image_id, given)

    assert raised.value.evidence.startswith(
        "It was made by Docker 28.5.2 of the image docker:28-dind, in mode dind. Unlike: "
    )
    assert unlike in raised.value.evidence
    assert len(raised.value.remedy) == 2


def test_store_is_off() -> None:
    """Without the warm store there is no place for snapshots."""
    with pytest.raises(SettingsError, match="--dind-cache=off"):
        seeding.preload(Settings(cache="off"), "dind", "sha256:28", _source(), _SNAPSHOT)


def _source() -> Any:
    return None


def test_seed() -> None:
    """A daemon starts from its golden root, which is never made anew in its place."""
    settings = Settings(arg=("--debug",), cache="refresh", cache_size="1m")
    preload = seeding.preload(settings, "dind", "sha256:28", _source(), _SNAPSHOT)

    assert preload.seed == seeding.Seed(_SNAPSHOT.key, refresh=False, limit=1024)
    assert preload.snapshot == _SNAPSHOT


class _Files:
    """The files of a daemon that has not started as it was to."""

    def __init__(self, outcome: str, log: str = "") -> None:
        self._files = {"store": outcome, "log": log}

    def read(self, name: str) -> str | None:
        return self._files.get(name)


@pytest.mark.parametrize(
    ("outcome", "why"),
    [
        (seeding.MISSING, "the warm store does not have it any more"),
        (seeding.DAMAGED, "it was changed in the warm store, or is cut short"),
        (seeding.PRELOADED, "the daemon's image has nested images of its own"),
    ],
)
def test_not_started_from_it(outcome: str, why: str) -> None:
    """A daemon without its snapshot's contents is not handed over; the error has the reason."""
    settings = Settings(arg=("--debug",))
    preload = seeding.preload(settings, "dind", "sha256:28", _source(), _SNAPSHOT)
    daemon: Any = type("D", (), {"files": _Files(outcome)})
    with pytest.raises(SnapshotFailed, match="can't start from the snapshot 'db'") as raised:
        preload.provide(daemon)
    assert raised.value.evidence == f"{_SNAPSHOT.key}: {why}."


def test_no_room_for_a_copy() -> None:
    """Where the copy fails, what it fails on is in the error, with its cause first."""
    settings = Settings(arg=("--debug",))
    preload = seeding.preload(settings, "dind", "sha256:28", _source(), _SNAPSHOT)
    log = 'cp: error writing \'x\': No space left on device\ntime="2026" level=info msg="x"\n'
    daemon: Any = type("D", (), {"files": _Files(seeding.FAILED, log)})
    with pytest.raises(SnapshotFailed) as raised:
        preload.provide(daemon)
    assert raised.value.evidence.startswith("Cause: ")
    assert "cp: error writing" in raised.value.evidence
    assert "level=info" not in raised.value.evidence


def test_no_shell() -> None:
    """An image without a shell has nothing that would copy it."""
    settings = Settings(arg=("--debug",))
    preload = seeding.preload(settings, "dind", "sha256:28", _source(), _SNAPSHOT)
    daemon: Any = type("D", (), {"files": _Files("")})
    with pytest.raises(SnapshotFailed) as raised:
        dataclasses.replace(preload, seed=seeding.Seed()).provide(daemon)
    assert "the daemon's image has no shell" in raised.value.evidence
