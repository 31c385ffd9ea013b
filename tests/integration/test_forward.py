"""The forwarder: published ports of nested containers on this machine's own loopback."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from docker.models.containers import Container

from conftest import DAEMON_IMAGE, NESTED_IMAGE
from pytest_dind import Daemon, Settings
from pytest_dind.forwarder import launch
from pytest_dind.lifetime import labels, layout
from pytest_dind.runs.factory import Factory
from pytest_dind.runs.run import Run

from ..support import until
from .nested import datagrams
from .projects import Project
from .traces import Traces

pytestmark = pytest.mark.requires_isolation

_HOSTS = ["127.0.0.1", "::1"]
_ECHO = ["nc", "-ll", "-p", "80", "-e", "cat"]
Serve = Callable[..., Container]


def _free() -> int:
    """A port that nobody has, on any address."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def _forwarder(daemon: Daemon) -> int | None:
    """The id of a daemon's forwarder, if it runs."""
    with contextlib.suppress(FileNotFoundError):
        return labels.pid((daemon.record.home.path / layout.FORWARDER).read_text())
    return None


def _connected(host: str, port: int) -> socket.socket:
    """A connection, as soon as there is somebody."""

    def connection() -> socket.socket | None:
        with contextlib.suppress(OSError):
            return socket.create_connection((host, port), timeout=10)
        return None

    found = until(connection, 10, f"{host} port {port} accepts")
    assert found is not None
    return found


def _echoed(host: str, port: int, said: bytes) -> bytes:
    """What a server that echoes sends back after the client has ended its direction."""

    def answer() -> bytes:
        # Until the server listens, the connection is reset.
        with contextlib.suppress(ConnectionError), _connected(host, port) as connection:

            def say() -> None:
                with contextlib.suppress(OSError):
                    connection.sendall(said)
                    connection.shutdown(socket.SHUT_WR)

            sender = threading.Thread(target=say)
            sender.start()
            try:
                return b"".join(iter(lambda: connection.recv(1 << 16), b""))
            finally:
                sender.join()
        return b""

    return until(answer, 20, "an answer comes")


def _has_ipv6() -> bool:
    with contextlib.suppress(OSError), socket.create_server(("::1", 0), family=socket.AF_INET6):
        return True
    return False


@contextlib.contextmanager
def _serving(daemon: Daemon) -> Iterator[Serve]:
    with contextlib.ExitStack() as ends, contextlib.closing(daemon.client()) as client:

        def serve(command: list[str], *, ports: Any) -> Container:
            made = client.containers.run(NESTED_IMAGE, command, detach=True, ports=ports)
            ends.callback(made.remove, force=True)
            return made

        yield serve


@pytest.fixture
def serve(dind_daemon: Daemon) -> Iterator[Serve]:
    """Run nested containers for the time of a test."""
    with _serving(dind_daemon) as serve:
        yield serve


@pytest.mark.parametrize("host", _HOSTS)
def test_same_port(serve: Serve, host: str) -> None:
    """A published port is the same port of this machine's loopback; each direction ends alone."""
    if host == "::1" and not _has_ipv6():
        pytest.skip("this machine has no IPv6 loopback")
    port = _free()
    serve(_ECHO, ports={"80/tcp": port})

    assert _echoed(host, port, b"x" * 3_000_000) == b"x" * 3_000_000


def test_ports_of_daemons_side_by_side(dind_daemon: Daemon, serve: Serve) -> None:
    """A daemon picks ports from a place of its own on: not those that the next daemon picks."""
    read = ["cat", "/proc/sys/net/ipv4/ip_local_port_range"]
    first, last = map(int, dind_daemon.exec(read).stdout.split())
    usual, end = map(int, Path(read[1]).read_text().split())
    # One of 27,000 daemons begins where all would without this.
    assert usual < first < end - 500
    assert last == end

    container = serve(_ECHO, ports={"80/tcp": None})
    container.reload()
    published = container.attrs["NetworkSettings"]["Ports"]["80/tcp"]
    assert first <= int(published[0]["HostPort"]) <= last


