"""The outer engine: where it is looked for, and what is said when it can't be had."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
from pathlib import Path

import pytest

from pytest_dind import EngineUnavailable
from pytest_dind.engine import engine as engine_module
from pytest_dind.engine.engine import Engine

from ..support import Answer, FakeEngine


@pytest.fixture(autouse=True)
def _no_engine_of_the_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither variables nor contexts of whoever runs the tests."""
    for name in list(os.environ):
        if name.startswith(("DOCKER_", "CONTAINER_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    (tmp_path / "config.json").write_text("{}")


def _failure(host: str = "") -> str:
    with pytest.raises(EngineUnavailable) as caught:
        Engine(host).client.ping()
    return str(caught.value)


_VERSION = {"GET /version": Answer(body={"ApiVersion": "1.51", "Version": "28"})}


def _answers(host: str) -> bool:
    with contextlib.closing(Engine(host)) as engine:
        return bool(engine.client.version()["Version"] == "28")


def test_url(short_path: Path) -> None:
    """A URL is taken as it is, whatever the environment says."""
    with FakeEngine(short_path / "s", _VERSION) as engine:
        assert _answers(engine.host)


def test_docker_host(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a host, `DOCKER_HOST` has the engine."""
    with FakeEngine(short_path / "s", _VERSION) as engine:
        monkeypatch.setenv("DOCKER_HOST", engine.host)
        assert _answers("")


@pytest.mark.parametrize("how", ["option", "variable", "current"])
def test_context(
    short_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """A context is found by its name, by `DOCKER_CONTEXT`, and as the current one."""
    with FakeEngine(short_path / "s", _VERSION) as engine:
        meta = tmp_path / "contexts" / "meta" / hashlib.sha256(b"mine").hexdigest()
        meta.mkdir(parents=True)
        (meta / "meta.json").write_text(
            json.dumps(
                {"Name": "mine", "Metadata": {}, "Endpoints": {"docker": {"Host": engine.host}}}
            )
        )
        if how == "variable":
            monkeypatch.setenv("DOCKER_CONTEXT", "mine")
        if how == "current":
            (tmp_path / "config.json").write_text('{"currentContext": "mine"}')
        assert _answers("mine" if how == "option" else "")


@pytest.mark.parametrize("how", ["option", "variable", "current"])
def test_unknown_context(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, how: str) -> None:
    """A context that does not exist is an error that names those that do, as docker's CLI has it.

    The current one too: to use another engine instead would be a surprise.
    """
    if how == "current":
        (tmp_path / "config.json").write_text('{"currentContext": "nowhere"}')
    if how == "variable":
        monkeypatch.setenv("DOCKER_CONTEXT", "nowhere")
    text = _failure("nowhere" if how == "option" else "")

    assert text.startswith("The docker context 'nowhere' does not exist.")
    assert "Contexts found: default." in text
    assert "Give --dind-host a URL (unix:///…) or the name of a context that exists." in text
    assert "Correct the variable DOCKER_CONTEXT" in text
    assert "docker context use default" in text


def test_context_that_cannot_be_read(tmp_path: Path) -> None:
    """A context whose file is broken is an error with its name, and no traceback."""
    meta = tmp_path / "contexts" / "meta" / hashlib.sha256(b"mine").hexdigest()
    meta.mkdir(parents=True)
    (meta / "meta.json").write_text("{")
    text = _failure("mine")

    assert text.startswith("The docker context 'mine' cannot be read.")
    assert "corrupted meta file" in text
    assert "Make that context anew" in text


def test_no_socket(short_path: Path) -> None:
    """A socket that is not there: start an engine, or name another."""
    assert _failure(f"unix://{short_path}/s") == (
        f"The Docker engine at unix://{short_path}/s cannot be used.\n"
        "Evidence:\n"
        f"  There is no socket {short_path}/s.\n"
        "To fix this, either:\n"
        "  - Start a Docker engine, or install one (https://docs.docker.com/engine/install/).\n"
        "  - Name another engine with --dind-host or DOCKER_HOST."
    )


def test_not_a_socket(short_path: Path) -> None:
    """A path that is something else is told so."""
    (short_path / "s").touch()
    text = _failure(f"unix://{short_path}/s")

    assert f"{short_path}/s is not a socket." in text
    assert "Name another engine with --dind-host or DOCKER_HOST." in text


def test_nobody_listens(short_path: Path) -> None:
    """A socket left from an engine that ended is told so."""
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(f"{short_path}/s")
    text = _failure(f"unix://{short_path}/s")

    assert f"The socket {short_path}/s is there, but: " in text
    assert "Connection refused" in text
    assert "Start the engine; the socket may be left from one that ended." in text


def test_no_right(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket that this user may not write to: the group, or a rootless engine."""
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(f"{short_path}/s")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    text = _failure(f"unix://{short_path}/s")

    assert f"This user (uid {os.getuid()}) may not write to the socket {short_path}/s." in text
    assert "sudo usermod -aG docker $USER" in text
    assert "rootless Docker" in text


def test_elsewhere() -> None:
    """An engine on the network that does not answer is told as the connection said it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        host = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        text = _failure(host)

    assert f"The Docker engine at {host} cannot be used." in text.replace("http://", "tcp://")
    assert "Connection refused" in text
    assert "Check that the engine runs and is reachable from here." in text


@pytest.mark.parametrize(
    "url",
    [
        "gopher://x",
        "tcp://localhost:abc",
        "tcp://localhost:70000",
        "tcp://[::1",
        "tcp://.example.invalid:1",
        "ssh://h:abc",
        "ssh://[x",
    ],
)
def test_bad_url(url: str) -> None:
    """A URL that makes no sense is no traceback but the same error."""
    assert f"The Docker engine at {url} cannot be used." in _failure(url).replace("http:", "tcp:")


def test_certificates_that_are_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A TLS environment without its certificates is the same error, not docker-py's own."""
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    monkeypatch.setenv("DOCKER_CERT_PATH", str(tmp_path / "missing"))
    text = _failure()

    assert "The Docker engine at tcp://127.0.0.1:1 cannot be used." in text
    assert "certificate" in text


def test_info_is_asked_for_once(short_path: Path) -> None:
    """What an engine tells about itself is asked for once, or not at all where it is known."""
    asked = []

    def answer() -> Answer:
        asked.append("info")
        return Answer(body={"HttpProxy": "http://p:1"})

    with FakeEngine(short_path / "s", {"GET /info": answer}) as fake:
        for known in ({}, {"HttpProxy": "http://p:2"}):
            engine = Engine(fake.host)
            engine.keep_info(known)
            engine.ask_for_info()
            assert engine.info() == engine.info() == (known or {"HttpProxy": "http://p:1"})
            engine.close()

    assert asked == ["info"]


def test_info_that_is_not_given(short_path: Path) -> None:
    """An engine that does not tell about itself has nothing to tell: no error of a start."""
    with FakeEngine(short_path / "s", {"GET /info": Answer(500, {"message": "no"})}) as fake:
        engine = Engine(fake.host)
        assert engine.info() == {}
        engine.close()


def test_when_it_has_answered(short_path: Path) -> None:
    """An engine notes when it has answered last; before, it has not."""
    with (
        FakeEngine(short_path / "s", _VERSION) as fake,
        contextlib.closing(Engine(fake.host)) as engine,
    ):
        assert engine.answered == 0
        engine.client.version()
        first = engine.answered
        engine.client.version()

    assert 0 < first < engine.answered


def _without_docker(monkeypatch: pytest.MonkeyPatch, short_path: Path) -> None:
    """A machine without Docker's socket."""
    socket = f"unix://{short_path}/docker.sock"
    monkeypatch.setattr(engine_module, "_DEFAULT_HOST", socket)
    # docker-py's context of the name default, which has the same one.
    monkeypatch.setattr(engine_module, "_context", lambda name: {"base_url": socket})


def test_podman_where_docker_is_nowhere(monkeypatch: pytest.MonkeyPatch, short_path: Path) -> None:
    """`CONTAINER_HOST` leads to the engine where all that the docker CLI looks at leads nowhere."""
    _without_docker(monkeypatch, short_path)
    with FakeEngine(short_path / "s", _VERSION) as engine:
        monkeypatch.setenv("CONTAINER_HOST", engine.host)
        assert _answers("")
        # Docker's own comes first, wherever it is given.
        monkeypatch.setenv("DOCKER_HOST", f"unix://{short_path}/other")
        assert "/other cannot be used" in _failure("")
        monkeypatch.delenv("DOCKER_HOST")
        with FakeEngine(short_path / "docker.sock", _VERSION) as usual:
            assert Engine().url == usual.host


def test_podman_that_serves_is_a_remedy(monkeypatch: pytest.MonkeyPatch, short_path: Path) -> None:
    """Without Docker's socket the error names one of Podman's, or how it comes to have one."""
    _without_docker(monkeypatch, short_path)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(short_path))
    programs = short_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    assert "Podman" not in _failure("")

    (programs / "podman").touch(0o755)
    assert "systemctl --user start podman.socket" in _failure("")

    (short_path / "podman").mkdir()
    with FakeEngine(short_path / "podman" / "podman.sock", _VERSION) as engine:
        assert f"--dind-host {engine.host}." in _failure("")
