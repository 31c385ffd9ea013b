"""Swarms: nodes that are Ready, services that are reached, and what becomes of both by a loss."""

from __future__ import annotations

import http.client
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import docker
import pytest
from docker.types import (
    ConfigReference,
    EndpointSpec,
    RestartPolicy,
    SecretReference,
    ServiceMode,
    UpdateConfig,
)

from conftest import NESTED_IMAGE
from pytest_dind import (
    Address,
    AddressUnreachable,
    DindError,
    Node,
    ServiceFailed,
    ServiceTimeout,
    SettingsError,
    Swarm,
    SwarmFailed,
)
from pytest_dind.cluster.services import has_mesh
from pytest_dind.runs.factory import Factory

from ..support import until
from .projects import Project
from .traces import Traces

# Three daemons that one worker starts, for most of these tests. In mode socket there is no swarm.
# One worker has them all, and begins with them.
pytestmark = [
    pytest.mark.xdist_group("swarm"),
    pytest.mark.requires_isolation,
    pytest.mark.long,
]

_NEVER = RestartPolicy("none")
_SLEEP = ["sleep", "600"]
_SERVE = ["sh", "-c", "mkdir /www; echo $PAGE >/www/index.html; exec httpd -f -p 80 -h /www"]


@pytest.fixture(scope="module")
def swarm(dind_factory: Factory) -> Iterator[Swarm]:
    """A swarm of three nodes, one of them its manager."""
    made = dind_factory.swarm()
    yield made
    made.stop()


Create = Callable[..., Any]


@pytest.fixture
def create(swarm: Swarm) -> Iterator[Create]:
    """Create services in the swarm; they are removed after the test."""
    made: list[Any] = []

    def create(command: list[str] = _SLEEP, image: str = NESTED_IMAGE, **how: Any) -> Any:
        how = {"name": f"s{uuid4().hex[:6]}", **how}
        services: Any = swarm.client.services
        # A task that is to end is not waited for.
        made.append(services.create(image, command, stop_grace_period=0, **how))
        return made[-1]

    yield create
    for service in made:
        service.remove()


def _page(address: Address) -> str:
    connection = http.client.HTTPConnection(*address, timeout=5)
    try:
        connection.request("GET", "/")
        return connection.getresponse().read().decode().strip()
    finally:
        connection.close()


def _on(node: Node) -> list[str]:
    return [f"node.id=={node.node_id}"]


def _host_port(published: int) -> EndpointSpec:
    ports: Any = {published: (80, "tcp", "host")}
    return EndpointSpec("dnsrr", ports)


def test_nodes(swarm: Swarm) -> None:
    """All nodes are Ready, each a daemon with its role and its id; a manager leads."""
    first, *others = swarm.nodes
    assert [node.role for node in swarm.nodes] == ["manager", "worker", "worker"]
    assert swarm.leader == first
    listed = {node.id: node for node in swarm.client.nodes.list()}
    assert listed.keys() == {node.node_id for node in swarm.nodes}
    assert {node.attrs["Status"]["State"] for node in listed.values()} == {"ready"}
    for node in others:
        assert first.exec(["getent", "hosts", node.name]).stdout.split()[0] in node.addresses()
        assert node.exec(["docker", "images", "-q", NESTED_IMAGE]).stdout
    # The networks of the swarm stay clear of those that each daemon has for itself.
    swarm.client.networks.create("clear", driver="overlay").remove()


def test_service_is_reached(swarm: Swarm, create: Create) -> None:
    """A service's port in mode host is reached at the node that has its task."""
    node = swarm.nodes[2]
    web = create(_SERVE, env=["PAGE=hi"], endpoint_spec=_host_port(8081), constraints=_on(node))
    swarm.wait_for(web)
    address = swarm.address(web.name, 80)
    assert address == (node.record.address, 8081)
    until(lambda: _answers(address), 5, "httpd listens")
    assert _page(address) == "hi"
    with pytest.raises(AddressUnreachable, match="81/tcp of the service"):
        swarm.address(web, 81)


def _answers(address: Address) -> bool:
    try:
        return bool(_page(address))
    except OSError:
        return False