def test_port_that_the_daemon_picks(serve: Serve) -> None:
    """A random port is reached too, and is closed again when its container ends."""
    container = serve(_ECHO, ports={"80/tcp": None})
    container.reload()
    port = int(container.attrs["NetworkSettings"]["Ports"]["80/tcp"][0]["HostPort"])
    assert _echoed("127.0.0.1", port, b"hi") == b"hi"
    container.kill()

    def is_closed() -> bool:
        with contextlib.suppress(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port)).close()
            return False
        return True

    until(is_closed, 10, "the port is closed")


def test_loopback_of_the_daemon(serve: Serve) -> None:
    """A port that is published on the daemon's own loopback is reached through its container."""
    port = _free()
    serve(_ECHO, ports={"80/tcp": ("127.0.0.1", port)})

    assert _echoed("127.0.0.1", port, b"x" * 300_000) == b"x" * 300_000


def test_server_that_is_not_there(serve: Serve) -> None:
    """A port behind which nobody listens resets the connection, as the daemon's own does."""
    port = _free()
    serve(["sleep", "60"], ports={"80/tcp": port})
    with (
        _connected("127.0.0.1", port) as connection,
        pytest.raises(ConnectionResetError),
    ):
        connection.recv(1)


@pytest.mark.parametrize("published", ["", "127.0.0.1"], ids=["address", "tunnel"])
def test_udp(serve: Serve, published: str) -> None:
    """What is sent to a udp port arrives in its container."""
    port = _free()
    container = serve(["sleep", "60"], ports={"90/udp": (published, port) if published else port})
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.connect(("127.0.0.1", port))

        def arrived() -> bool:
            with contextlib.suppress(ConnectionRefusedError):
                sender.send(b"hi")
            return datagrams(container) > 0

        until(arrived, 20, "a datagram arrives")


def test_gigabyte(serve: Serve) -> None:
    """A long stream arrives whole, in order of its bytes."""
    port = _free()
    size = 1 << 30
    send = ["dd", "if=/dev/zero", "bs=1M", f"count={size >> 20}"]
    serve(["nc", "-ll", "-p", "80", "-e", *send], ports={80: port})
    buffer = bytearray(1 << 18)

    def received() -> int:
        count = 0
        with _connected("127.0.0.1", port) as connection:
            try:
                while read := connection.recv_into(buffer):
                    count += read
            except ConnectionResetError:
                # It is reset until the server listens, and not in the midst.
                assert not count
        return count

    assert until(received, 60, "the stream comes") == size


def test_many_at_once(serve: Serve) -> None:
    """Connections that are open at the same time do not wait for each other."""
    port = _free()
    serve(_ECHO, ports={"80/tcp": port})
    assert _echoed("127.0.0.1", port, b"hi") == b"hi"
    with contextlib.ExitStack() as stack:
        open_ = [stack.enter_context(_connected("127.0.0.1", port)) for _ in range(50)]
        for number, connection in reversed(list(enumerate(open_))):
            connection.sendall(b"%d" % number)
            assert connection.recv(10) == b"%d" % number


