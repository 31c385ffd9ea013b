"""The forwarder's parts: what is published, the way there, and connections and datagrams."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_dind.forwarder import binds, config, launch, relay
from pytest_dind.forwarder.endpoint import Endpoint
from pytest_dind.forwarder.follower import Follower, Port, Published, published
from pytest_dind.forwarder.listeners import Listeners, Way
from pytest_dind.forwarder.loop import Loop
from pytest_dind.forwarder.tunnel import Tunnels
from pytest_dind.hooks.binds import Binds
from pytest_dind.lifetime import labels, layout

from ..support import Answer, FakeEngine, Reply, until

_DAEMON = "127.0.0.2"


def _no_tunnels() -> Tunnels:
    raise AssertionError("no tunnel is needed")


class _Forwarding:
    """A forwarder's loop in a thread; the daemon is another address of loopback."""

    def __init__(self) -> None:
        self.opened: dict[Port, int] = {}
        self.taken: dict[Port, str] = {}
        self._loop = Loop()
        self._listeners = Listeners(self._loop, Way(self._loop, _DAEMON, _no_tunnels), self._note)
        self._thread = threading.Thread(target=self._loop.run)
        self._thread.start()

    def _note(self, opened: dict[Port, int], taken: dict[Port, str]) -> None:
        self.opened, self.taken = opened, dict(taken)

    def update(self, *keys: Port) -> None:
        """Publish these ports, and no others."""
        done = threading.Event()

        def update() -> None:
            self._listeners.update(dict.fromkeys(keys, frozenset(["0.0.0.0"])))
            done.set()

        self._loop.soon(update)
        assert done.wait(10)

    def end(self) -> None:
        """End the thread."""
        self.update()
        self._loop.soon(self._loop.end)
        self._thread.join()


@pytest.fixture
def forwarding() -> Iterator[_Forwarding]:
    """A forwarder's loop."""
    made = _Forwarding()
    yield made
    made.end()


Serve = Callable[[socket.socket], None]


@pytest.fixture
def server() -> Iterator[Callable[[Serve], int]]:
    """Start a server on the daemon's address, which serves one connection; gives its port."""
    with contextlib.ExitStack() as ends:

        def start(serve: Serve) -> int:
            listener = ends.enter_context(socket.create_server((_DAEMON, 0)))

            def run() -> None:
                connection, _ = listener.accept()
                with connection:
                    serve(connection)

            thread = threading.Thread(target=run)
            thread.start()
            ends.callback(thread.join)
            return int(listener.getsockname()[1])

        yield start


def _all(connection: socket.socket) -> bytes:
    return b"".join(iter(lambda: connection.recv(1 << 16), b""))


def test_end_of_one_direction(forwarding: _Forwarding, server: Callable[[Serve], int]) -> None:
    """A server that answers once its client has said all still can."""
    port = server(lambda connection: connection.sendall(b"%d" % len(_all(connection))))
    forwarding.update((port, "tcp"))
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(b"x" * 5_000_000)
        client.shutdown(socket.SHUT_WR)
        assert _all(client) == b"5000000"


def test_slow_reader(forwarding: _Forwarding, server: Callable[[Serve], int]) -> None:
    """What a client has not read yet is waited with, and nothing is lost or changed."""
    sent = os.urandom(20_000_000)
    port = server(lambda connection: connection.sendall(sent))
    forwarding.update((port, "tcp"))
    with socket.socket() as client:
        client.settimeout(60)
        client.connect(("127.0.0.1", port))
        # Another connection is served meanwhile.
        assert client.recv(1000) == sent[:1000]
        other = server(lambda connection: connection.sendall(b"hi"))
        forwarding.update((port, "tcp"), (other, "tcp"))
        with socket.create_connection(("127.0.0.1", other), timeout=10) as second:
            assert _all(second) == b"hi"
        assert _all(client) == sent[1000:]


def test_target_that_takes_nothing() -> None:
    """What was read is kept where the target, full to the brim, takes not a byte of it."""
    source, client = socket.socketpair()
    target, server = socket.socketpair()
    with source, client, target, server:
        client.setblocking(False)
        target.setblocking(False)
        before = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                before += target.send(b"-")
        flow = relay._Flow(client, target)
        source.sendall(b"kept")

        assert not flow.pump(relay.buffer(), to_the_end=False)
        assert flow.waits
        while before:
            before -= len(server.recv(before))
        flow.pump(relay.buffer(), to_the_end=False)
        assert server.recv(100) == b"kept"


