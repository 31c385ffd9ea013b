"""Which connection leads to a daemon, and where its ports are."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import time
from pathlib import Path
from typing import Any, cast

import pytest
from docker.errors import APIError

from pytest_dind import DaemonUnhealthy
from pytest_dind.backends import connection, gate_connection, tls_connection
from pytest_dind.backends.protocol import Record
from pytest_dind.engine import http, own_container, sockets, tls
from pytest_dind.engine.engine import Engine
from pytest_dind.errors import NotShared
from pytest_dind.forwarder import gate
from pytest_dind.lifetime.layout import SOCKET, Home

from ..support import Answer, FakeEngine

_HOME = Home(Path("/h/0123abcd/main"))


class _Engine:
    """An engine at a URL that nobody asks anything."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.address = "build.example"
        self.unshared = "it is far"


@pytest.mark.parametrize(
    ("host", "reason"),
    [
        ("unix:///var/run/docker.sock", ""),
        ("unix:///home/me/.docker/desktop/docker.sock", "it runs in a virtual machine"),
        ("tcp://build.example:2376", "its file system is not shared"),
        ("tcp://127.0.0.1:2375", "its file system is not shared"),
        ("ssh://me@build.example", "its file system is not shared"),
    ],
)
def test_unshared(monkeypatch: pytest.MonkeyPatch, host: str, reason: str) -> None:
    """By its URL an engine is on this machine or elsewhere; nothing is asked for that."""
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("DOCKER_TLS_VERIFY", raising=False)
    monkeypatch.delenv("DOCKER_CERT_PATH", raising=False)
    engine = Engine(host)

    assert engine.unshared == reason
    said = f"engine {host}: over TLS, because {reason}" if reason else ""
    assert tls_connection.because(engine) == said


def test_macos(monkeypatch: pytest.MonkeyPatch) -> None:
    """On macOS each engine is in a virtual machine."""
    monkeypatch.setattr(sys, "platform", "darwin")

    assert Engine("unix:///var/run/docker.sock").unshared == "it runs in a virtual machine"


def test_found_out(short_path: Path) -> None:
    """An engine that turned out to be elsewhere stays so, and the next daemon is made for that."""
    version = {"GET /version": Answer(body={"ApiVersion": "1.51"})}
    with FakeEngine(short_path / "s", version) as fake:
        engine = Engine(fake.host)
        assert connection.choose(engine, _HOME).name == "shared"
        engine.mark_unshared("it turned out so")

        assert engine.unshared == "it turned out so"
        assert connection.choose(engine, _HOME).name == "tls"
        engine.close()