def test_mesh(swarm: Swarm, create: Create) -> None:
    """A port of the routing mesh is reached at any node; without IP_VS the error says that."""
    ports: Any = {8082: 80}
    spec = EndpointSpec(ports=ports)
    web = create(_SERVE, env=["PAGE=mesh"], endpoint_spec=spec, constraints=_on(swarm.nodes[1]))
    if has_mesh(swarm.leader):
        swarm.wait_for(web)
        address = swarm.address(web, 80)
        until(lambda: _answers(address), 10, "the mesh leads to httpd")
    else:
        with pytest.raises(AddressUnreachable, match="this kernel has no IP_VS"):
            swarm.address(web, 80)


def test_overlay(swarm: Swarm, create: Create) -> None:
    """Tasks on different nodes reach each other by name, on a network of the swarm."""
    swarm.client.networks.create("between", driver="overlay", attachable=True)
    one, two = swarm.nodes[1:]
    how = {"networks": ["between"], "endpoint_spec": EndpointSpec("dnsrr")}
    web = create(_SERVE, name="web", env=["PAGE=over"], constraints=_on(one), **how)
    ask = "until wget -qO- http://web/ | grep over; do sleep 0.1; done; sleep 600"
    asking = create(["sh", "-c", ask], name="ask", constraints=_on(two), **how)
    swarm.wait_for(web)
    swarm.wait_for(asking)
    until(lambda: "over" in _logs(two, asking), 10, "the other task was reached")


def _logs(node: Node, service: Any) -> str:
    found = node.exec(["docker", "ps", "-qf", f"name={service.name}."]).stdout.split()
    return node.exec(["docker", "logs", found[0]]).stdout if found else ""


def test_secrets_and_configs(swarm: Swarm, create: Create) -> None:
    """A task has the secrets and configs that its service names."""
    client: Any = swarm.client
    secret = client.secrets.create(name="word", data=b"hidden\n")
    config = client.configs.create(name="conf", data=b"open\n")
    node = swarm.nodes[1]
    service = create(
        ["sh", "-c", "cat /run/secrets/word /conf; sleep 600"],
        secrets=[SecretReference(secret.id, "word")],
        configs=[ConfigReference(config.id, "conf", "/conf")],
        constraints=_on(node),
    )
    swarm.wait_for(service)
    until(lambda: _logs(node, service) == "hidden\nopen\n", 5, "the task has written both")


def test_rolling_update(swarm: Swarm, create: Create) -> None:
    """An update is waited for to its end; one that fails is told of, with why."""
    config = UpdateConfig(parallelism=1, delay=0, monitor=10**9, failure_action="pause")
    how: dict[str, Any] = {"mode": ServiceMode("replicated", 2), "update_config": config}
    service = create(env=["PART=old"], **how)
    swarm.wait_for(service)

    service.reload()
    service.update(env=["PART=new"], **how)
    swarm.wait_for(service)
    running = service.tasks(filters={"desired-state": "running"})
    assert [task["Spec"]["ContainerSpec"]["Env"] for task in running] == [["PART=new"]] * 2

    service.reload()
    service.update(command=["sh", "-c", "echo no config; exit 3"], **how)
    with pytest.raises(ServiceFailed, match="its update is paused") as caught:
        swarm.wait_for(service)
    assert "no config" in caught.value.evidence


def test_job_and_global(swarm: Swarm, create: Create) -> None:
    """A global service is waited for on each node, a job to its end."""
    swarm.wait_for(create(mode=ServiceMode("global")), replicas=3)
    job = create(["true"], mode=ServiceMode("replicated-job", 2, 2), restart_policy=_NEVER)
    swarm.wait_for(job)


def test_images_reach_all_nodes(swarm: Swarm, tmp_path: Path) -> None:
    """What is built or loaded is in each node, the same image everywhere."""
    (tmp_path / "Dockerfile").write_text(f"FROM {NESTED_IMAGE}\nRUN echo built >/built\n")
    built = swarm.build(tmp_path, "mine:1")
    ids = [_inspect(node, "mine:1") for node in swarm.nodes]
    assert ids == [built] * 3

    for node in swarm.nodes:
        node.exec(["docker", "rmi", "-f", "mine:1"])
        node.exec(["docker", "tag", NESTED_IMAGE, "kept:1"])
        node.exec(["docker", "rmi", NESTED_IMAGE])
    assert swarm.load(NESTED_IMAGE) == [NESTED_IMAGE]
    assert len({_inspect(node, NESTED_IMAGE) for node in swarm.nodes}) == 1