def test_reset(forwarding: _Forwarding, server: Callable[[Serve], int]) -> None:
    """A reset goes on to the other side, and so does the lack of a server."""

    def reset(connection: socket.socket) -> None:
        connection.recv(1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    port = server(reset)
    forwarding.update((port, "tcp"))
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(b"x")
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    with socket.create_server((_DAEMON, 0)) as gone:
        nobody = gone.getsockname()[1]
    forwarding.update((nobody, "tcp"))
    with pytest.raises(ConnectionResetError):
        _first_byte(nobody)


def _first_byte(port: int) -> bytes:
    # The reset may come before the connection is there for the client.
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        return client.recv(1)


def test_datagrams(forwarding: _Forwarding) -> None:
    """Each client gets the answers to its own datagrams."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as echo:
        echo.bind((_DAEMON, 0))
        port = echo.getsockname()[1]
        forwarding.update((port, "udp"))
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as two,
        ):
            for client, text in ((one, b"one"), (two, b""), (one, b"again")):
                client.settimeout(10)
                client.connect(("127.0.0.1", port))
                client.send(text)
            received = [echo.recvfrom(100) for _ in range(3)]
            for data, sender in reversed(received):
                echo.sendto(data, sender)
            assert one.recv(100) == b"again"
            assert one.recv(100) == b"one"
            assert two.recv(100) == b""
    assert received[0][1] == received[2][1] != received[1][1]


def test_silent_clients_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """The socket of a client that is silent for long is closed."""
    monkeypatch.setattr(relay, "_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(relay, "_IDLE_SECONDS", 0.01)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as echo:
        echo.bind((_DAEMON, 0))
        made: list[socket.socket] = []

        def connect() -> socket.socket:
            made.append(relay.datagram_socket(echo.getsockname()))
            return made[-1]

        loop = Loop()
        listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        listener.bind(("127.0.0.1", 0))
        datagrams = relay.Datagrams(loop, listener, connect)
        thread = threading.Thread(target=loop.run)
        thread.start()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.sendto(b"x", listener.getsockname())
            until(lambda: made and made[0].fileno() == -1, 10, "its socket is closed")
        loop.soon(datagrams.close)
        loop.soon(loop.end)
        thread.join()


def test_port_that_is_taken(forwarding: _Forwarding) -> None:
    """A port that somebody has is told with the reason, and opened once it is free."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            contextlib.suppress(OSError),
            socket.create_server(("::1", port), family=socket.AF_INET6),
        ):
            forwarding.update((port, "tcp"))
            assert forwarding.opened == {}
        assert forwarding.taken == {(port, "tcp"): "Address already in use"}
    forwarding.update((port, "tcp"))
    assert forwarding.opened == {(port, "tcp"): port}


def test_port_that_is_closed(forwarding: _Forwarding) -> None:
    """A port that is published no more is closed, and can be opened again."""
    with socket.create_server((_DAEMON, 0)) as there:
        port = there.getsockname()[1]
    for _ in range(2):
        forwarding.update((port, "tcp"), (port, "udp"))
        socket.create_connection(("127.0.0.1", port)).close()
        forwarding.update()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))


@pytest.mark.parametrize(
    ("address", "hosts", "expected"),
    [
        ("172.17.0.2", {"0.0.0.0", "::"}, "172.17.0.2"),
        ("172.17.0.2", {"172.17.0.2"}, "172.17.0.2"),
        ("172.17.0.2", {"127.0.0.1"}, "127.0.0.1"),
        ("172.17.0.2", {"10.0.0.1"}, "10.0.0.1"),
        ("172.17.0.2", {"::"}, "::1"),
        ("fd00::2", {"0.0.0.0", "::"}, "fd00::2"),
        ("", {"0.0.0.0", "::"}, "127.0.0.1"),
        ("", {"::"}, "::1"),
    ],
)
def test_way(address: str, hosts: set[str], expected: str) -> None:
    """A port leads to the daemon's address where it is published there, else into its container."""
    loop = Loop()
    assert Way(loop, address, _no_tunnels).host(frozenset(hosts)) == expected
    loop.end()
    loop.run()


