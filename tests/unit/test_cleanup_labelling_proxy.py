"""The labelling proxy: what it changes, that all else passes byte for byte, and how it ends."""

from __future__ import annotations

import errno
import http.client
import json
import os
import select
import socket
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pytest_dind.cleanup.labelling_proxy import LabellingProxy
from pytest_dind.lifetime.labels import BY

_SECONDS = 60


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
def _labelled(path: Path, answer: bytes = _OK) -> Iterator[tuple[_Daemon, LabellingProxy]]:
    daemon = _Daemon(path / "d", answer)
    proxy = LabellingProxy(path / "s", path / "d")
    proxy.by = "me test_it"
    yield daemon, proxy
    proxy.close()
    daemon.close(path / "d")


def _ask(proxy: LabellingProxy, method: str, path: str, body: Any = None, **headers: str) -> bytes:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(str(proxy.path))
        client = http.client.HTTPConnection("localhost")
        client.sock = connection
        client.request(method, path, body, headers, encode_chunked=not isinstance(body, bytes))
        return client.getresponse().read()


def _body(request: bytes) -> Any:
    return json.loads(request.partition(b"\r\n\r\n")[2])


@pytest.mark.parametrize("kind", ["containers", "networks", "volumes"])
@pytest.mark.parametrize("version", ["", "/v1.51", "/v9.999"])
def test_label(short_path: Path, kind: str, version: str) -> None:
    """What is made carries the label, beside the labels it was to have."""
    with _labelled(short_path) as (daemon, proxy):
        asked = json.dumps({"Name": "x", "Labels": {"mine": "1"}}).encode()
        assert _ask(proxy, "POST", f"{version}/{kind}/create?name=x", asked) == b"{}"
        assert _ask(proxy, "POST", f"{version}/{kind}/create", b'{"Labels": null}') == b"{}"

    daemon.requests = [one for one in daemon.requests if one.startswith(b"POST")]
    labels = [_body(request)["Labels"] for request in daemon.requests]
    assert labels == [{"mine": "1", BY: "me test_it"}, {BY: "me test_it"}]
    assert daemon.requests[0].startswith(f"POST {version}/{kind}/create?name=x ".encode())


def test_chunked_body(short_path: Path) -> None:
    """A body that comes in chunks is labelled as well."""
    with _labelled(short_path) as (daemon, proxy):
        headers = {"Transfer-Encoding": "chunked"}
        _ask(proxy, "POST", "/volumes/create", iter([b'{"Na', b'me": "x"}']), **headers)

    assert _body(daemon.requests[0]) == {"Name": "x", "Labels": {BY: "me test_it"}}
    assert b"chunked" not in daemon.requests[0]


def test_volumes_of_a_container(short_path: Path) -> None:
    """Volumes that a container's start makes carry the label too; directories are left alone."""
    host = {"Binds": ["named:/a", "/directory:/b"], "Mounts": [{"Type": "volume", "Source": "m"}]}
    with _labelled(short_path) as (daemon, proxy):
        _ask(proxy, "POST", "/containers/create", json.dumps({"HostConfig": host}).encode())

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
    with _labelled(short_path, answer) as (daemon, proxy):
        _ask(proxy, "POST", "/containers/create", json.dumps(asked).encode())
        asked["HostConfig"]["VolumesFrom"] = ["another:ro"]
        _ask(proxy, "POST", "/containers/create", json.dumps(asked).encode())

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
    with _labelled(short_path) as (_, proxy):
        assert _ask(proxy, "POST", "/volumes/create", b"{}") == b"{}"


def test_volumes_that_the_engine_judges(short_path: Path) -> None:
    """What it refuses stays as it is; a driver that is named is that of the others."""
    binds = ["/x:/twice", "/twice", "relative", "/again", "/again", "/own"]
    host = {"Binds": binds, "VolumeDriver": "some-driver"}
    with _labelled(short_path) as (daemon, proxy):
        _ask(proxy, "POST", "/containers/create", json.dumps({"HostConfig": host}).encode())

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
    with _labelled(short_path) as (daemon, proxy):
        _ask(proxy, method, path, body)

    assert daemon.requests[0].endswith(b"\r\n\r\n" + (body or b""))
    assert b"Connection: close" in daemon.requests[0]
    assert BY.encode() not in daemon.requests[0]


@pytest.mark.parametrize(
    "body", [b"nonsense", b"[]", b'{"Labels": "x"}', b'{"HostConfig": {"Mounts": ["x"]}}']
)
def test_body_that_is_no_create(short_path: Path, body: bytes) -> None:
    """A body that is no JSON, or of an odd shape, is left to the daemon to refuse."""
    with _labelled(short_path) as (daemon, proxy):
        _ask(proxy, "POST", "/containers/create", body)

    assert daemon.requests[0].endswith(b"\r\n\r\n" + body)


