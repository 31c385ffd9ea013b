"""Snapshots of prepared daemons: what a copy has, that copies are apart, and what can't be."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any
from uuid import uuid4

import docker
import pytest
from docker.types import Healthcheck, Mount

from conftest import DAEMON_IMAGE, NESTED_IMAGE
from pytest_dind import Daemon, SettingsError, SnapshotFailed
from pytest_dind.engine import containers
from pytest_dind.engine.engine import Engine
from pytest_dind.lifetime import labels
from pytest_dind.runs.factory import Factory
from pytest_dind.store import seeding
from pytest_dind.store.contents import Cache

from ..support import until
from .conftest import DeriveImage
from .projects import Project
from .traces import Traces

# In mode socket there are none. One worker has them all, since most start from the same ones.
pytestmark = [pytest.mark.requires_isolation, pytest.mark.xdist_group("snapshots")]

_SECOND = 1_000_000_000
# What an archive of an image can't tell, beside what it can: a directory that hides one of its
# image's, files that hide others, an owner, a link, a sparse file.
_WRITE = """
rm -rf /hidden; mkdir /hidden; echo new >/hidden/new; rm /removed
echo hers >/made; chown 1234:2345 /made; chmod 4711 /made; ln /made /linked
dd if=/dev/zero of=/sparse bs=1 count=1 seek=4194303 2>/dev/null; echo said
"""
_IN_VOLUME = (
    "chown 5:6 /data; chmod 1750 /data; "
    "echo kept >/data/file; chown 7:8 /data/file; mkdir -m 700 /data/private; echo 1 >/data/n"
)
_LIVES = "echo up | tee -a /starts; touch /up; while :; do sleep 0.1; done"


def _name() -> str:
    return f"it-{uuid4().hex[:8]}"


@contextlib.contextmanager
def _client(daemon: Daemon) -> Iterator[docker.DockerClient]:
    with contextlib.closing(daemon.client()) as client:
        yield client


def _prepare(daemon: Daemon) -> None:
    """Have an image, a volume, a network, and containers that have ended and that run."""
    daemon.load(NESTED_IMAGE)
    with _client(daemon) as client:
        made = client.containers.run(
            NESTED_IMAGE, ["sh", "-c", "mkdir /hidden; touch /hidden/old /removed"], detach=True
        )
        made.wait()
        made.commit("built", "1")
        made.remove()
        client.networks.create("net", labels={"mine": "yes"})
        client.volumes.create("data", labels={"mine": "yes"})
        for name, command in (("ended", _WRITE), ("filled", _IN_VOLUME)):
            client.containers.run(
                "built:1", ["sh", "-ec", command], name=name, network="net", volumes=["data:/data"]
            )
        client.containers.run("built:1", ["sh", "-c", "exit 3"], name="failed", detach=True).wait()
        check = Healthcheck(test=["CMD", "test", "-e", "/up"], interval=_SECOND // 10)
        for name in ("first", "second"):
            client.containers.run(
                "built:1",
                ["sh", "-c", _LIVES],
                name=name,
                detach=True,
                network="net",
                healthcheck=check if name == "second" else None,
            )
            daemon.wait_for(name, log="up")


@pytest.fixture(scope="module")
def prepared(dind_factory: Factory) -> Iterator[Daemon]:
    """A daemon with something of everything, of which there is a snapshot `prepared`."""
    daemon = dind_factory(load=[])
    _prepare(daemon)
    daemon.snapshot("prepared")
    yield daemon
    daemon.stop()


Copy = Callable[..., Daemon]


@pytest.fixture
def copy(prepared: Daemon, dind_factory: Factory) -> Iterator[Copy]:
    """Start daemons from the snapshot; after the test they end."""
    with contextlib.ExitStack() as ends:

        def copy(**how: Any) -> Daemon:
            daemon = dind_factory(**{"load": [], "snapshot": "prepared", **how})
            ends.callback(daemon.stop)
            return daemon

        yield copy


def _state(daemon: Daemon) -> dict[str, Any]:
    """What a daemon has, without times, addresses, and ids that are the daemon's own."""
    with _client(daemon) as client:
        containers = {one.name: one for one in client.containers.list(all=True)}
        return {
            "images": sorted((str(image.id), *image.tags) for image in client.images.list()),
            "volumes": {one.name: one.attrs["Labels"] for one in client.volumes.list()},
            "networks": {
                one.name: (one.id, one.attrs["IPAM"])
                for one in client.networks.list()
                if one.name == "net"
            },
            "containers": {name: one.id for name, one in containers.items()},
            "diffs": {name: sorted(map(str, one.diff() or ())) for name, one in containers.items()},
            "logs": {name: one.logs() for name, one in containers.items()},
            "codes": {
                name: containers[name].attrs["State"]["ExitCode"]
                for name in ("ended", "filled", "failed")
            },
        }


