"""Published ports of nested containers, reached from the test process."""

from __future__ import annotations

import contextlib
import os
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.models.containers import Container

from conftest import NESTED_IMAGE
from pytest_dind import Address, AddressUnreachable, Daemon
from pytest_dind.engine import images
from pytest_dind.engine.engine import Engine

from ..support import until
from .conftest import StartDaemon
from .nested import datagrams

_TWO_SERVERS = (
    "mkdir -p /a /b; echo one >/a/index.html; echo two >/b/index.html; "
    "httpd -p 80 -h /a; exec httpd -f -p 81 -h /b"
)


def _get(address: Address) -> str:
    """What an HTTP server says, once it is there."""
    host = f"[{address.host}]" if ":" in address.host else address.host

    def answer() -> str:
        try:
            with urllib.request.urlopen(f"http://{host}:{address.port}/", timeout=5) as got:
                return str(got.read().decode())
        except (urllib.error.URLError, OSError):
            return ""

    return until(answer, 10, f"{address} answers")


@contextlib.contextmanager
def _servers(client: docker.DockerClient, ports: Any, **options: Any) -> Iterator[Container]:
    """A nested container with a server on port 80 and another on port 81."""
    container = client.containers.run(
        NESTED_IMAGE, ["sh", "-c", _TWO_SERVERS], ports=ports, detach=True, **options
    )
    try:
        yield container
    finally:
        container.remove(force=True)


@pytest.fixture
def servers(dind_client: docker.DockerClient) -> Iterator[Container]:
    """Both servers, both published, each on a port that the daemon picks."""
    with _servers(dind_client, {"80/tcp": None, "81/tcp": None}, name="servers") as container:
        yield container


def test_two_ports(dind_daemon: Daemon, servers: Container) -> None:
    """Two mapped ports of one nested container both answer, each with its own server."""
    assert _get(dind_daemon.address(servers, 80)) == "one\n"
    assert _get(dind_daemon.address(servers, 81)) == "two\n"


def test_container_by_name_and_id(dind_daemon: Daemon, servers: Container) -> None:
    """A container may be given as the object, its name, its id, or the id's beginning."""
    assert servers.id is not None
    expected = dind_daemon.address(servers, 80)
    for name in ("servers", servers.id, servers.short_id):
        assert dind_daemon.address(name, 80) == expected


def test_port_of_choice(dind_daemon: Daemon, dind_client: docker.DockerClient) -> None:
    """A port that the test picked is that port."""
    with _servers(dind_client, {"80/tcp": 18080}) as container:
        address = dind_daemon.address(container, 80)

        assert address.port == 18080
        assert _get(address) == "one\n"


def test_own_network(dind_daemon: Daemon, dind_client: docker.DockerClient) -> None:
    """A container on a network of the test's own is reached the same way."""
    network = dind_client.networks.create("own")
    try:
        with _servers(dind_client, {"81/tcp": None}, network="own") as container:
            assert _get(dind_daemon.address(container, 81)) == "two\n"
    finally:
        network.remove()


@pytest.mark.parametrize(
    ("ports", "published"),
    [
        pytest.param({}, "none", id="none"),
        pytest.param({"81/tcp": None}, "81/tcp", id="another"),
        # In mode socket the daemon's loopback is the test process's own.
        pytest.param(
            {"80/tcp": ("127.0.0.1", None)},
            "80/tcp",
            id="loopback",
            marks=pytest.mark.requires_isolation,
        ),
    ],
)
def test_port_that_is_not_published(
    dind_daemon: Daemon, dind_client: docker.DockerClient, ports: Any, published: str
) -> None:
    """A port not published, or on the daemon's own loopback only, is an error that says how."""
    with (
        _servers(dind_client, ports, name="hidden") as container,
        pytest.raises(AddressUnreachable) as caught,
    ):
        dind_daemon.address(container, 80)

    assert "Port 80/tcp of the nested container 'hidden' is not published" in str(caught.value)
    assert f"Published ports: {published}; the container is running." in str(caught.value)
    assert "ports={'80/tcp': None}" in str(caught.value)