def test_network_elsewhere(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a directory and without a network the way leads through the engine alone."""
    monkeypatch.setattr(sockets, "listens_here", lambda path: False)
    monkeypatch.setattr(tls, "available", lambda: False)
    with FakeEngine(short_path / "s", {}) as fake:
        engine = Engine(fake.host)
        first = connection.choose(engine, _HOME)
        other = connection.fallback(first, NotShared("None.", remedy=[]), engine, _HOME)
        assert engine.unshared

        assert (first.name, other.name) == ("shared", "gate")
        assert (other.arguments(), other.mounts(), other.bindings()) == ([], [], {})
        assert other.host == f"unix://{_HOME.path}/{SOCKET}"
        assert (other.certificates, other.address, other.outer) == ("", "", "")
        because = "through the engine, because its network is not this process's"
        assert other.because == f"engine {fake.host}: {because}"
        engine.close()


@pytest.mark.parametrize("rootless", [True, False])
def test_address_of_another(
    short_path: Path, monkeypatch: pytest.MonkeyPatch, rootless: bool
) -> None:
    """An address in a network elsewhere is not taken for one that is reached from here."""
    monkeypatch.setattr(sockets, "listens_here", lambda path: rootless)
    network = {"IPAddress": "172.17.0.2", "Gateway": "127.0.0.1"}
    details = {"NetworkSettings": {"Networks": {"bridge": network}}}
    info = {"SecurityOptions": ["name=rootless"] if rootless else []}
    with FakeEngine(short_path / "s", {"GET /info": Answer(body=info)}) as fake:
        engine = Engine(fake.host)
        for made in (
            connection.SharedDirectory(engine, _HOME),
            connection.Unsupervised(engine, _HOME),
        ):
            made.prepare(details)
            assert made.address == ""
            # Rootless Docker opens here what it publishes.
            assert made.outer == ("127.0.0.1" if rootless else "")
            assert f"engine {fake.host}: ports through the engine, because " in made.because
        assert made.because.endswith(
            "the image has no shell: the daemon ends with the run, or with the next run's sweep"
        )
        engine.close()


def test_gate_waits_for_the_entrypoint(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No command runs in the container before its dockerd has begun: it would harm it."""
    begun: list[str] = []
    monkeypatch.setattr(gate, "start", lambda config: begun.append(config.container))
    status = [404, 200]
    look = f"HEAD /containers/{_HOME.label}/archive"
    with FakeEngine(short_path / "s", {look: lambda: Answer(status.pop(0))}) as fake:
        engine = Engine(fake.host)
        made = gate_connection.GateConnection(engine, _HOME)
        made.prepare({"Id": "0123"})
        assert made.ping(1) is None
        assert begun == []
        assert made.ping(1) is None
        assert made.ping(1) is None
        assert begun == ["0123"]
        engine.close()


@pytest.mark.parametrize("name", ["shared", "unsupervised", "tls", "gate"])
def test_of_another_process(name: str) -> None:
    """A daemon's record tells another process how it is reached."""
    known: dict[str, Any] = dict.fromkeys(Record.__dataclass_fields__, "")
    record = Record(**{**known, "home": _HOME, "connection": name, "outer": "build.example"})
    found = connection.of_record(Engine("tcp://build.example:2376"), record)

    assert found.name == name
    assert found.supervised == (name != "unsupervised")
    outer = {"tls": "build.example", "gate": ""}
    assert found.outer == outer.get(name, "127.0.0.1")


def test_socket_of_another_group(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket that stays another group's is an error soon, not a wait for a daemon to be ready."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    reached = connection.SharedDirectory(Engine(), Home(short_path))
    assert reached.ping(1) is None
    with socket.socket(socket.AF_UNIX) as theirs:
        theirs.bind(str(short_path / SOCKET))
    rights = [False, True, False, False]
    monkeypatch.setattr(os, "access", lambda path, mode: rights.pop(0))
    # Denied, and then granted: the daemon has only begun.
    for _ in range(3):
        assert reached.ping(1) is None
        now[0] += 4
    with pytest.raises(DaemonUnhealthy) as caught:
        reached.ping(1)

    text = str(caught.value)
    assert f"socket {short_path / SOCKET} is not this user's to use" in text
    assert f"It is of uid {os.getuid()} and gid {os.getgid()}, mode 0" in text
    assert f"this process has uid {os.getuid()} and gids " in text
    assert "--dind-arg" in text
    assert "run the tests as root" in text


@pytest.mark.parametrize(
    ("url", "address", "expected"),
    [
        ("tcp://x", "build.example", tls_connection.Place("build.example", "0.0.0.0")),
        ("ssh://x", "192.0.2.7", tls_connection.Place("192.0.2.7", "0.0.0.0")),
        ("tcp://x", "localhost", tls_connection.Place("127.0.0.1", "127.0.0.1")),
        ("tcp://x", "127.0.0.1", tls_connection.Place("127.0.0.1", "127.0.0.1")),
    ],
)
def test_place(url: str, address: str, expected: tls_connection.Place) -> None:
    """Ports are published on loopback for this machine alone, and everywhere for others."""
    engine = _Engine(url)
    engine.address = address

    assert tls_connection.place(cast("Engine", engine)) == expected


@pytest.mark.parametrize(
    ("networks", "network"),
    [
        ({"ci": {"IPAddress": "172.18.0.3"}}, "ci"),
        ({"host": {"IPAddress": ""}}, ""),
        (None, ""),
    ],
)
def test_own_network(
    short_path: Path, monkeypatch: pytest.MonkeyPatch, networks: Any, network: str
) -> None:
    """A process in one of the engine's containers has the daemon in that one's network."""
    monkeypatch.setattr("socket.gethostname", lambda: "0123456789ab")
    details = Answer(body={"NetworkSettings": {"Networks": networks}})
    answers = {"GET /containers/0123456789ab/json": details} if networks is not None else {}
    version = {"GET /version": Answer(body={"ApiVersion": "1.51"})}
    with FakeEngine(short_path / "s", {**answers, **version}) as fake:
        engine = Engine(fake.host)
        found = tls_connection.place(engine)
        engine.close()

    assert found == tls_connection.Place("127.0.0.1", "127.0.0.1", network)


@pytest.mark.parametrize(
    ("own", "network"), [({"ci": {"IPAddress": "172.18.0.3"}}, "ci"), ({}, "x")]
)
def test_own_network_by_another_name(
    short_path: Path, monkeypatch: pytest.MonkeyPatch, own: Any, network: str
) -> None:
    """A container is known by more than its host name, which that of its network gives it."""
    monkeypatch.setattr("socket.gethostname", lambda: "tests")
    details = {"Id": "0123", "NetworkSettings": {"Networks": own}}
    monkeypatch.setattr(own_container, "find", lambda engine: details)
    other = {"NetworkSettings": {"Networks": {"x": {"IPAddress": "172.18.0.4"}}}}
    answers: dict[str, Any] = {"GET /containers/tests/json": Answer(body=other)}
    with FakeEngine(short_path / "s", answers) as fake:
        engine = Engine(fake.host)
        found = tls_connection.place(engine)
        engine.close()

    assert found.network == network


@pytest.mark.parametrize(
    ("mark", "networks", "gateway"),
    [
        ("/", {"ci": {"IPAddress": "172.18.0.3"}}, "172.18.0.3"),
        ("/", {"host": {"IPAddress": ""}}, None),
        ("/", None, None),
        ("/nonexistent", {"ci": {"IPAddress": "172.18.0.3"}}, None),
    ],
)
def test_gateway(
    short_path: Path, monkeypatch: pytest.MonkeyPatch, mark: str, networks: Any, gateway: str | None
) -> None:
    """Nested containers reach a process in a container there, any other on the engine's machine."""
    monkeypatch.setattr("socket.gethostname", lambda: "0123456789ab")
    monkeypatch.setattr(tls_connection, "_IN_CONTAINER", (mark,))
    details = Answer(body={"NetworkSettings": {"Networks": networks}})
    answers = {"GET /containers/0123456789ab/json": details} if networks is not None else {}
    with FakeEngine(short_path / "s", answers) as fake:
        engine = Engine(fake.host)
        found = tls_connection.gateway(engine)
        engine.close()

    assert found == gateway


@pytest.mark.parametrize(
    "url",
    ["tcp://x:2376", "ssh://me@x", "unix:///home/me/.docker/desktop/docker.sock"],
)
def test_no_gateway(url: str) -> None:
    """From another machine, or a virtual one, no way back is known; nothing is asked for that."""
    assert tls_connection.gateway(Engine(url)) == ""


def _remote(place: tls_connection.Place) -> tls_connection.TlsConnection:
    return tls_connection.TlsConnection(cast("Engine", _Engine("tcp://x")), _HOME, place)


def test_never_without_certificates() -> None:
    """Dockerd is told to take clients with certificates alone, and of one port only."""
    reached = _remote(tls_connection.Place("x", "0.0.0.0"))

    assert "--tlsverify" in reached.arguments()
    assert [a for a in reached.arguments() if a.startswith("--host")] == [
        "--host=tcp://0.0.0.0:2376"
    ]
    assert reached.bindings() == {(2376, "tcp"): ("0.0.0.0", None)}
    assert reached.mounts() == []


def test_no_port_in_a_network_of_both() -> None:
    """Where both containers are in one network, no port is published."""
    assert _remote(tls_connection.Place("x", "127.0.0.1", "ci")).bindings() == {}


def test_environment() -> None:
    """Tools get what leads to the daemon, and nothing that leads them astray."""
    inherited = {
        "DOCKER_CONTEXT": "other",
        "REQUESTS_CA_BUNDLE": "/ca",
        "CURL_CA_BUNDLE": "/ca",
        "NO_PROXY": "a",
        "PATH": "/bin",
    }

    assert http.environment(inherited, "tcp://192.0.2.7:5", "/tls") == {
        "DOCKER_HOST": "tcp://192.0.2.7:5",
        "DOCKER_TLS_VERIFY": "1",
        "DOCKER_CERT_PATH": "/tls",
        "NO_PROXY": "a,192.0.2.7",
        "no_proxy": "192.0.2.7",
        "PATH": "/bin",
    }
    assert http.environment(inherited, "unix:///s")["REQUESTS_CA_BUNDLE"] == "/ca"


@pytest.mark.parametrize("name", ["shared", "tls", "unsupervised"])
def test_files_for_the_container(short_path: Path, name: str) -> None:
    """Files come into a container by the way that leads there, if something in it can take them."""
    home = Home(short_path)
    ways: dict[str, connection.Connection] = {
        "shared": connection.SharedDirectory(cast("Engine", None), home),
        "tls": _remote(tls_connection.Place("x", "0.0.0.0")),
        "unsupervised": connection.Unsupervised(cast("Engine", None), home),
    }
    reached = ways[name]
    files = {"etc/docker/certs.d/[::1]:5000/x.crt": b"text"}

    assert reached.give({})
    assert reached.give(files) is (name != "unsupervised")
    found = {path for path in short_path.rglob("*") if path.is_file()}
    expected = {short_path / "given" / path for path in files} if name == "shared" else set()
    assert found == expected


@pytest.mark.parametrize("running", [True, False])
def test_file_of_a_container_that_is_paused(short_path: Path, running: bool) -> None:
    """A file that a paused container would need is an error; one that ended needs none."""
    answers = {
        "GET /version": Answer(body={"ApiVersion": "1.51"}),
        f"POST /containers/{_HOME.label}/exec": Answer(409, {"message": "paused or gone"}),
        f"GET /containers/{_HOME.label}/json": Answer(body={"State": {"Running": running}}),
    }
    with FakeEngine(short_path / "s", answers) as fake:
        engine = Engine(fake.host)
        reached = tls_connection.TlsConnection(engine, _HOME, tls_connection.Place("x", ""))
        assert reached.read("log") is None
        with pytest.raises(APIError) if running else contextlib.nullcontext():
            reached.write("kept", "")
        engine.close()