_LOOK = """
cat /hidden/*; ls /removed 2>/dev/null; cat /made; stat -c '%u:%g %a %h' /made
stat -c %s /sparse; cd /data; find . | sort; stat -c '%n %u:%g %a' . file private; cat file
"""


def _seen(daemon: Daemon) -> str:
    """What a container sees that is made of what another has written."""
    with _client(daemon) as client:
        image = client.containers.get("ended").commit("committed")
        output: bytes = client.containers.run(
            image, ["sh", "-c", _LOOK], volumes=["data:/data"], remove=True
        )
        client.images.remove("committed")
        return output.decode()


def test_copy_has_it_all(prepared: Daemon, copy: Copy) -> None:
    """Images, volumes, networks, ended containers with what they have written and logged."""
    here, there = _state(prepared), _state(copy())

    assert there == here
    assert set(here["containers"]) == {"ended", "filled", "failed", "first", "second"}
    assert here["codes"] == {"ended": 0, "filled": 0, "failed": 3}


def test_files_are_as_written(prepared: Daemon, copy: Copy) -> None:
    """File by file a copy's volume and containers are what the prepared daemon's are."""
    here, there = _seen(prepared), _seen(copy())

    assert there == here
    assert here.startswith("new\nhers\n1234:2345 4711 2\n4194304\n")
    assert "file 7:8 644\nprivate 0:0 700\nkept\n" in here


def test_containers_that_ran(prepared: Daemon, copy: Copy) -> None:
    """They went on in the prepared daemon; in a copy they have ended, or run again on request."""
    with _client(prepared) as client:
        assert [client.containers.get(name).status for name in ("first", "second")] == [
            "running"
        ] * 2
    with _client(copy()) as client:
        assert [client.containers.get(name).status for name in ("first", "second")] == [
            "exited"
        ] * 2
    with _client(copy(start=True)) as client:
        first, second = client.containers.get("first"), client.containers.get("second")
        assert [first.status, second.status] == ["running"] * 2
        assert second.attrs["State"]["Health"]["Status"] == "healthy"
        assert first.exec_run(["cat", "/starts"]).output == b"up\nup\n"
        assert first.attrs["State"]["StartedAt"] < second.attrs["State"]["StartedAt"]


def test_copies_are_apart(prepared: Daemon, copy: Copy) -> None:
    """What one copy changes, no other sees, nor one that starts later, nor the prepared daemon."""
    one, other = copy(), copy()
    before = _seen(prepared)
    with _client(one) as client:
        command = "rm -rf /data/* ; echo spoilt >/data/file"
        client.containers.run("built:1", ["sh", "-c", command], volumes=["data:/data"], remove=True)
        client.containers.get("ended").remove()
        client.networks.get("net").remove() if False else None
        client.images.remove("built:1", force=True)

    assert _seen(other) == before
    assert _seen(copy()) == before
    assert _seen(prepared) == before
    with _client(one) as client:
        assert client.info()["ID"] != _id(other)


def _id(daemon: Daemon) -> str:
    with _client(daemon) as client:
        return str(client.info()["ID"])


def test_snapshot_of_a_copy(dind_factory: Factory, copy: Copy) -> None:
    """A copy can be prepared further, and has a snapshot of its own then."""
    first = copy()
    with _client(first) as client:
        client.volumes.create("more")
    name = _name()
    first.snapshot(name)
    with _client(copy(snapshot=name)) as client:
        assert {one.name for one in client.volumes.list()} == {"data", "more"}


def test_cache_lists_it(prepared: Daemon, engine: Engine) -> None:
    """The store tells of it under its name, with its images."""
    roots, _ = Cache(engine, DAEMON_IMAGE).roots()
    found = [root for root in roots if root.snapshot == "prepared"]

    assert found[0].key.startswith("snapshot-prepared-")
    assert found[0].images == ("built:1", NESTED_IMAGE)


def test_no_such_snapshot(prepared: Daemon, dind_factory: Factory) -> None:
    """The error names those that there are."""
    with pytest.raises(SettingsError, match="There is no snapshot 'other'") as raised:
        dind_factory(snapshot="other")
    assert "'prepared'" in raised.value.evidence


