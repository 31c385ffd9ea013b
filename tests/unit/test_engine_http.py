"""The ping: an answer only from a daemon that serves."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path
from threading import Thread
from urllib.request import getproxies

import pytest

from pytest_dind.engine.engine import Engine
from pytest_dind.engine.http import client, ping

from ..support import PING, Answer, FakeEngine


def test_answer(short_path: Path) -> None:
    """A daemon that serves answers with the newest API version it speaks."""
    with FakeEngine(short_path / "s", {}) as engine:
        assert ping(engine.host) == "1.51"


@pytest.mark.parametrize(
    "answer",
    [
        Answer(503, "starting", PING.headers),
        Answer(404, "what?", PING.headers),
        Answer(200, "OK, but no version"),
    ],
)
def test_no_good_answer(short_path: Path, answer: Answer) -> None:
    """An answer that is no good ping is none."""
    with FakeEngine(short_path / "s", {"GET /_ping": answer}) as engine:
        assert ping(engine.host) is None


def test_nothing_there(short_path: Path) -> None:
    """No socket, and a socket that nobody listens on, are no answer and no error."""
    assert ping(f"unix://{short_path / 's'}") is None
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(short_path / "s"))
    assert ping(f"unix://{short_path / 's'}") is None


def test_accepts_and_is_silent(short_path: Path) -> None:
    """A socket that accepts is no daemon that serves: the time-out ends the wait."""
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(short_path / "s"))
        silent.listen()
        assert ping(f"unix://{short_path / 's'}", timeout=0.05) is None


def test_not_http(short_path: Path) -> None:
    """Something else that answers is no daemon."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(short_path / "s"))
        listener.listen()

        def greet() -> None:
            accepted, _ = listener.accept()
            with accepted:
                accepted.sendall(b"220 mail.example ESMTP\r\n")

        thread = Thread(target=greet)
        thread.start()
        assert ping(f"unix://{short_path / 's'}") is None
        thread.join()


def test_proxy_before_tcp(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client on plain TCP has the environment's proxies, looked up once, while that changes."""
    monkeypatch.setenv("HTTP_PROXY", "http://proxy:3128")
    monkeypatch.setenv("NO_PROXY", "near")
    tries = iter([KeyError("PYTEST_CURRENT_TEST"), RuntimeError("changed size"), None])
    found = getproxies()

    def changing() -> dict[str, str]:
        error = next(tries)
        if error is not None:
            raise error
        return found

    monkeypatch.setattr("requests.utils.getproxies", changing)
    for host, proxy in (("far", "http://proxy:3128"), ("near", None)):
        with contextlib.closing(client(f"tcp://{host}:2375", version="1.51")) as daemon:
            assert daemon.api.proxies.get("http") == proxy
            assert not daemon.api.trust_env


def test_environment_that_changes(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients on a unix socket ask in any thread, also while pytest changes the environment."""

    def items() -> None:
        raise KeyError("PYTEST_CURRENT_TEST")

    monkeypatch.setattr("requests.utils.proxy_bypass", lambda host: items())
    monkeypatch.setattr("requests.utils.getproxies", items)
    answers = {"GET /version": Answer(200, '{"ApiVersion": "1.51"}')}
    with FakeEngine(short_path / "s", answers) as fake:
        for version in (None, "1.51"):
            with contextlib.closing(client(fake.host, version=version)) as daemon:
                assert daemon.ping()
        with contextlib.closing(Engine(fake.host)) as engine:
            assert engine.client.ping()
