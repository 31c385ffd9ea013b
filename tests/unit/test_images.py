"""Images: found, pulled, loaded, or an error that says which of it failed."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from pytest_dind import ImageUnavailable, images, transfer

from ..support import Answer, FakeEngine, Reply

_FOUND = Answer(body={"Id": "sha256:1", "Config": {}})
_MISSING = Answer(404, {"message": "No such image: some:tag"})


class _Engine:
    """A client on a fake engine, and what was said meanwhile."""

    def __init__(self, path: Path, answers: dict[str, Reply]) -> None:
        self._engine = FakeEngine(path, answers)
        self.said: list[str] = []

    def __enter__(self) -> _Engine:
        self._engine.__enter__()
        self.client = docker.DockerClient(self._engine.host, version="1.41")
        return self

    def __exit__(self, *error: object) -> None:
        self.client.close()
        self._engine.__exit__(None, None, None)


def _events(*events: dict[str, Any]) -> Answer:
    return Answer(body="".join(f"{json.dumps(event)}\r\n" for event in events))


def _failure(engine: _Engine) -> str:
    with pytest.raises(ImageUnavailable) as caught:
        images.ensure(engine.client, "some:tag", engine.said.append)
    return str(caught.value)


def test_image_that_is_there(short_path: Path) -> None:
    """An image that the engine has is not pulled, and nothing is said."""
    with _Engine(short_path / "s", {"GET /images/some:tag/json": _FOUND}) as engine:
        found = images.ensure(engine.client, "some:tag", engine.said.append)

    assert found["Id"] == "sha256:1"
    assert engine.said == []


def test_image_that_is_pulled(short_path: Path) -> None:
    """An image that is missing is pulled, and a line before and after says so."""
    looks: Iterator[Answer] = iter([_MISSING])
    answers: dict[str, Reply] = {
        "GET /images/some:tag/json": lambda: next(looks, _FOUND),
        "POST /images/create": _events({"status": "Pulling"}, {"status": "Downloaded"}),
    }
    with _Engine(short_path / "s", answers) as engine:
        found = images.ensure(engine.client, "some:tag", engine.said.append)

    assert found["Id"] == "sha256:1"
    assert engine.said == ["pulling some:tag", "pulled some:tag"]


def test_pull_that_takes_long(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pull that takes long tells how much of its layers is here."""
    monkeypatch.setattr(transfer, "_SAY_AFTER_SECONDS", -1)
    looks: Iterator[Answer] = iter([_MISSING])

    def event(layer: str, status: str, **detail: int) -> dict[str, Any]:
        return {"id": layer, "status": status, "progressDetail": detail}

    answers: dict[str, Reply] = {
        "GET /images/some:tag/json": lambda: next(looks, _FOUND),
        "POST /images/create": _events(
            event("tag", "Pulling from some"),
            event("a", "Downloading", current=5_000_000, total=20_000_000),
            event("b", "Downloading", current=1_000_000, total=10_000_000),
            event("a", "Download complete"),
            event("a", "Extracting", current=1_000_000, total=20_000_000),
        ),
    }
    with _Engine(short_path / "s", answers) as engine:
        images.ensure(engine.client, "some:tag", engine.said.append)

    assert engine.said == [
        "pulling some:tag",
        "pulling some:tag: 5 of 20 MB",
        "pulling some:tag: 6 of 30 MB",
        "pulling some:tag: 21 of 30 MB",
        "pulling some:tag: 21 of 30 MB",
        "pulled some:tag",
    ]


def test_pull_that_is_refused(short_path: Path) -> None:
    """A pull that the engine refuses is an error with its words and three ways on."""
    answers: dict[str, Reply] = {
        "GET /images/some:tag/json": _MISSING,
        "POST /images/create": Answer(404, {"message": "pull access denied for some"}),
    }
    with _Engine(short_path / "s", answers) as engine:
        assert _failure(engine) == (
            "The image 'some:tag' is not on the outer engine and cannot be pulled.\n"
            "Evidence:\n"
            "  pull access denied for some\n"
            "To fix this, either:\n"
            "  - Check the name for a typing error.\n"
            "  - Put it there by other means: docker load, or docker build -t some:tag .\n"
            "  - Check the way to the registry, and docker login."
        )


def test_pull_that_breaks(short_path: Path) -> None:
    """A pull that begins and then fails is the same error."""
    answers: dict[str, Reply] = {
        "GET /images/some:tag/json": _MISSING,
        "POST /images/create": _events({"status": "Pulling"}, {"error": "unexpected EOF"}),
    }
    with _Engine(short_path / "s", answers) as engine:
        assert "unexpected EOF" in _failure(engine)
    assert engine.said == ["pulling some:tag"]


@pytest.mark.parametrize(
    "answer", [_events({"error": "no space left on device"}), Answer(500, {"message": "no space"})]
)
def test_load_that_fails(short_path: Path, answer: Answer) -> None:
    """An image that the daemon can't take is an error that names the disk."""
    outer: dict[str, Reply] = {
        "GET /images/some:tag/json": _FOUND,
        "GET /images/get": Answer(body="a tar, as it were"),
    }
    with (
        _Engine(short_path / "outer", outer) as engine,
        _Engine(short_path / "inner", {"POST /images/load": answer}) as daemon,
        pytest.raises(ImageUnavailable) as caught,
    ):
        images.load(engine.client, daemon.client, ["some:tag"], engine.said.append)

    text = str(caught.value)
    assert "The image 'some:tag' could not be loaded into the daemon." in text
    assert "no space" in text
    assert "Check that the engine's disk has room (docker system df)." in text


_BAD_NAME = Answer(400, {"message": "invalid reference format: repository name must be lowercase"})


@pytest.mark.parametrize(
    ("name", "evidence"), [("Some:tag", "must be lowercase"), ("", "It is empty.")]
)
def test_name_that_is_none(short_path: Path, name: str, evidence: str) -> None:
    """What can't be an image's name is an error of its own, not the engine's bare answer."""
    with (
        _Engine(short_path / "s", {f"GET /images/{name}/json": _BAD_NAME}) as engine,
        pytest.raises(ImageUnavailable) as caught,
    ):
        images.ensure(engine.client, name, engine.said.append)

    text = str(caught.value)
    assert text.startswith(f"{name!r} is not an image's name.")
    assert evidence in text
    assert "Write it as docker images does" in text


def test_load_that_is_not_answered(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon that says nothing for too long is told; for a load that is longer than usual."""
    over = threading.Event()

    def never() -> Answer:
        over.wait(20)
        return Answer(500)

    outer: dict[str, Reply] = {
        "GET /images/some:tag/json": _FOUND,
        "GET /images/get": Answer(body="a tar, as it were"),
    }
    with (
        _Engine(short_path / "outer", outer) as engine,
        _Engine(short_path / "inner", {"POST /images/load": never}) as daemon,
    ):
        assert daemon.client.api.timeout < transfer.SILENCE_SECONDS
        monkeypatch.setattr(transfer, "SILENCE_SECONDS", 0.2)
        usual = daemon.client.api.timeout
        with pytest.raises(ImageUnavailable, match="could not be loaded") as caught:
            images.load(engine.client, daemon.client, ["some:tag"], engine.said.append)
        over.set()
        assert daemon.client.api.timeout == usual

    assert "timed out" in caught.value.evidence
