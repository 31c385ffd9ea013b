"""What is remembered of probes: for how long, and what makes it count no more."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from docker.errors import NotFound

from pytest_dind.backends import memory, probe
from pytest_dind.backends.memory import Memory
from pytest_dind.backends.registry import Probe
from pytest_dind.engine.images import ImageSource

_DAY = 24 * 60 * 60


def test_remembered(tmp_path: Path) -> None:
    """What was noted is known, with its age, and to who looks anew it is not."""
    path = tmp_path / "proved.json"
    Memory(path).note("key", "seen")
    Memory(path).note("other", "too")
    found = Memory(path).recall("key")

    assert found is not None
    assert found.output == "seen"
    assert 0 <= found.age < _DAY
    assert Memory(path).recall("other") is not None
    assert Memory(path).recall("none") is None
    assert Memory(path, anew=True).recall("key") is None


@pytest.mark.parametrize("age", [-10, _DAY + 1])
def test_age(tmp_path: Path, age: float) -> None:
    """After a day nothing is known, nor of what is said to be seen in the future; it goes."""
    path = tmp_path / "proved.json"
    path.write_text(json.dumps({"key": [time.time() - age, "seen"]}))
    assert Memory(path).recall("key") is None
    Memory(path).note("other", "x")

    assert list(json.loads(path.read_text())) == ["other"]


@pytest.mark.parametrize("content", ["", "{", "[]", '"x"', "1", '{"key": 1}', '{"key": ["x", 1]}'])
def test_file_that_cannot_be_read(tmp_path: Path, content: str) -> None:
    """With a broken file, or one of something else, nothing is known, and it is written anew."""
    path = tmp_path / "proved.json"
    path.write_text(content)
    assert Memory(path).recall("key") is None
    Memory(path).note("key", "seen")

    assert Memory(path).recall("key") is not None


def test_directory_that_is_gone(tmp_path: Path) -> None:
    """What can't be written is not remembered, and no more than that."""
    Memory(tmp_path / "none" / "proved.json").note("key", "seen")

    assert not (tmp_path / "none").exists()


class _Engine:
    """An engine that is none."""

    def __init__(self) -> None:
        self.place = "unix:///x"
        self.details: dict[str, Any] = {
            "ID": "me",
            "ServerVersion": "28",
            "Runtimes": {"sysbox-runc": {"path": "/usr/bin/sysbox-runc"}},
        }
        self.network = {"Id": "1", "Created": "today"}
        self.client = Mock()
        self.client.api.inspect_network.side_effect = lambda name: self.network

    def info(self) -> dict[str, Any]:
        return self.details

    def key(self, **details: Any) -> str:
        made: Any = self
        return memory.key(made, "sysbox-runc", {"image": "i", **details})


def test_what_it_depends_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Another engine, start, boot, version, runtime, user or image: it is not the same any more."""
    program = tmp_path / "sysbox-runc"
    program.write_text("old")
    boot = tmp_path / "boot"
    boot.write_text("one")
    monkeypatch.setattr(memory, "_BOOT", boot)
    engine = _Engine()
    keys = [engine.key()]
    assert keys == [engine.key()]

    def changed() -> None:
        keys.append(engine.key())

    engine.place = "unix:///y"
    changed()
    for name in ("ID", "ServerVersion"):
        engine.details[name] = "other"
        changed()
    engine.network = {"Id": "2", "Created": "tomorrow"}
    changed()
    boot.write_text("two")
    changed()
    engine.details["Runtimes"]["sysbox-runc"] = {"path": str(program)}
    changed()
    program.write_text("newer")
    changed()
    monkeypatch.setattr(os, "getgid", lambda: 4711)
    changed()
    keys.append(engine.key(image="j"))

    assert all(keys)
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("missing", ["id", "runtime", "network", "created"])
def test_engine_that_does_not_tell(missing: str) -> None:
    """Where it isn't known whether the engine is still the same, nothing is remembered."""
    engine = _Engine()
    if missing == "id":
        engine.details["ID"] = ""
    elif missing == "runtime":
        engine.details["Runtimes"] = {}
    elif missing == "network":
        engine.client.api.inspect_network.side_effect = NotFound("no such network")
    else:
        engine.network = {"Id": "1"}

    assert engine.key() == ""


def test_probe_that_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A probe that has proved a runtime is not run again; one that hasn't, or of no runtime, is."""
    engine, ran = Mock(), list[object]()

    def run(self: Probe, *given: object) -> probe.ProbeResult:
        ran.append(given)
        return probe.ProbeResult("seen", ran=True)

    monkeypatch.setattr(memory, "key", lambda engine, runtime, details: str(details["probe"]))
    monkeypatch.setattr(ImageSource, "ensure", lambda self, name: {"Id": "sha256:1"})
    monkeypatch.setattr(Probe, "_look", run)

    def look(*, keep: bool, **how: Any) -> Probe:
        made = Probe(engine, "i:t", tmp_path / "run", print, Memory(tmp_path / "proved.json"))
        result = made(["true"], **how)
        assert result.output == "seen"
        if keep:
            made.keep(result)
        return made

    assert look(keep=False, runtime="x").age is None
    assert look(keep=True, runtime="x").age is None
    assert look(keep=False, runtime="x").age is not None
    assert len(ran) == 2
    look(keep=True, privileged=True)
    assert look(keep=True, privileged=True).age is None
    assert len(ran) == 4