def test_other_daemon(prepared: Daemon, dind_factory: Factory, derive: DeriveImage) -> None:
    """A daemon of another image, so perhaps of another version, does not start from it."""
    image = derive()
    with pytest.raises(SnapshotFailed, match="is of another daemon") as raised:
        dind_factory(snapshot="prepared", image=image)
    assert f"Docker {prepared.version} of the image {DAEMON_IMAGE}" in raised.value.evidence
    assert f"{DAEMON_IMAGE!r} -> {image!r}" in raised.value.evidence


_STACK = """
    import json
    import os
    from pathlib import Path

    import pytest

    NESTED = os.environ["NESTED"]

    def prepare(daemon):
        with open("prepared", "a") as log:
            log.write("once\\n")
        daemon.load(NESTED)
        with daemon.activated():
            import docker
            client = docker.from_env()
        client.volumes.create("data")
        client.containers.run(
            NESTED, ["sh", "-c", "echo 0 >/data/n; echo up; sleep 600"], name="db", detach=True,
            volumes=["data:/data"], stop_signal="SIGKILL",
        )
        client.close()
        daemon.wait_for("db", log="up")

    @pytest.fixture(scope="session")
    def stack(dind_factory):
        dind_factory.snapshot("stack-NAME", prepare, key=KEY)
"""
_USE = """
    import contextlib

    import pytest

    pytestmark = pytest.mark.usefixtures("stack")

    @pytest.mark.parametrize("n", range(2))
    @pytest.mark.dind_snapshot("stack-NAME", start=True)
    def test_it(dind_fresh, n):
        add = "read n </data/n; echo $((n + 1)) >/data/n; cat /data/n"
        with contextlib.closing(dind_fresh.client()) as client:
            assert client.containers.get("db").exec_run(["sh", "-c", add]).output == b"1\\n"

    def test_other(dind_factory):
        with contextlib.closing(dind_factory(snapshot="stack-NAME").client()) as client:
            assert [one.name for one in client.containers.list(all=True)] == ["db"]
"""


def _write(project: Project, name: str, key: str) -> None:
    project.env = {"NESTED": NESTED_IMAGE}
    project.write(_STACK.replace("NAME", name).replace("KEY", key), "conftest.py")
    project.write(_USE.replace("NAME", name))


def _kept(engine: Engine, name: str) -> list[str]:
    roots, _ = Cache(engine, DAEMON_IMAGE).roots()
    return [root.key for root in roots if root.snapshot == name]


@pytest.fixture
def stack(engine: Engine) -> Iterator[str]:
    """The end of the name of a test's own snapshot; in the end the store does not have it."""
    name = uuid4().hex[:8]
    yield name
    Cache(engine, DAEMON_IMAGE).remove(_kept(engine, f"stack-{name}"))


def test_fresh_copies(project: Project, traces: Traces, engine: Engine, stack: str) -> None:
    """Each test of xdist's workers has a copy of its own of what one of them has prepared, once."""
    _write(project, stack, "None")
    output = project.run("-n2", seconds=180)

    assert "3 passed" in output
    assert (project.path / "prepared").read_text() == "once\n"
    traces.assert_nothing_left()
    # No key: it was for this run.
    assert _kept(engine, f"stack-{stack}") == []


def test_later_run(project: Project, engine: Engine, stack: str) -> None:
    """With a key the snapshot of an earlier run is used again, as long as the key is the same."""
    _write(project, stack, "['1']")
    project.run("-k", "test_other", seconds=180)
    project.run("-k", "test_other", seconds=180)
    assert (project.path / "prepared").read_text() == "once\n"
    assert len(_kept(engine, f"stack-{stack}")) == 1

    _write(project, stack, "['2']")
    project.run("-k", "test_other", seconds=180)
    assert (project.path / "prepared").read_text() == "once\nonce\n"


def _prepare_little(daemon: Daemon) -> None:
    """Have a volume, and a container that has written to it and to its own layer."""
    with _client(daemon) as client:
        client.volumes.create("data")
        command = ["sh", "-c", "echo kept | tee /data/file >/mine"]
        client.containers.run(NESTED_IMAGE, command, name="little", volumes=["data:/data"])