def test_container_that_has_ended(dind_daemon: Daemon, servers: Container) -> None:
    """A container that has ended publishes nothing, and the error says that it has."""
    servers.kill()
    servers.wait()
    with pytest.raises(AddressUnreachable, match=r"the container is exited, exit code 137"):
        dind_daemon.address(servers, 80)


def test_container_that_is_not_there(dind_daemon: Daemon) -> None:
    """A container that is not there is an error with its name."""
    with pytest.raises(AddressUnreachable, match="There is no nested container 'ghost'"):
        dind_daemon.address("ghost", 80)


@pytest.mark.engines
@pytest.mark.requires_isolation
def test_publish(start: StartDaemon, engine: Engine) -> None:
    """A port that `publish` publishes is reached on loopback, where nothing else might lead in."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    daemon = start(publish=[str(port)]).daemon
    with contextlib.closing(daemon.client()) as client:
        images.ImageSource(engine.client, print).load(client, [NESTED_IMAGE])
        with _servers(client, {"80/tcp": port, "81/tcp": None}) as container:
            assert daemon.address(container, 80) == ("127.0.0.1", port)
            assert _get(daemon.address(container, 80)) == "one\n"
            assert _get(daemon.address(container, 81)) == "two\n"


@pytest.mark.requires_isolation
def test_port_range(start: StartDaemon, engine: Engine) -> None:
    """A nested container that takes a port of a published range is reached on loopback."""
    daemon = start(publish=["47110-47112"]).daemon
    daemon.load(NESTED_IMAGE)
    with (
        contextlib.closing(daemon.client()) as client,
        _servers(client, {"80/tcp": "47110-47112", "81/tcp": "47110-47112"}) as container,
    ):
        one = daemon.address(container, 80, wait=True)
        two = daemon.address(container, 81, wait=True)

        assert (_get(one), _get(two)) == ("one\n", "two\n")
        assert {one.host, two.host} == {"127.0.0.1"}
        assert {one.port, two.port} < {47110, 47111, 47112}


@pytest.fixture
def ipv6(engine: Engine, dind_daemon: Daemon) -> Iterator[None]:
    """A network that gives the daemon's container an IPv6 address."""
    if not Path("/proc/net/if_inet6").exists():
        pytest.skip("this machine has no IPv6")
    # A unique local prefix (RFC 4193); who else runs these tests here has another.
    subnet = f"fd{os.urandom(1).hex()}:{os.urandom(2).hex()}:{os.urandom(2).hex()}::/64"
    network = engine.client.networks.create(
        f"tests-ipv6-{os.getpid()}",
        enable_ipv6=True,
        ipam=docker.types.IPAMConfig(pool_configs=[docker.types.IPAMPool(subnet=subnet)]),
    )
    try:
        network.connect(dind_daemon.id)
        yield
        network.disconnect(dind_daemon.id)
    finally:
        network.remove()


@pytest.mark.requires_isolation
@pytest.mark.usefixtures("ipv6")
def test_ipv6(dind_daemon: Daemon, dind_client: docker.DockerClient) -> None:
    """A port that is published on IPv6 alone is reached at the daemon's IPv6 address."""
    with _servers(dind_client, {"80/tcp": ("::", None), "81/tcp": None}) as container:
        address = dind_daemon.address(container, 80, wait=True)
        assert ip_address(address.host).version == 6
        assert _get(address) == "one\n"
        assert ip_address(dind_daemon.address(container, 81).host).version == 4