def test_services(dind_factory: Factory) -> None:
    """What a swarm's service publishes on its containers is open here, and what in the mesh, too.

    Whether the mesh then leads to the service, is the kernel's matter: it takes IP_VS.
    """
    daemon = dind_factory()
    daemon.load(NESTED_IMAGE)
    ports = {mode: _free() for mode in ("host", "ingress")}
    with contextlib.closing(daemon.client()) as client:
        client.swarm.init(advertise_addr="127.0.0.1")
        services: Any = client.services
        for mode, port in ports.items():
            published = {"TargetPort": 80, "PublishedPort": port, "PublishMode": mode}
            spec = {"Mode": "vip" if mode == "ingress" else "dnsrr", "Ports": [published]}
            # In nanoseconds: they heed no signal.
            services.create(
                NESTED_IMAGE, command=_ECHO, endpoint_spec=spec, stop_grace_period=10**6
            )
        assert _echoed("127.0.0.1", ports["host"], b"hi") == b"hi"
        opened = {f"{port}/tcp": port for port in ports.values()}
        home = daemon.record.home.path
        until(lambda: launch.told(home)["opened"] == opened, 20, "both are open")
        for service in services.list():
            service.remove()
        until(lambda: not launch.told(home)["opened"], 20, "both are closed")
    # It was not asked before it had any.
    assert "GET /services returned error" not in daemon.logs()


def test_port_that_is_taken(project: Project) -> None:
    """A port that somebody has is left to them, and told; `address()` leads to the container."""
    with socket.create_server(("127.0.0.1", 0)) as mine:
        port = mine.getsockname()[1]
        project.write(
            f"""
            import socket

            def test_it(dind_daemon, dind_client):
                container = dind_client.containers.run(
                    "{NESTED_IMAGE}", ["httpd", "-f", "-p", "80"], ports={{80: {port}}}, detach=True
                )
                with socket.create_connection(dind_daemon.address(container, 80, wait=True)) as it:
                    it.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
                    assert it.recv(100).startswith(b"HTTP/1.")
                ports = dind_daemon.record.home.path / "ports.json"
                while "{port}/tcp" not in ports.read_text():
                    pass
                container.remove(force=True)
            """
        )
        output = project.run("--dind-load", NESTED_IMAGE)
        mine.settimeout(0)
        with pytest.raises(BlockingIOError):
            mine.accept()

    said = f"its port {port}/tcp was not opened on this machine's loopback: Address already in use"
    assert output.count(said) == 1


def test_two_daemons_with_one_port(project: Project) -> None:
    """Of two daemons that publish the same port the first has it."""
    port = _free()
    project.write(
        f"""
        import http.client, json, pytest

        def served(daemon, name):
            client = daemon.client()
            command = ["sh", "-c", f"echo {{name}} >/index.html; exec httpd -f -p 80 -h /"]
            container = client.containers.run(
                "{NESTED_IMAGE}", command, ports={{"80/tcp": {port}}}, detach=True
            )
            daemon.address(container, 80, wait=True)
            ports = daemon.record.home.path / "ports.json"
            while "{port}/tcp" not in ports.read_text():
                pass
            client.close()

        def test_it(dind_factory):
            for name in ("first", "second"):
                daemon = dind_factory(name)
                daemon.load("{NESTED_IMAGE}")
                served(daemon, name)
            connection = http.client.HTTPConnection("localhost", {port})
            connection.request("GET", "/")
            assert connection.getresponse().read() == b"first\\n"
        """
    )
    output = project.run()

    assert output.count(f"its port {port}/tcp was not opened") == 1
    assert output.index("-second: its port") > 0


@pytest.mark.skipif(os.getuid() != 0, reason="another network namespace takes root")
def test_another_network_namespace(project: Project) -> None:
    """Where packets don't get to the daemon's address, `address()` gives one where they do."""
    # Its socket is reached from there all the same.
    project.write(
        f"""
        import http.client

        def test_it(dind_daemon, dind_client, dind_env):
            container = dind_client.containers.run(
                "{NESTED_IMAGE}",
                ["sh", "-c", "echo far >/index.html; exec httpd -f -p 80 -h /"],
                ports={{"80/tcp": None}},
                detach=True,
            )
            address = dind_daemon.address(container, 80, wait=True)
            assert address.host == dind_env["TESTCONTAINERS_HOST_OVERRIDE"] == "127.0.0.1"
            connection = http.client.HTTPConnection(*address)
            connection.request("GET", "/")
            assert connection.getresponse().read() == b"far\\n"
            connection.close()
            container.remove(force=True)
        """
    )
    alone = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
    project.run("--dind-load", NESTED_IMAGE, before=alone)