def _has_little(daemon: Daemon) -> bool:
    """Whether a daemon has that, and its container starts again."""
    with _client(daemon) as client:
        little = client.containers.get("little")
        image = little.commit("little")
        look = ["cat", "/mine", "/data/file"]
        seen = client.containers.run(image, look, volumes=["data:/data"], remove=True)
        little.start()
        return bool(seen == b"kept\nkept\n" and little.wait()["StatusCode"] == 0)


@pytest.fixture
def begin(dind_factory: Factory) -> Iterator[Copy]:
    """Start daemons with the nested image in them; after the test they end."""
    with contextlib.ExitStack() as ends:

        def begin(**how: Any) -> Daemon:
            daemon = dind_factory(**how)
            ends.callback(daemon.stop)
            return daemon

        yield begin


def test_containerd_store(begin: Copy) -> None:
    """Where containerd keeps the images it is the same."""
    args = ["--feature=containerd-snapshotter=true"]
    daemon = begin(args=args)
    _prepare_little(daemon)
    name = _name()
    daemon.snapshot(name)
    assert _has_little(begin(args=args, snapshot=name))
    assert _has_little(daemon)


def test_busybox(begin: Copy, derive: DeriveImage) -> None:
    """With busybox's tools alone, as in the official image, a line tells what is not kept."""
    script = "for tool in $(busybox --list); do ln -s /usr/bin/busybox /tools/$tool; done"
    image = derive(f"mkdir /tools; {script}", "ENV PATH=/tools:/usr/sbin:/usr/bin:/sbin:/bin")
    daemon = begin(image=image)
    _prepare_little(daemon)
    name, said = _name(), list[str]()
    dataclasses.replace(daemon, _progress=said.append).snapshot(name)

    assert f"{name!r} lacks extended attributes" in "".join(said)
    assert _has_little(begin(image=image, snapshot=name))


@pytest.fixture
def small_store(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], str]]:
    """Have a store with room for 1 MB; gives what lists the files in it."""
    monkeypatch.setattr(seeding, "VOLUME", f"pytest-dind-test-{uuid4().hex[:8]}")
    client = engine.client
    options = {"type": "tmpfs", "device": "tmpfs", "o": "size=1m"}
    volume = client.volumes.create(seeding.VOLUME, driver_opts=options)
    # Its contents go with its last user.
    user = client.containers.run(
        DAEMON_IMAGE,
        ["sleep", "600"],
        entrypoint=[],
        mounts=[Mount("/store", seeding.VOLUME)],
        detach=True,
    )
    inside: Any = user
    yield lambda: inside.exec_run(["find", "/store", "-type", "f"]).output.decode()
    user.remove(force=True, v=True)
    volume.remove()


def test_full_disk(prepared: Daemon, small_store: Callable[[], str]) -> None:
    """A store without room: the error has the cause, nothing stays, the daemon is as it was."""
    with pytest.raises(SnapshotFailed, match="nothing of it is left") as raised:
        prepared.snapshot("full")

    assert "No space left on device" in raised.value.evidence
    assert raised.value.evidence.startswith("Cause: ")
    assert small_store().split() == ["/store/lock"]
    with _client(prepared) as client:
        assert client.containers.get("first").status == "running"


def _with_cp(derive: DeriveImage, before: str) -> str:
    """An image whose cp does something before it fills a volume."""
    lines = f'case "$*" in *volumes*) {before} ;; esac; exec /bin/cp "$@"'
    file = "/usr/local/bin/cp"
    return derive(f"printf '#!/bin/sh\\n%s\\n' '{lines}' >{file}; chmod 755 {file}")


@pytest.mark.parametrize("restart", ["no", "always"])
def test_whole_volume(begin: Copy, derive: DeriveImage, restart: str) -> None:
    """Nobody sees a volume that is not filled yet, not even a container that the engine starts."""
    slow = _with_cp(derive, "sleep 3")
    daemon = begin(image=slow)
    look = "cat /data/file 2>&1 || echo >/data/file late; exec sleep 600"
    with _client(daemon) as client:
        run = partial(client.containers.run, NESTED_IMAGE, volumes=["data:/data"], detach=True)
        run(["sh", "-c", look], name="sees", restart_policy={"Name": restart})
        daemon.wait_for("sees", log="No such file")
        name = _name()
        daemon.snapshot(name)

    with _client(begin(image=slow, snapshot=name)) as client:
        sees = client.containers.get("sees")
        if restart == "no":
            sees.start()
        until(lambda: len(sees.logs().splitlines()) > 1, 20, "it has started again")
        assert sees.logs().splitlines()[1] == b"late"


