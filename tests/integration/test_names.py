"""Names in nested containers, the networks of the outer engine, and the way back to the test."""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import docker
import pytest
from docker.errors import NotFound
from docker.types import IPAMConfig, IPAMPool

from conftest import DAEMON_IMAGE, NESTED_IMAGE
from pytest_dind import Daemon, Settings
from pytest_dind.backends import tls_connection
from pytest_dind.engine.engine import Engine
from pytest_dind.lifetime import labels
from pytest_dind.lifetime.layout import Home

from .conftest import Started
from .other import OtherHost
from .projects import Project
from .traces import FOREIGN, Traces

_MTU = "com.docker.network.driver.mtu"


def _servers(text: str) -> list[str]:
    return re.findall(r"^nameserver (\S+)", text, re.MULTILINE)


@pytest.fixture
def service(engine: Engine) -> Iterator[str]:
    """A network of the outer engine with a small MTU, and the container `service` in it."""
    name = f"{FOREIGN}{uuid4().hex[:8]}"
    network = engine.client.networks.create(name, options={_MTU: "1400"})
    made = engine.client.containers.create(NESTED_IMAGE, ["sleep", "600"], name=name, init=True)
    network.connect(made, aliases=["service"])
    made.start()
    yield name
    made.remove(force=True)
    network.remove()


@pytest.mark.requires_isolation
def test_names_in_a_factory(project: Project, engine: Engine) -> None:
    """Nested containers ask the outer resolvers, and know the other daemons, on each network.

    That is so after a restart of the daemon too, and the daemon's loopback is nobody else's.
    """
    ask = ["cat", "/etc/resolv.conf"]
    outer = engine.client.containers.run(NESTED_IMAGE, ask, remove=True).decode()
    project.write(
        f"""
        import re

        def run(daemon, network, *command):
            docker = ["docker", "run", "--rm", "--network", network, "{NESTED_IMAGE}"]
            done = daemon.exec([*docker, *command], check=False)
            assert done.returncode == 0, (network, done.stdout, done.stderr)
            return done.stdout

        def test_it(dind_factory):
            one = dind_factory("one", load=["{NESTED_IMAGE}"])
            two = dind_factory("two")
            one.exec(["docker", "network", "create", "own"])
            for restarted in (False, True):
                found = run(one, "bridge", "cat", "/etc/resolv.conf")
                assert re.findall(r"(?m)^nameserver (\\S+)", found) == {_servers(outer)!r}
                for network in ("bridge", "own"):
                    answer = run(one, network, "nslookup", "two")
                    networks = two.container.attrs["NetworkSettings"]["Networks"].values()
                    assert any(net["IPAddress"] in answer for net in networks), answer
                if not restarted:
                    one.restart()
            rules = one.exec(["iptables", "-t", "mangle", "-S", "PREROUTING"]).stdout
            assert "! -i lo -j DROP" in rules and "127.0.0.0/8" in rules, rules
        """
    )
    output = project.run()
    assert "1 passed" in output
    assert "names:" not in output


@pytest.mark.requires_isolation
def test_network_of_the_outer_engine(project: Project, service: str, traces: Traces) -> None:
    """A daemon, and a factory's, joins a network: its names and its MTU are the nested ones'."""
    project.write(
        f"""
        def run(daemon, network, *command):
            docker = ["docker", "run", "--rm", "--network", network, "{NESTED_IMAGE}"]
            return daemon.exec([*docker, *command]).stdout

        def test_it(dind_daemon, dind_factory):
            for daemon in (dind_daemon, dind_factory("further")):
                daemon.exec(["docker", "network", "create", "own"])
                for network in ("bridge", "own"):
                    assert " 0% packet loss" in run(daemon, network, "ping", "-c1", "service")
                    # Sysbox's emulation of /sys shows the daemon's devices to nested containers.
                    link = run(daemon, network, "ip", "link", "show", "eth0")
                    assert " mtu 1400 " in link, (daemon, network)
            assert "Address" in run(dind_daemon, "own", "nslookup", "service")
            assert "packet loss" in run(daemon, "own", "ping", "-c1", dind_daemon.ip)
        """
    )
    output = project.run("--dind-network", service, "--dind-load", NESTED_IMAGE)
    assert "1 passed" in output
    assert "names:" not in output


@pytest.mark.requires_isolation
@pytest.mark.parametrize("name", ["no-such-network", "host"])
def test_network_that_cannot_be_joined(project: Project, traces: Traces, name: str) -> None:
    """A network that is not there, or that has no room for the daemon, is told with the others."""
    project.write("def test_it(dind_daemon): pass")
    output = project.run("--dind-network", name, code=1)

    assert f"SettingsError: --dind-network: the outer engine has no network '{name}'" in output
    assert re.search(r"Networks there: .*\bbridge\b", output)
    traces.assert_nothing_left()