def _exchange(proxy: LabellingProxy, asked: bytes) -> bytes:
    """What a client hears, to the end, that sends these bytes."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(str(proxy.path))
        connection.sendall(asked)
        return b"".join(iter(lambda: connection.recv(4096), b""))


def test_head_that_is_odd(short_path: Path) -> None:
    """What the guard would refuse passes byte for byte, but for how its connection ends."""
    head = b"GET /x/../%2f?a;b HTTP/1.0\r\nX-Odd : \xff\r\nx-odd: 1\r\n folded\r\n"
    with _labelled(short_path) as (daemon, proxy):
        assert _exchange(proxy, head + b"Connection:keep-alive\r\n\r\n") == _OK

    assert daemon.requests == [head + b"Connection: close\r\n\r\n"]


def test_chunks_that_are_odd(short_path: Path) -> None:
    """A body in chunks with extensions and trailers is read as HTTP has it."""
    asked = (
        b"POST /volumes/create HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
        b"Expect: 100-continue\r\n\r\n2;a=b\r\n{}\r\n0\r\nTrailer: x\r\n\r\n"
    )
    with _labelled(short_path) as (daemon, proxy):
        assert _exchange(proxy, asked) == b"HTTP/1.1 100 Continue\r\n\r\n" + _OK

    assert _body(daemon.requests[0]) == {"Labels": {BY: "me test_it"}}
    assert b"100-continue" not in daemon.requests[0]


def test_body_that_is_cut_short(short_path: Path) -> None:
    """A client that leaves in the midst of a body has nothing made."""
    with _labelled(short_path) as (daemon, proxy):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.connect(str(proxy.path))
            connection.sendall(
                b"POST /volumes/create HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{}"
            )
            connection.shutdown(socket.SHUT_WR)
            assert connection.recv(4096) == b""
        _ask(proxy, "GET", "/_ping")

    assert [request.split(b" ")[1] for request in daemon.requests] == [b"/_ping"]


def test_daemon_that_is_gone(short_path: Path) -> None:
    """Where no daemon listens, the connection ends without an answer, as the daemon's would."""
    proxy = LabellingProxy(short_path / "s", short_path / "nobody")
    assert _exchange(proxy, b"GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n") == b""
    proxy.close()


_QUIET = b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n"


@contextmanager
def _quiet(path: Path) -> Iterator[tuple[socket.socket, LabellingProxy]]:
    """A proxy to a daemon that hears and says nothing, and the daemon's listening socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(str(path / "d"))
        listening.listen()
        listening.settimeout(_SECONDS)
        proxy = LabellingProxy(path / "s", path / "d")
        yield listening, proxy
        proxy.close()


@pytest.mark.skipif(sys.platform != "linux", reason="told by the kernel on Linux alone")
def test_client_that_leaves_what_is_quiet(short_path: Path) -> None:
    """A client that is gone takes the daemon's side along, also where nothing comes."""
    with _quiet(short_path) as (listening, proxy):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.connect(str(proxy.path))
            client.sendall(_QUIET)
            daemon, _ = listening.accept()
            while not daemon.recv(4096).endswith(b"\r\n\r\n"):
                pass
        with daemon:
            # First the end of what the client sends, then the end of the connection.
            assert daemon.recv(4096) == b""
            poll = select.poll()
            poll.register(daemon, 0)
            assert poll.poll(_SECONDS * 1000)


def test_close(short_path: Path) -> None:
    """A proxy that is closed takes nobody any more, and serves to their end those that it has."""
    others = {*threading.enumerate()}
    with _quiet(short_path) as (listening, proxy):
        (thread,) = {*threading.enumerate()} - others
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.connect(str(proxy.path))
            client.sendall(_QUIET)
            daemon, _ = listening.accept()
            assert daemon.recv(4096).endswith(b"\r\n\r\n")
            proxy.close()
            with pytest.raises(OSError, match=r"No such file|refused"):
                _ask(proxy, "GET", "/_ping")
            with daemon:
                daemon.sendall(b"still here")
            assert b"".join(iter(lambda: client.recv(4096), b"")) == b"still here"
        thread.join(_SECONDS)
        assert not thread.is_alive()


def test_forked_child(short_path: Path) -> None:
    """A child of the process takes no connections, and closes nothing of its parent's."""
    with _labelled(short_path) as (daemon, proxy):
        with warnings.catch_warnings():
            # Of a fork beside threads.
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if not child:
            proxy.close()
            os._exit(threading.active_count())
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 1
        assert _ask(proxy, "POST", "/volumes/create", b"{}") == b"{}"

    assert len(daemon.requests) == 1


_EXIT = """
import socket, sys
from pathlib import Path
from pytest_dind.cleanup.labelling_proxy import LabellingProxy

path = Path(sys.argv[1])
proxy = LabellingProxy(path / "s", path / "d")
client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
client.connect(str(proxy.path))
client.sendall(b"GET /events HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
client.detach()
"""


def test_exit(short_path: Path) -> None:
    """An interpreter ends at once and without a word, though a connection is open."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(str(short_path / "d"))
        listening.listen()
        command = [sys.executable, "-X", "dev", "-W", "error", "-c", _EXIT, str(short_path)]
        ended = subprocess.run(command, capture_output=True, timeout=_SECONDS, check=False)

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"", b"")


def test_upgrade(short_path: Path) -> None:
    """A connection that is to become another protocol's keeps its head, and bytes go both ways."""
    answer = b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\nraw\x00"
    with _labelled(short_path, answer) as (daemon, proxy):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.connect(str(proxy.path))
            asked = b"POST /exec/1/start HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
            connection.sendall(asked)
            connection.shutdown(socket.SHUT_WR)
            received = b""
            while chunk := connection.recv(4096):
                received += chunk
        assert received == answer
    assert daemon.requests == [asked]