def _inspect(node: Node, image: str) -> str:
    return node.exec(["docker", "image", "inspect", "-f", "{{.Id}}", image]).stdout.strip()


def test_image_that_no_node_has(swarm: Swarm, create: Create) -> None:
    """That ends the wait at once, long before the managers would try again."""
    # Of a registry that refuses: for another one, a name server might be waited for.
    image = "127.0.0.1:1/no-such-image:1"
    began = time.monotonic()
    service = create(image=image)
    with pytest.raises(ServiceFailed, match=f"no node has its image '{image}'") as caught:
        swarm.wait_for(service)
    assert time.monotonic() - began < 5
    assert f"rejected: No such image: {image}" in caught.value.evidence
    assert "swarm.load" in caught.value.remedy[0]


def test_service_that_fails(swarm: Swarm, create: Create) -> None:
    """Tasks that have ended and are not tried again end the wait, with their errors."""
    service = create(["/none/such"], restart_policy=_NEVER)
    with pytest.raises(ServiceFailed, match="are not tried again") as caught:
        swarm.wait_for(service)
    assert "0 of 1 run." in caught.value.evidence
    assert "failed: starting container failed" in caught.value.evidence
    assert "/none/such" in caught.value.evidence


def test_service_that_no_node_takes(swarm: Swarm, create: Create) -> None:
    """A constraint that no node meets ends the wait, with the managers' own words."""
    service = create(constraints=["node.labels.none==such"])
    with pytest.raises(ServiceFailed, match="no suitable node"):
        swarm.wait_for(service)


def test_wait_in_vain(swarm: Swarm, create: Create) -> None:
    """What can't be waited for is said at once; what takes too long, with what was seen."""
    service = create(["/none/such"])
    with pytest.raises(ServiceTimeout, match="did not get 1 task that runs in 1 s") as late:
        swarm.wait_for(service, timeout=1)
    assert "0 of 1 run." in late.value.evidence
    with pytest.raises(ServiceFailed, match="it asks for 1, and 2 were waited for"):
        swarm.wait_for(service, replicas=2)
    with pytest.raises(ServiceFailed, match="There is no service 'none' in the swarm"):
        swarm.wait_for("none")
    with pytest.raises(ServiceFailed, match="Services there: "):
        swarm.address("none", 80)
    for bad in ({"replicas": -1}, {"timeout": "soon"}):
        with pytest.raises(SettingsError, match=r"Swarm\.wait_for: "):
            swarm.wait_for(service, **bad)


def test_node_is_killed_while_waited_for(swarm: Swarm, create: Create) -> None:
    """The tasks of a node that is killed start on another one; who waits for them gets them."""
    doomed = swarm.join()
    assert (doomed.role, doomed in swarm.nodes) == ("worker", True)
    stay = create(constraints=_on(swarm.nodes[1]))
    moves = create(
        mode=ServiceMode("replicated", 2),
        constraints=[f"node.id!={node.node_id}" for node in (swarm.nodes[0], swarm.nodes[1])],
        preferences=[("spread", "node.id")],
    )
    swarm.wait_for(moves)
    assert doomed.exec(["docker", "ps", "-q"]).stdout
    swarm.kill(doomed)
    assert doomed not in swarm.nodes
    with pytest.raises(SettingsError, match=r"kill: swarm\d-node\d is not a node of the swarm"):
        swarm.kill(doomed)
    until(lambda: _state(swarm.client, doomed) == "down", 30, "the managers have found out")
    swarm.wait_for(moves)
    swarm.wait_for(stay)
    swarm.client.api.remove_node(doomed.node_id, force=True)


def _state(client: docker.DockerClient, node: Node) -> str:
    return str(client.api.inspect_node(node.node_id)["Status"]["State"])


