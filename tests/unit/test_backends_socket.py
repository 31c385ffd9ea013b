"""Mode socket: what is proved in a container, what `exec` needs, what is said of newer engines."""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import requests
from docker.errors import APIError, NotFound

from pytest_dind import ModeUnavailable, Settings
from pytest_dind.backends import socket
from pytest_dind.backends.probe import LEASE_SEEN, ProbeResult
from pytest_dind.backends.socket import SocketBackend
from pytest_dind.engine import own_container
from pytest_dind.engine.own_container import Share, SharedFiles
from pytest_dind.lifetime.layout import Home

_SEEN = ProbeResult(f"=== lease\n{LEASE_SEEN}\n", ran=True)
_UNSEEN = ProbeResult("=== lease\n", ran=True)


@pytest.fixture
def inside(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process runs in a container."""
    monkeypatch.setattr(own_container, "is_contained", lambda: True)


def _engine(details: Any = None) -> Any:
    return Mock(url="unix:///s", own_container=details)


def test_outside_of_containers() -> None:
    """Nothing is to be proved at the start; the doctor tries whether the engine sees the socket."""
    engine, probe = _engine(), Mock(return_value=_UNSEEN)

    assert socket.check(engine, probe) is None
    assert not probe.mock_calls
    assert socket.check_thoroughly(engine, probe) is not None


@pytest.mark.usefixtures("inside")
@pytest.mark.parametrize("check", [socket.check, socket.check_thoroughly])
def test_container_that_the_engine_knows(check: Any) -> None:
    """Its mounts tell what is shared: nothing is to be proved, says the doctor too."""
    probe = Mock(return_value=_UNSEEN)

    assert check(_engine({"Id": "x"}), probe) is None
    assert not probe.mock_calls


@pytest.mark.usefixtures("inside")
@pytest.mark.parametrize("check", [socket.check, socket.check_thoroughly])
def test_container_that_the_engine_does_not_know(check: Any) -> None:
    """An engine must see the run's directory, or there is no guard: the doctor says the same."""
    assert check(_engine(), Mock(return_value=_SEEN)) is None
    obstacle = check(_engine(), Mock(return_value=_UNSEEN))
    error = obstacle.error("socket")

    assert isinstance(error, ModeUnavailable)
    assert "in a container that the engine does not know" in error.what
    assert "A FIFO that this process holds open is not there" in error.evidence
    assert "GET /containers/ID/json" in error.remedy[0]
    assert "--dind-mode=auto" in error.remedy[-1]


def test_socket_that_no_container_can_have() -> None:
    """`exec` is refused with the cause, where the engine has no path for the guard's socket."""
    home = Home(Path("/nonexistent/run/main"))

    assert socket._of_engine(home, None) == "/nonexistent/run/main"
    shared = SharedFiles([Share("/nonexistent", "/host")])
    assert socket._of_engine(home, shared) == "/host/run/main"
    with pytest.raises(ModeUnavailable, match="exec can't be had in mode socket here") as caught:
        socket._of_engine(home, SharedFiles([]))
    assert "in the container that the tests run in alone" in caught.value.evidence
    assert "-e TMPDIR=/tmp/dind" in caught.value.remedy[0]


_UNSHARED = 'invalid mount config for type "bind": bind source path does not exist: /tmp/x/s'
_DENIED = 'invalid mount config for type "bind": stat /tmp/x/s: permission denied'


def _refused(status: int, said: str) -> APIError:
    response = requests.Response()
    response.status_code = status
    kind = NotFound if status == HTTPStatus.NOT_FOUND else APIError
    return kind(said, response, said)


@pytest.mark.parametrize(
    ("said", "remedy"),
    [(_UNSHARED, "Set TMPDIR to a directory"), (_DENIED, "as the user that the engine runs as")],
)
def test_engine_without_the_directories(
    monkeypatch: pytest.MonkeyPatch, said: str, remedy: str
) -> None:
    """Where the engine lacks them, `exec` says so in its words, and pulls no image for that."""
    pulled = Mock()
    monkeypatch.setattr(socket, "ImageSource", pulled)
    backend = SocketBackend(_engine())
    with pytest.raises(ModeUnavailable, match="exec can't be had in mode socket here") as caught:
        backend._made(Mock(side_effect=_refused(400, said)), Settings())

    assert caught.value.evidence == f"unix:///s: {said}"
    assert remedy in " ".join(caught.value.remedy)
    assert "--dind-mode=auto" in caught.value.remedy[-1]
    assert not pulled.mock_calls


def test_client_container_without_its_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """An image that is missing is pulled; what else the engine refuses is handed on as it is."""
    pulled = Mock()
    monkeypatch.setattr(socket, "ImageSource", pulled)
    backend = SocketBackend(_engine())
    missing = _refused(404, "No such image: i:t")
    assert backend._made(Mock(side_effect=[missing, {"Id": "c"}]), Settings()) == {"Id": "c"}
    pulled().ensure.assert_called_once_with(Settings().image)
    with pytest.raises(APIError, match="no space left"):
        backend._made(Mock(side_effect=_refused(500, "no space left")), Settings())


@pytest.mark.parametrize(
    ("version", "said"),
    [
        ("1.41", []),
        ("1.57", []),
        ("1.58", ["the engine's API is 1.58; clients of the guard have 1.57"]),
        ("1.100", ["the engine's API is 1.100; clients of the guard have 1.57"]),
    ],
)
def test_newer_api(version: str, said: list[str]) -> None:
    """An engine with a newer API than the guard knows is served all the same, and it is told."""
    lines: list[str] = []
    socket._tell_of_newer_api(version, lines.append)

    assert lines == said