def test_published() -> None:
    """Of what the engine lists, ports that are published count, once for all addresses."""
    assert published(
        [
            {
                "Ports": [
                    {"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"},
                    {"IP": "::", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"},
                    {"PrivatePort": 81, "Type": "tcp"},
                    {"PrivatePort": 82, "PublicPort": 82, "Type": "sctp"},
                ]
            },
            {"Ports": None},
            {"Ports": [{"PrivatePort": 53, "PublicPort": 53, "Type": "udp"}]},
        ]
    ) == {(8080, "tcp"): {"0.0.0.0", "::"}, (53, "udp"): {"0.0.0.0"}}


# As `GET /services` lists them: by the routing mesh, in mode host, and without ports.
_SERVICES: list[dict[str, Any]] = [
    {
        "ID": "a",
        "Endpoint": {
            "Spec": {"Mode": "vip"},
            "Ports": [
                {
                    "Protocol": "tcp",
                    "TargetPort": 80,
                    "PublishedPort": 8080,
                    "PublishMode": "ingress",
                },
                {
                    "Protocol": "udp",
                    "TargetPort": 53,
                    "PublishedPort": 5353,
                    "PublishMode": "ingress",
                },
                {
                    "Protocol": "sctp",
                    "TargetPort": 9,
                    "PublishedPort": 9,
                    "PublishMode": "ingress",
                },
                {"Protocol": "tcp", "TargetPort": 81, "PublishMode": "ingress"},
            ],
        },
    },
    {
        "ID": "b",
        "Endpoint": {
            "Ports": [
                {"Protocol": "tcp", "TargetPort": 80, "PublishedPort": 90, "PublishMode": "host"}
            ]
        },
    },
    {"ID": "c", "Endpoint": {"Spec": {}}},
    {"ID": "d"},
]


def test_published_by_services() -> None:
    """A service's port in the routing mesh is on each address; other ports are its containers'."""
    task = {"Ports": [{"IP": "::", "PrivatePort": 80, "PublicPort": 90, "Type": "tcp"}]}

    assert published([task], _SERVICES) == {
        (8080, "tcp"): {"0.0.0.0"},
        (5353, "udp"): {"0.0.0.0"},
        (90, "tcp"): {"::"},
    }


@pytest.mark.parametrize("swarm", ["active/manager", "active/worker", "inactive", ""])
def test_services_of_a_manager(tmp_path: Path, swarm: str) -> None:
    """A manager is asked for its services; others, which would log that, are not."""
    asked: list[str] = []

    def services() -> Answer:
        asked.append("services")
        return Answer(body=_SERVICES)

    answers: dict[str, Reply] = {
        "GET /_ping": Answer(body="OK", headers={"Swarm": swarm} if swarm else {}),
        "GET /services": services,
    }
    with FakeEngine(tmp_path / "s", answers) as engine:
        found = Follower(Endpoint(engine.host), lambda ports: None, lambda made: None)._services()

    is_manager = swarm == "active/manager"
    assert found == (_SERVICES if is_manager else [])
    assert asked == ["services"] * is_manager


class _Ended(Exception):
    """Ends a thread that follows."""


def test_event_of_a_service(tmp_path: Path) -> None:
    """What happens to a service has the daemon asked again; it is no container that is created."""
    looked = threading.Event()
    found: list[set[int]] = []
    services: list[Any] = []

    def events() -> Answer:
        def lines() -> Iterator[str]:
            assert looked.wait(10)
            services.extend(_SERVICES)
            for kind, action in (("service", "create"), ("container", "create")):
                actor = {"ID": f"a {kind}"}
                event = {"Type": kind, "Action": action, "Actor": actor, "time": 1 << 40}
                yield json.dumps(event) + "\n"

        return Answer(body=lines())

    def changed(ports: Published) -> None:
        found.append({port for port, _ in ports})
        looked.set()
        if len(found) == 2:
            raise _Ended

    made: list[str] = []

    def created(container: str) -> None:
        made.append(container)
        raise _Ended

    def run(follow: Callable[[], None]) -> None:
        with contextlib.suppress(_Ended):
            follow()

    answers: dict[str, Reply] = {
        "GET /_ping": Answer(body="OK", headers={"Swarm": "active/manager"}),
        "GET /events": events,
        "GET /containers/json": Answer(body=[]),
        "GET /services": lambda: Answer(body=services),
    }
    with FakeEngine(tmp_path / "s", answers) as engine:
        follower = Follower(Endpoint(engine.host), changed, created)
        follows = (follower._look, follower._read_events)
        threads = [threading.Thread(target=run, args=(one,), daemon=True) for one in follows]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)

    assert found == [set(), {8080, 5353}]
    assert made == ["a container"]