def test_partition(swarm: Swarm) -> None:
    """A node that is cut off is down for the others; it comes back by itself."""
    node = swarm.nodes[2]
    with swarm.partition(node):
        until(lambda: _state(swarm.client, node) == "down", 30, "the managers miss it")
        assert node.exec(["docker", "ps", "-q"]).returncode == 0
        with pytest.raises(SettingsError, match="is cut off already"), swarm.partition(node):
            pass
    until(lambda: _state(swarm.client, node) == "ready", 30, "it is back")


def test_roles(swarm: Swarm) -> None:
    """A worker becomes a manager, and leaves as one; the last manager can't."""
    node = swarm.join()
    swarm.promote(node)
    assert node.role == "manager"
    swarm.leave(node)
    assert node not in swarm.nodes
    assert node.node_id not in [one.id for one in swarm.client.nodes.list()]
    with pytest.raises(DindError):
        node.client()
    for call in (swarm.leave, swarm.demote):
        with pytest.raises(SwarmFailed, match="is the last manager of the swarm"):
            call(swarm.nodes[0])


def test_loss_of_managers(dind_factory: Factory) -> None:
    """Of three managers one may be lost: the others elect a leader. Of these two none."""
    swarm = dind_factory.swarm(nodes=3, managers=3)
    try:
        assert [node.role for node in swarm.nodes] == ["manager"] * 3
        first = swarm.leader
        services: Any = swarm.client.services
        service = services.create(
            NESTED_IMAGE, _SLEEP, name="kept", mode=ServiceMode("replicated", 2)
        )
        with ThreadPoolExecutor(1) as beside:
            waiting = beside.submit(swarm.wait_for, service, replicas=1)
            swarm.kill(first)
            assert swarm.leader != first
            waiting.result(60)
        # At least one of the two was on a node that is there still.
        swarm.wait_for(service, replicas=1)
        swarm.kill(swarm.leader)
        with pytest.raises(SwarmFailed, match="has no leader, and can elect none"):
            swarm.wait_for(service)
    finally:
        swarm.stop()


def test_what_cannot_be_had(dind_factory: Factory, traces: Traces) -> None:
    """Bad numbers, settings of the run and a mode without daemons are told before a start."""
    for bad, text in (
        ({"nodes": 0}, "swarm: nodes=0"),
        ({"nodes": 1, "managers": 2}, "2 managers are asked for, and 1 nodes"),
        ({"keep": "always"}, "keep='always' can't be had"),
        ({"reuse": "mine"}, "reuse='mine' can't be had"),
        ({"mode": "socket"}, "can't be had in mode socket"),
        ({"args": "--debug"}, "is not a valid value"),
        ({"colour": "red"}, "Settings have no colour"),
    ):
        with pytest.raises(SettingsError, match=text):
            dind_factory.swarm(**bad)
    assert not traces.found()


def test_start_that_fails(dind_factory: Factory, swarm: Swarm) -> None:
    """A daemon that takes part in no swarm is told of, and all that were started are gone."""
    engine = swarm.nodes[0]._backend.outer()
    before = {one["Id"] for one in engine.api.containers(all=True)}
    with pytest.raises(SwarmFailed, match="can't begin the swarm") as caught:
        dind_factory.swarm(nodes=2, args=["--live-restore"])
    assert "live-restore" in caught.value.evidence
    names = ("swarm", "node")
    left = [
        one["Names"]
        for one in engine.api.containers(all=True)
        if one["Id"] not in before and all(name in str(one["Names"]) for name in names)
    ]
    assert not left


def test_workers_and_a_second_swarm(project: Project, traces: Traces) -> None:
    """Each of xdist's workers has a swarm of its own; a run may have several. All end."""
    project.write(
        f"""
        import pytest

        @pytest.mark.parametrize("number", [1, 2])
        def test_it(dind_swarm, dind_factory, number):
            assert [node.name for node in dind_swarm.nodes] == ["swarm1-node1"]
            service = dind_swarm.client.services.create({NESTED_IMAGE!r}, ["sleep", "60"])
            dind_swarm.wait_for(service)
            if number == 2:
                other = dind_factory.swarm(nodes=1)
                assert [node.name for node in other.nodes] == ["swarm2-node1"]
                assert not other.client.services.list()
        """
    )
    own = ("-n2", "--dind-nodes=1", "--dind-load", NESTED_IMAGE)
    output = project.run(*own)
    assert "2 passed" in output
    assert "forwarder" not in output
    traces.assert_nothing_left()


