"""Builds: the arguments that they take, and what BuildKit tells of them."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from pytest_dind import BuildFailed, SettingsError
from pytest_dind.engine import build_trace, builds, steps

from ..support import Answer, FakeEngine


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A directory that can be built."""
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    return tmp_path


def test_unknown_option(directory: Path) -> None:
    """An option that is none is an error that names those there are."""
    with pytest.raises(SettingsError) as caught:
        builds.build_of(directory, "some:tag", {"build_args": {}, "target": "x"})

    text = str(caught.value)
    assert "build: build_args is no option of a build." in text
    assert "buildargs, cache_from" in text
    assert "secrets" in text


@pytest.mark.parametrize("secrets", [{"one": 5}, ["one"], "one"])
def test_secrets_that_are_none(directory: Path, secrets: Any) -> None:
    """Secrets that are no dict of paths or bytes are an error that says how to give them."""
    with pytest.raises(SettingsError, match=r"secrets=.* is not a valid value") as caught:
        builds.build_of(directory, "some:tag", {"secrets": secrets})
    assert 'secrets={"token": b"..."}' in str(caught.value)


def test_secret_that_is_missing(directory: Path) -> None:
    """A secret's file that is not there is an error that names both."""
    with pytest.raises(BuildFailed, match=r"There is no file /no/such, the secret 'one'"):
        builds.build_of(directory, "some:tag", {"secrets": {"one": "/no/such"}})


def test_secrets_and_the_older_builder(directory: Path) -> None:
    """Secrets can't be had with what only the older builder can do."""
    with pytest.raises(SettingsError, match="squash"):
        builds.build_of(directory, "some:tag", {"secrets": {"one": b"x"}, "squash": True})


@pytest.mark.parametrize(
    ("options", "older"),
    [
        ({}, ""),
        ({"network_mode": "host", "container_limits": {}}, ""),
        ({"network_mode": "mine"}, "network_mode='mine'"),
        ({"isolation": "process", "squash": True}, "isolation, squash"),
    ],
)
def test_what_only_the_older_builder_can(
    directory: Path, options: dict[str, Any], older: str
) -> None:
    """What BuildKit can't do is told from the rest."""
    assert builds.build_of(directory, "some:tag", options).older == older


def _message(*fields: tuple[int, bytes]) -> bytes:
    return b"".join(
        bytes([number << 3 | 2]) + _size(len(value)) + value for number, value in fields
    )


def _size(number: int) -> bytes:
    return bytes([number & 0x7F | 0x80, number >> 7]) if number > 0x7F else bytes([number])


def _step(name: str, *, started: bool = True) -> tuple[int, bytes]:
    times = [(5, b"\x08\x01")] if started else []
    # Field 4 is a number: whether the step was in the cache.
    return 1, _message((1, name.encode()), (3, name.encode())) + b"\x20\x01" + _message(*times)


def test_trace() -> None:
    """Each step is told once, when it starts; each line that it writes as it comes."""
    trace = build_trace.Trace()
    long = "x" * 200
    told = [
        _message(_step("one", started=False), _step("two")),
        _message(_step("two"), _step("one"), (2, b"anything")),
        _message((3, _message((1, b"one"), (4, f"{long}\nb\n".encode())))),
    ]
    lines = [list(trace.lines(base64.b64encode(message).decode())) for message in told]
    assert lines == [["two"], ["one"], [long, "b"]]


@pytest.mark.parametrize(
    "message", ["no base64", "CgE=", "Cv8=", base64.b64encode(b"\x0f").decode()]
)
def test_trace_that_is_broken(message: str) -> None:
    """What can't be read is left out, and fails nothing."""
    assert list(build_trace.Trace().lines(message)) == []


def _events(*events: dict[str, Any]) -> Answer:
    return Answer(body="".join(f"{json.dumps(event)}\r\n" for event in events))


def _ways(answers: Iterator[Answer], path: Path, directory: Path, version: str) -> str:
    build = builds.build_of(directory, "some:tag", {})
    with FakeEngine(path, {"POST /build": lambda: next(answers)}) as engine:
        client = docker.DockerClient(engine.host, version=version)
        try:
            return builds.by_api(client, build, steps.Step(len, ""))
        finally:
            client.close()


def test_credentials_that_buildkit_lacks(short_path: Path, directory: Path) -> None:
    """Where BuildKit would ask for a registry's credentials, the older builder builds."""
    answers = iter(
        [
            _events({"errorDetail": {"message": "failed to authorize: no active sessions"}}),
            _events({"aux": {"ID": "sha256:1"}}),
        ]
    )
    assert _ways(answers, short_path / "s", directory, "1.41") == "sha256:1"
    answers = iter(
        [
            _events({"errorDetail": {"message": "no active sessions"}}),
            _events({"errorDetail": {"message": "the --mount option requires BuildKit"}}),
        ]
    )
    with pytest.raises(BuildFailed, match="requires BuildKit") as caught:
        _ways(answers, short_path / "s", directory, "1.41")
    assert "by the older builder: BuildKit would ask for a registry's" in str(caught.value)
    assert "have buildx in the daemon's image" in str(caught.value)
    # Another failure is one.
    answers = iter([_events({"errorDetail": {"message": "no space"}})])
    with pytest.raises(BuildFailed, match="no space"):
        _ways(answers, short_path / "s", directory, "1.41")


def test_file_that_cannot_be_read(
    short_path: Path, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that goes before it is sent is an error that names it."""
    monkeypatch.setattr("docker.utils.build.exclude_paths", lambda *given, **named: {"gone"})
    with pytest.raises(BuildFailed, match=r"No such file or directory: '.*/gone'"):
        _ways(iter([_events({"aux": {"ID": "1"}})]), short_path / "s", directory, "1.41")


def test_engine_without_buildkit(short_path: Path, directory: Path) -> None:
    """An engine that is too old for BuildKit builds by its older builder, and errors say so."""
    answers = iter([_events({"error": "unknown instruction"})])
    with pytest.raises(BuildFailed, match=r"the API 1\.38 has no BuildKit"):
        _ways(answers, short_path / "s", directory, "1.38")