@pytest.mark.requires_isolation
def test_tests_in_a_container(
    monkeypatch: pytest.MonkeyPatch, service: str, mode: str, room: Path, traces: Traces
) -> None:
    """Beside tests in a container of a named network, nested ones know that network's names.

    The daemon starts in it, so its container never sees the outer resolvers themselves.
    """
    monkeypatch.setattr(socket, "gethostname", lambda: service)
    monkeypatch.setattr(tls_connection, "_IN_CONTAINER", (str(room),))
    with contextlib.closing(Engine()) as engine:
        made = engine.client.containers.get(service)
        engine.client.networks.get("bridge").disconnect(made)
        made.reload()
        [network] = made.attrs["NetworkSettings"]["Networks"].values()
        engine.mark_unshared("it is elsewhere")
        settings = Settings(mode=mode, image=DAEMON_IMAGE, load=(NESTED_IMAGE,))
        started = Started(engine, Home(room / "r" / "m"), settings)
        try:
            assert started.daemon.gateway == network["IPAddress"]
            run = ["docker", "run", "--rm", "--add-host=host.docker.internal:host-gateway"]
            started.daemon.exec(["docker", "network", "create", "own"])
            for nested in ("bridge", "own"):
                look = "cat /etc/resolv.conf; ping -c1 service && ping -c1 host.docker.internal"
                command = [*run, "--network", nested, NESTED_IMAGE, "sh", "-c", look]
                said = started.daemon.exec(command).stdout
                assert said.count(f"64 bytes from {network['IPAddress']}") == 2
                assert "8.8.8.8" not in said
        finally:
            started.backend.stop(started.home)
            started.backend.release()
            started.lease.release()


@pytest.mark.requires_isolation
def test_network_that_refuses(project: Project, engine: Engine) -> None:
    """What the engine says of a network that has no address left is in the error."""
    name = f"{FOREIGN}{uuid4().hex[:8]}"
    pool = IPAMPool(subnet="192.0.2.0/29", iprange="192.0.2.2/32")
    made = engine.client.networks.create(name, ipam=IPAMConfig(pool_configs=[pool]))
    try:
        project.write("def test_it(dind_daemon): pass")
        output = project.run("--dind-network", name, code=1)
    finally:
        made.remove()
    assert f"--dind-network: the daemon 'main' cannot join the network '{name}'" in output
    assert "no available" in output.lower()


@pytest.mark.requires_isolation
def test_addresses(dind_daemon: Daemon, engine: Engine) -> None:
    """`ip` is its container's own address, `gateway` that of this machine, the nested host's."""
    details = engine.client.api.inspect_container(dind_daemon.id)
    [network] = details["NetworkSettings"]["Networks"].values()

    assert (dind_daemon.ip, dind_daemon.gateway) == (network["IPAddress"], network["Gateway"])
    hosts = ["grep", "host.docker.internal", "/etc/hosts"]
    add = "--add-host=host.docker.internal:host-gateway"
    found = dind_daemon.exec(["docker", "run", "--rm", add, NESTED_IMAGE, *hosts]).stdout
    assert found.split()[0] == dind_daemon.gateway


@pytest.mark.requires_isolation
def test_limit_of_open_files(dind_client: docker.DockerClient, engine: Engine) -> None:
    """A nested container may open as many files as one of the outer engine."""
    ask = ["sh", "-c", "ulimit -Sn; ulimit -Hn"]
    outer = engine.client.containers.run(NESTED_IMAGE, ask, remove=True)
    assert dind_client.containers.run(NESTED_IMAGE, ask, remove=True) == outer


@pytest.mark.xdist_group("other")
def test_network_of_an_engine_elsewhere(project: Project, other: OtherHost) -> None:
    """Over TLS a daemon joins a network too; there is no way back that is known."""
    name = f"{FOREIGN}{uuid4().hex[:8]}"
    network = other.client.networks.create(name)
    made = other.client.containers.create(NESTED_IMAGE, ["sleep", "600"], name=name, init=True)
    try:
        network.connect(made, aliases=["service"])
        made.start()
        project.write(
            f"""
            def test_it(dind_daemon):
                assert dind_daemon.gateway == ""
                assert dind_daemon.ip.count(".") == 3
                ping = ["ping", "-c1", "service"]
                dind_daemon.exec(["docker", "run", "--rm", "{NESTED_IMAGE}", *ping])
            """
        )
        options = ("--dind-mode", "dind", "--dind-network", name, "--dind-load", NESTED_IMAGE)
        assert "1 passed" in project.run(*options, env=other.env)
    finally:
        made.remove(force=True)
        network.remove()
    assert not other.client.api.containers(filters={"label": labels.RUN})


@pytest.mark.requires_isolation
def test_settings_that_rest_on_a_fixture(project: Project, engine: Engine, traces: Traces) -> None:
    """A fixture that `dind_config` asks for ends after the daemon, as a network of it has to."""
    name = f"foreign-rests-{uuid4().hex[:8]}"
    project.write(
        f"""
        import docker
        import pytest

        @pytest.fixture(scope="session")
        def network():
            client = docker.DockerClient({engine.url!r})
            made = client.networks.create({name!r})
            yield made.name
            made.remove()
            client.close()

        @pytest.fixture(scope="session")
        def dind_config(dind_config, network):
            return dind_config.replace(network=network)
        """,
        "conftest.py",
    )
    project.write("def test_it(dind_client): dind_client.networks.create('left')")
    try:
        output = project.run()
    finally:
        with contextlib.suppress(NotFound):
            engine.client.networks.get(name).remove()

    assert "1 passed" in output
    assert "test_it.py::test_it: network left" in output
    assert "dind: daemon 'main' ready in" in output
    traces.assert_nothing_left()