def test_killed_run(project: Project, traces: Traces) -> None:
    """After a SIGKILL the nodes go, and so does their network."""
    project.write(
        """
        import pathlib, time

        def test_it(dind_swarm):
            assert len(dind_swarm.nodes) == 2
            pathlib.Path("started").touch()
            time.sleep(60)
        """
    )
    process = project.start("--dind-nodes=2")
    project.reached("started", process)
    assert len(traces.containers()) == 2
    process.kill()
    process.wait()
    traces.assert_nothing_left(15)


_REUSE = ("--dind-reuse=swarm-of-tests", "--dind-nodes=2")
_KEPT = re.compile(r"^dind: kept \S+ and 1 more, a swarm; .*\n.*\n  python -m (.*)$", re.MULTILINE)
_LEAVE = f"""
    from docker.types import EndpointSpec

    def test_it(dind_swarm):
        client = dind_swarm.client
        found = [client.services.list(), client.secrets.list(), client.configs.list()]
        assert found == [[], [], []]
        assert not client.networks.list(names=["left"])
        client.secrets.create(name="left", data=b"1")
        client.configs.create(name="left", data=b"1")
        client.networks.create("left", driver="overlay", attachable=True)
        how = {{"name": "left", "networks": ["left"], "endpoint_spec": EndpointSpec("dnsrr")}}
        service = client.services.create({NESTED_IMAGE!r}, ["sleep", "600"], **how)
        dind_swarm.wait_for(service)
        with open("notes", "a") as file:
            print(*(node.node_id for node in dind_swarm.nodes), file=file)
"""


def _remove(project: Project, *names: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "pytest_dind", "rm", *names],
        env={**os.environ, "TMPDIR": str(project.temp)},
        check=True,
    )


def _notes(project: Project) -> list[str]:
    """Of each run: the ids of the nodes in its swarm."""
    return (project.path / "notes").read_text().splitlines()


def test_kept(project: Project, traces: Traces) -> None:
    """All nodes stay with their network, through later runs too; what is printed removes all."""
    project.write(_LEAVE)
    output = project.run("--dind-keep=always", "--dind-nodes=2", "--dind-load", NESTED_IMAGE)
    told = _KEPT.search(output)
    assert told is not None, output
    networks = {one for one in traces.found() if one.startswith("network ")}
    assert (len(traces.containers()), len(networks)) == (2, 1)

    project.write("def test_it(dind_client): pass")
    project.run()
    assert len(traces.containers()) == 2
    assert networks <= traces.found()

    first, second = told[1].split()[2:]
    _remove(project, first)
    assert networks <= traces.found()
    _remove(project, second)
    traces.assert_nothing_left()


def test_reused(project: Project, traces: Traces) -> None:
    """The next run has the same nodes, without what was left; after a loss it has new ones."""
    own = (*_REUSE, "--dind-load", NESTED_IMAGE)
    project.write(_LEAVE)
    try:
        project.run(*own)
        output = project.run(*own)
        assert "dind: reuse: " not in output
        first, second = _notes(project)
        assert first == second

        project.write("def test_it(dind_swarm): dind_swarm.kill(dind_swarm.nodes[1])")
        project.run(*own)
        project.write(_LEAVE)
        output = project.run(*own)
        assert output.count("dind: reuse: ") == 1
        assert "can't be used: swarm-node2 is gone or unhealthy" in output
        assert not set(_notes(project)[-1].split()) & set(first.split())
        assert len(traces.containers()) == 2
    finally:
        _remove(project, "swarm-of-tests")
    traces.assert_nothing_left()


def test_reused_at_once(project: Project, traces: Traces) -> None:
    """Processes that ask for it at once have one swarm, whole."""
    project.write(
        """
        def test_it(dind_swarm):
            with open("notes", "a") as file:
                print(*(node.node_id for node in dind_swarm.nodes), file=file)
        """
    )
    try:
        project.run(*_REUSE, "-n2", "--dist=each")
        one, other = _notes(project)
        assert one == other
        assert len(one.split()) == len(traces.containers()) == 2
    finally:
        _remove(project, "swarm-of-tests")
    traces.assert_nothing_left()