def test_configuration() -> None:
    """The process gets what it was to be told."""
    made = config.ForwarderConfig(
        "/home", Endpoint("unix:///s"), "", Endpoint("tcp://h:1", "ca", "c", "k", tls=True), "id"
    )
    assert config.load(made.dump()) == made


def test_answer_that_refuses(tmp_path: Path) -> None:
    """An engine that refuses is an OSError with what it says."""
    with FakeEngine(tmp_path / "s", {}) as engine:
        endpoint = Endpoint(engine.host)
        with pytest.raises(OSError, match="404"):
            endpoint.ask("GET", "/nothing", timeout=5)
        with pytest.raises(OSError, match="404"):
            endpoint.upgrade("/nothing", {}, timeout=5)


def test_what_a_forwarder_tells(tmp_path: Path) -> None:
    """A home without a forwarder, one whose forwarder is gone, and one that has told nothing."""
    assert not launch.is_on(tmp_path)
    assert not launch.is_alive(tmp_path)
    assert launch.told(tmp_path) == {}
    launch.end(tmp_path)

    (tmp_path / layout.FORWARDER).touch()
    assert launch.is_on(tmp_path)
    assert launch.is_alive(tmp_path)
    (tmp_path / layout.FORWARDER).write_text(f"{labels.process()}0")
    assert not launch.is_alive(tmp_path)
    # Another process has its id, and is left alone.
    launch.end(tmp_path)
    assert not launch.is_on(tmp_path)

    (tmp_path / layout.FORWARDED).write_text("[")
    assert launch.told(tmp_path) == {}
    (tmp_path / layout.FORWARDED).write_text(json.dumps({"direct": True}))
    assert launch.told(tmp_path) == {"direct": True}


def test_sources_of_binds() -> None:
    """The paths that a container binds are those of `-v` and `--mount`; volumes are none."""
    details = {
        "HostConfig": {
            "Binds": ["/a b:/x", "/c:/y:ro", "name:/z"],
            "Mounts": [
                {"Type": "bind", "Source": "/d", "Target": "/d"},
                {"Type": "volume", "Source": "e", "Target": "/e"},
            ],
        }
    }
    assert list(binds.sources(details)) == ["/a b", "/c", "/d"]
    assert list(binds.sources({"HostConfig": {"Binds": None}})) == []


@pytest.mark.parametrize(
    ("path", "place", "expected"),
    [("/a/b", "/a", True), ("/a", "/a", True), ("/ab", "/a", False), ("/a", "/a/b", False)],
)
def test_is_below(path: str, place: str, *, expected: bool) -> None:
    """A path is below a directory by its parts, not by its letters."""
    assert binds.is_below(path, place) is expected


def _binds_file(tmp_path: Path, *lines: tuple[str, str]) -> Any:
    """A record of a daemon whose forwarder has told this of paths."""
    with (tmp_path / layout.BINDS).open("a") as file:
        for path, verdict in lines:
            print(json.dumps({"container": "web", "path": path, "verdict": verdict}), file=file)
    return SimpleNamespace(home=layout.Home(tmp_path))


def test_warning_of_a_bind(tmp_path: Path) -> None:
    """Each bind that found nothing is warned of once, with container, path, test and option."""
    warned: list[str] = []
    item: Any = SimpleNamespace(nodeid="t.py::test", warn=lambda one: warned.append(str(one)))
    hooks = Binds()
    hooks.warn(item, [SimpleNamespace(home=layout.Home(tmp_path))])  # type: ignore[list-item]
    record = _binds_file(tmp_path, ("/a", "looking"), ("/b", "looking"), ("/a", "seen"))
    threading.Timer(0.1, _binds_file, (tmp_path, ("/b", "unseen"))).start()
    hooks.warn(item, [record])
    hooks.warn(item, [record])

    assert len(warned) == 1
    for text in ("'web'", "/b,", "t.py::test", "--dind-mount /b"):
        assert text in warned[0]