def test_ipv6_address_of_its_own(dind_daemon: Daemon, dind_client: docker.DockerClient) -> None:
    """A container on an IPv6 network of the daemon's is reached there by its neighbours."""
    network = dind_client.networks.create(
        "six",
        enable_ipv6=True,
        ipam=docker.types.IPAMConfig(
            pool_configs=[docker.types.IPAMPool(subnet="fd00:6::/64")],
        ),
    )
    try:
        with _servers(dind_client, {}, network="six", name="servers-six") as container:
            container.reload()
            there = container.attrs["NetworkSettings"]["Networks"]["six"]["GlobalIPv6Address"]
            fetch = ["wget", "-qO-", f"http://[{there}]:80/"]
            done = dind_daemon.exec(
                ["docker", "run", "--rm", "--network", "six", NESTED_IMAGE, *fetch]
            )
            assert done.stdout == "one\n"
    finally:
        network.remove()


def test_udp(dind_daemon: Daemon, dind_client: docker.DockerClient) -> None:
    """A udp port's address leads into the container: what is sent there arrives."""
    container = dind_client.containers.run(
        NESTED_IMAGE, ["sleep", "60"], ports={"80/tcp": None, "90/udp": None}, detach=True
    )
    try:
        address = dind_daemon.address(container, 90, "udp")
        assert dind_daemon.address(container, "90/udp", wait=True) == address
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:

            def arrived() -> bool:
                sender.sendto(b"hi", address)
                return datagrams(container) > 0

            assert until(arrived, 10, "a datagram arrives")
        with pytest.raises(AddressUnreachable, match="published for another protocol: 90/udp"):
            dind_daemon.address(container, 90)
    finally:
        container.remove(force=True)


def test_wait_until_it_accepts(dind_daemon: Daemon, dind_client: docker.DockerClient) -> None:
    """With `wait` the address is given once the server listens, later than its container runs."""
    container = dind_client.containers.run(
        NESTED_IMAGE,
        ["sh", "-c", "sleep 0.5; exec httpd -f -p 80 -h /"],
        ports={"80/tcp": None},
        detach=True,
    )
    try:
        address = dind_daemon.address(container, 80, wait=True)
        socket.create_connection(address, timeout=2).close()
    finally:
        container.remove(force=True)


def test_wait_for_what_never_accepts(dind_daemon: Daemon, dind_client: docker.DockerClient) -> None:
    """A port where nothing listens is an error after the time given, with the last log lines."""
    container = dind_client.containers.run(
        NESTED_IMAGE,
        ["sh", "-c", "echo no server here; exec sleep 60"],
        ports={"80/tcp": None},
        detach=True,
    )
    try:
        until(container.logs, 10, "the container has said so")
        with pytest.raises(AddressUnreachable, match="no server here") as caught:
            dind_daemon.address(container, 80, wait=0.3)
        assert "Nothing accepts connections on port 80/tcp" in str(caught.value)
    finally:
        container.remove(force=True)


def test_wait_for_what_ends(dind_daemon: Daemon, dind_client: docker.DockerClient) -> None:
    """A container that ends while it is waited for ends the wait, with its exit code."""
    container = dind_client.containers.run(
        NESTED_IMAGE,
        ["sh", "-c", "sleep 0.3; echo bad start; exit 3"],
        ports={"80/tcp": None},
        detach=True,
    )
    try:
        with pytest.raises(AddressUnreachable, match="exit code 3") as caught:
            dind_daemon.address(container, 80, wait=30)
        assert "bad start" in str(caught.value)
    finally:
        container.remove(force=True)


def test_own_address(dind_daemon: Daemon, servers: Container) -> None:
    """A nested container's own address is where its neighbours reach it, published or not."""
    address = dind_daemon.nested_address(servers)
    fetch = ["wget", "-qO-", f"http://{address}:81/"]
    done = dind_daemon.exec(["docker", "run", "--rm", NESTED_IMAGE, *fetch])

    assert done.stdout == "two\n"
    with pytest.raises(AddressUnreachable, match="Its networks: bridge"):
        dind_daemon.nested_address(servers, "no-such-network")
