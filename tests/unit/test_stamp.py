"""The labelling way to a daemon: what it changes, and that all else passes byte for byte."""

from __future__ import annotations

import errno
import http.client
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pytest_dind.cleanup.inventory import BY
from pytest_dind.cleanup.labelling_proxy import Stamp


class _Daemon:
    """A server that notes each request and answers with the same words."""

    def __init__(self, path: Path, answer: bytes) -> None:
        self.requests: list[bytes] = []
        self._answer = answer
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(str(path))
        self._socket.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            connection, _ = self._socket.accept()
            with connection:
                request = connection.recv(65536)
                if request == b"end":
                    return
                while not self._is_whole(request):
                    request += connection.recv(65536)
                self.requests.append(request)
                connection.sendall(self._answer)

    @staticmethod
    def _is_whole(request: bytes) -> bool:
        head, found, body = request.partition(b"\r\n\r\n")
        if b"chunked" in head:
            return body.endswith(b"0\r\n\r\n")
        length = head.lower().partition(b"content-length:")[2].partition(b"\r")[0]
        return bool(found) and len(body) >= int(length or 0)

    def close(self, path: Path) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as last:
            last.connect(str(path))
            last.sendall(b"end")
            self._thread.join()
        self._socket.close()


_OK = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"


@contextmanager
def _stamped(path: Path, answer: bytes = _OK) -> Iterator[tuple[_Daemon, Stamp]]:
    daemon = _Daemon(path / "d", answer)
    stamp = Stamp(path / "s", path / "d")
    stamp.by = "me test_it"
    yield daemon, stamp
    stamp.close()
    daemon.close(path / "d")


def _ask(stamp: Stamp, method: str, path: str, body: Any = None, **headers: str) -> bytes:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(str(stamp.path))
        client = http.client.HTTPConnection("localhost")
        client.sock = connection
        client.request(method, path, body, headers, encode_chunked=not isinstance(body, bytes))
        return client.getresponse().read()


def _body(request: bytes) -> Any:
    return json.loads(request.partition(b"\r\n\r\n")[2])


@pytest.mark.parametrize("kind", ["containers", "networks", "volumes"])
@pytest.mark.parametrize("version", ["", "/v1.51"])
def test_label(short_path: Path, kind: str, version: str) -> None:
    """What is made carries the label, beside the labels it was to have."""
    with _stamped(short_path) as (daemon, stamp):
        asked = json.dumps({"Name": "x", "Labels": {"mine": "1"}}).encode()
        assert _ask(stamp, "POST", f"{version}/{kind}/create?name=x", asked) == b"{}"
        assert _ask(stamp, "POST", f"{version}/{kind}/create", b'{"Labels": null}') == b"{}"

    daemon.requests = [one for one in daemon.requests if one.startswith(b"POST")]
    labels = [_body(request)["Labels"] for request in daemon.requests]
    assert labels == [{"mine": "1", BY: "me test_it"}, {BY: "me test_it"}]
    assert daemon.requests[0].startswith(f"POST {version}/{kind}/create?name=x ".encode())


def test_chunked_body(short_path: Path) -> None:
    """A body that comes in chunks is labelled as well."""
    with _stamped(short_path) as (daemon, stamp):
        headers = {"Transfer-Encoding": "chunked"}
        _ask(stamp, "POST", "/volumes/create", iter([b'{"Na', b'me": "x"}']), **headers)

    assert _body(daemon.requests[0]) == {"Name": "x", "Labels": {BY: "me test_it"}}
    assert b"chunked" not in daemon.requests[0]


def test_volumes_of_a_container(short_path: Path) -> None:
    """Volumes that a container's start makes carry the label too; directories are left alone."""
    host = {"Binds": ["named:/a", "/directory:/b"], "Mounts": [{"Type": "volume", "Source": "m"}]}
    with _stamped(short_path) as (daemon, stamp):
        _ask(stamp, "POST", "/containers/create", json.dumps({"HostConfig": host}).encode())

    volume, container = [_body(one) for one in daemon.requests if one.startswith(b"POST")]
    assert volume == {"Name": "named", "Labels": {BY: "me test_it"}}
    (mount,) = container["HostConfig"]["Mounts"]
    assert mount["VolumeOptions"] == {"Labels": {BY: "me test_it"}}


# What is said of an image, and of another container.
_IMAGE = (
    b'{"Config": {"Volumes": {"/of-image": {}, "/taken/": {}}},'
    b' "Mounts": [{"Destination": "/of-image"}]}'
)
_HAS_VOLUMES = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b"