def test_volume_that_cant_be_filled(begin: Copy, derive: DeriveImage) -> None:
    """The error has the cause; the daemon is gone."""
    image = _with_cp(derive, "echo cp: /data/file: No space left on device >&2; exit 1")
    daemon = begin(image=image)
    _prepare_little(daemon)
    name = _name()
    daemon.snapshot(name)

    with pytest.raises(SnapshotFailed, match="can't start from the snapshot") as raised:
        begin(image=image, snapshot=name)
    assert "volumes can't be copied: cp: /data/file: No space left" in raised.value.evidence
    assert raised.value.evidence.startswith("Cause: ")


def test_swarm(begin: Copy) -> None:
    """A daemon in a swarm has its address in its state: no snapshot of it is taken."""
    daemon = begin()
    with _client(daemon) as client:
        client.swarm.init(advertise_addr="127.0.0.1")
    with pytest.raises(SnapshotFailed, match="No snapshot 'swarmed' can be taken") as raised:
        daemon.snapshot("swarmed")
    assert "It is in a swarm" in raised.value.evidence


def test_killed_script(begin: Copy) -> None:
    """When the script that holds dockerd still is killed, dockerd goes on."""
    daemon = begin()
    script = containers.script("store/freeze.sh")
    held = f"echo $$ >/run/held\n{script}"
    # Nobody reads its output, so it does not end by itself.
    command = ["sh", "-c", 'sh -c "$1" sh 60 | sleep 60', "sh", held]
    thread = threading.Thread(target=daemon.exec, args=(command,), kwargs={"check": False})
    thread.start()
    look = ["sh", "-c", "grep -c '^State:.*T' /proc/$(pidof dockerd)/status"]
    until(lambda: daemon.exec(look, check=False).stdout == "1\n", 20, "dockerd holds still")
    daemon.exec(["sh", "-c", "kill -KILL $(cat /run/held)"])

    until(lambda: daemon.exec(look, check=False).stdout == "0\n", 10, "dockerd goes on")
    with _client(daemon) as client:
        assert client.ping()
    daemon.exec(["sh", "-c", "kill $(pidof sleep tar timeout)"], check=False)
    thread.join()


_LARGE = """
    def test_it(dind_factory):
        daemon = dind_factory(load=[])
        daemon.exec(["sh", "-c", "mkdir -p /var/lib/docker/volumes/v; "
                     "dd if=/dev/urandom of=/var/lib/docker/volumes/v/x bs=1M count=300"])
        daemon.snapshot("NAME")
        open("taken", "w").close()
"""


def test_killed_run(project: Project, traces: Traces, engine: Engine, stack: str) -> None:
    """After SIGKILL in the middle no container is left, and nothing of it is in the store."""
    name = f"stack-{stack}"
    project.write(_LARGE.replace("NAME", name))
    process = project.start()
    until(lambda: _has(engine, project, "snapshot"), 60, "it is put into the store")
    os.killpg(process.pid, signal.SIGKILL)
    traces.assert_nothing_left(20)
    assert not (project.path / "taken").exists()
    Cache(engine, DAEMON_IMAGE).prune("10g")

    assert _kept(engine, name) == []


def test_killed_in_the_end(project: Project, traces: Traces, engine: Engine) -> None:
    """Nor is any left after one while the run's own snapshots are removed from the store."""
    project.write(
        """
        def test_it(dind_factory):
            dind_factory(load=[]).snapshot("mine")
        """
    )
    process = project.start()
    until(lambda: _has(engine, project, "cache"), 60, "it is removed from the store")
    os.killpg(process.pid, signal.SIGKILL)
    traces.assert_nothing_left(20)


def _has(engine: Engine, project: Project, role: str) -> bool:
    """Whether a short-lived container of a project's run is there."""
    api: Any = engine.client.api
    found = api.containers(all=True, filters={"label": f"{labels.ROLE}={role}"})
    return any(item["Labels"][labels.HOME].startswith(str(project.temp)) for item in found)


@pytest.mark.parametrize("call", ["dind_daemon.snapshot('x')", "dind_factory.snapshot('x', print)"])
def test_mode_socket(project: Project, call: str) -> None:
    """There no daemon is started: an error says so."""
    project.write(f"def test_it(dind_daemon, dind_factory):\n    {call}\n")
    output = project.run("--dind-mode=socket", code=1)
    assert "Snapshots can't be had in mode socket." in output