def test_bind_that_finds_nothing(project: Project) -> None:
    """A bind of what is on this machine alone is a warning, in the test that made it."""
    (project.path / "data").mkdir()
    project.write("hello", "data/file")
    project.write(
        f"""
        import os

        def test_unseen(dind_client):
            data = os.path.abspath("data")
            volumes = [f"{{data}}:/data", f"{{data}}/file:/file:ro"]
            dind_client.containers.run("{NESTED_IMAGE}", ["true"], remove=True, volumes=volumes)

        def test_seen(dind_client):
            dind_client.containers.run(
                "{NESTED_IMAGE}",
                ["true"],
                remove=True,
                volumes=["/var/run/docker.sock:/s", "/proc:/p", "/no/such/path:/n", "name:/v"],
            )
        """
    )
    output = project.run(
        "--dind-mount=", "--dind-load", NESTED_IMAGE, "-W", "default::pytest_dind.DindWarning"
    )

    assert output.count("DindWarning: The container") == 2
    assert "started while test_it.py::test_unseen ran, binds " in output
    assert "started while test_it.py::test_seen" not in output
    for name in ("data", "data/file"):
        assert f"--dind-mount {(project.path / name).resolve()}\n" in output


def test_off(project: Project) -> None:
    """With `--dind-forward=off` there is no forwarder."""
    project.write(
        "def test_it(dind_daemon): assert not (dind_daemon.record.home.path / 'forwarder').exists()"
    )
    project.run("--dind-forward=off")


def test_forwarder_that_is_killed(project: Project) -> None:
    """Without its forwarder a daemon goes on, and `address()` too; the run says so in the end."""
    project.write(
        f"""
        import os, signal, time

        def test_it(dind_daemon, dind_client):
            home = dind_daemon.record.home.path
            while not (home / "ports.json").exists():
                pass
            os.kill(int((home / "forwarder").read_text().split()[1]), signal.SIGKILL)
            container = dind_client.containers.run(
                "{NESTED_IMAGE}", ["httpd", "-f", "-p", "80"], ports={{"80/tcp": None}}, detach=True
            )
            assert dind_daemon.address(container, 80, wait=True)
            container.remove(force=True)
        """
    )
    assert "-main: its forwarder ended before the run;" in project.run("--dind-load", NESTED_IMAGE)


def test_end_of_the_run(mode: str, traces: Traces) -> None:
    """The forwarder ends with the daemon; so it does where the daemon is stopped before."""
    with contextlib.closing(Run.begin(print)) as run:
        daemon = run.daemon(Settings(mode=mode, image=DAEMON_IMAGE))
        first = until(lambda: _forwarder(daemon), 10, "the forwarder runs")
    until(lambda: not Path(f"/proc/{first}").exists(), 5, "the forwarder ends")


@pytest.mark.parametrize("workers", [0, 2])
def test_sigkill(project: Project, traces: Traces, workers: int) -> None:
    """When all processes of a run are killed, its forwarder ends too."""
    project.write(
        """
        import pathlib, signal

        def test_it(dind_daemon, worker_id):
            home = dind_daemon.record.home.path
            while not (home / "ports.json").exists():
                pass
            text = (home / "forwarder").read_text()
            pathlib.Path(f"in-{worker_id}").write_text(text)
            signal.pause()
        """
    )
    process = project.start(f"-n{workers}", "--dist=each")
    names = [f"in-gw{number}" for number in range(workers)] or ["in-master"]
    for name in names:
        project.reached(name, process)
    told = until(lambda: (project.path / names[0]).read_text(), 10, "the test has told")
    assert labels.pid(told) is not None
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=20)

    until(lambda: labels.is_gone(told), 5, "the forwarder ends")
    traces.assert_nothing_left()