def test_volumes_without_a_name(short_path: Path) -> None:
    """Volumes that a container or its image just asks for carry the label; nothing is there twice.

    Nothing is put in the way of those that it has from another container.
    """
    asked: dict[str, Any] = {
        "Image": "some/image:tag",
        "Volumes": {"/own": {}, "/tmp": {}},
        "HostConfig": {"Binds": ["/x:/taken:ro", "/own"], "Tmpfs": {"/tmp": ""}, "Memory": 1},
    }
    answer = _HAS_VOLUMES % (len(_IMAGE), _IMAGE)
    with _stamped(short_path, answer) as (daemon, stamp):
        _ask(stamp, "POST", "/containers/create", json.dumps(asked).encode())
        asked["HostConfig"]["VolumesFrom"] = ["another:ro"]
        _ask(stamp, "POST", "/containers/create", json.dumps(asked).encode())

    look, first, other, _, second = daemon.requests
    assert other.startswith(b"GET /containers/another/json ")
    assert look.startswith(b"GET /images/some/image:tag/json ")
    host = _body(first)["HostConfig"]
    mounts = host.pop("Mounts")
    assert [mount["Target"] for mount in mounts] == ["/of-image", "/own"]
    assert {mount["Type"] for mount in mounts} == {"volume"}
    labels = {BY: "me test_it", "com.docker.volume.anonymous": ""}
    assert all(mount["VolumeOptions"] == {"Labels": labels} for mount in mounts)
    assert host == {
        "Binds": ["/x:/taken:ro"],
        "Tmpfs": {"/tmp": ""},
        "Memory": 1,
    }
    assert [mount["Target"] for mount in _body(second)["HostConfig"]["Mounts"]] == ["/own"]


def test_too_many_open_files(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that can't be taken for want of descriptors is taken later."""
    accept, failures = socket.socket.accept, [OSError(errno.EMFILE, "Too many open files")]

    def take(listening: socket.socket) -> Any:
        if failures and listening.getsockname() == str(short_path / "s"):
            raise failures.pop()
        return accept(listening)

    monkeypatch.setattr(socket.socket, "accept", take)
    with _stamped(short_path) as (_, stamp):
        assert _ask(stamp, "POST", "/volumes/create", b"{}") == b"{}"


def test_volumes_that_the_engine_judges(short_path: Path) -> None:
    """What it refuses stays as it is; a driver that is named is that of the others."""
    binds = ["/x:/twice", "/twice", "relative", "/again", "/again", "/own"]
    host = {"Binds": binds, "VolumeDriver": "some-driver"}
    with _stamped(short_path) as (daemon, stamp):
        _ask(stamp, "POST", "/containers/create", json.dumps({"HostConfig": host}).encode())

    made = _body(daemon.requests[-1])["HostConfig"]
    assert made["Binds"] == [bind for bind in binds if bind != "/own"]
    (mount,) = made["Mounts"]
    assert mount["Target"] == "/own"
    assert mount["VolumeOptions"]["DriverConfig"] == {"Name": "some-driver"}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/containers/json", None),
        ("POST", "/build", b"\x00\xffnot json"),
        ("POST", "/containers/create/x", b"{}"),
    ],
)
def test_all_else(short_path: Path, method: str, path: str, body: bytes | None) -> None:
    """What makes nothing passes as it is, one request to a connection."""
    with _stamped(short_path) as (daemon, stamp):
        _ask(stamp, method, path, body)

    assert daemon.requests[0].endswith(b"\r\n\r\n" + (body or b""))
    assert b"Connection: close" in daemon.requests[0]
    assert BY.encode() not in daemon.requests[0]


def test_body_that_is_no_json(short_path: Path) -> None:
    """A body that can't be read is left to the daemon to refuse."""
    with _stamped(short_path) as (daemon, stamp):
        _ask(stamp, "POST", "/volumes/create", b"nonsense")

    assert daemon.requests[0].endswith(b"\r\n\r\nnonsense")


def test_upgrade(short_path: Path) -> None:
    """A connection that is to become another protocol's keeps its head, and bytes go both ways."""
    answer = b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\nraw\x00"
    with _stamped(short_path, answer) as (daemon, stamp):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.connect(str(stamp.path))
            asked = b"POST /exec/1/start HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
            connection.sendall(asked)
            connection.shutdown(socket.SHUT_WR)
            received = b""
            while chunk := connection.recv(4096):
                received += chunk
        assert received == answer
    assert daemon.requests == [asked]
