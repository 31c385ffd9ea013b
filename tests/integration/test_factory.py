"""More daemons than one: concurrent, in reach of each other, gone in the end."""

from __future__ import annotations

import time

import pytest

from pytest_dind.engine.engine import Engine
from pytest_dind.lifetime import labels

from ..support import until
from .other import OtherHost
from .projects import Project
from .traces import Traces


@pytest.mark.requires_isolation
def test_several_at_once(project: Project, traces: Traces) -> None:
    """Daemons start concurrently, each whole, and reach each other by name; all end."""
    project.write(
        """
        from concurrent.futures import ThreadPoolExecutor

        def test_it(dind_factory, dind_daemon):
            with ThreadPoolExecutor(2) as pool:
                one, two = pool.map(dind_factory, ["one", "two"])
            third = dind_factory(args=["--label=mine=yes"])
            assert len({dind_daemon.id, one.id, two.id, third.id}) == 4
            assert (one.name, two.name, third.name) == ("one", "two", "extra-1")
            client = third.client()
            assert client.info()["Labels"] == ["mine=yes"]
            client.close()
            for here, there in ((one, "two"), (two, "one"), (third, "one")):
                assert here.exec(["getent", "hosts", there]).stdout.split()[1] == there
            two.stop()
            assert one.exec(["docker", "ps", "-q"]).stdout == ""
        """
    )
    output = project.run()
    assert "1 passed" in output
    # Each ended because its daemon did.
    assert "its forwarder ended" not in output
    traces.assert_nothing_left()


@pytest.mark.requires_isolation
def test_bad_input(project: Project, traces: Traces) -> None:
    """A bad name, one that is taken, a bad image: each an error; nothing stays of what failed."""
    project.write(
        """
        import pytest
        from pytest_dind import DindError

        def test_it(dind_factory):
            one = dind_factory("one")
            with pytest.raises(DindError, match="'No!' is not a valid name"):
                dind_factory("No!")
            with pytest.raises(DindError, match="but for lease, network"):
                dind_factory("network")
            with pytest.raises(DindError, match="There is a daemon 'one' already"):
                dind_factory("one")
            with pytest.raises(DindError, match="ended with exit code"):
                dind_factory("two", args=["--no-such-argument"])
            with pytest.raises(DindError, match="is not a valid value"):
                dind_factory("three", mode="nonsense")
            assert one.exec(["docker", "ps", "-q"]).stdout == ""
            two = dind_factory("two")
            raise RuntimeError("half-way")
        """
    )
    assert "half-way" in project.run(code=1)
    traces.assert_nothing_left()


@pytest.mark.requires_isolation
def test_killed_run(project: Project, traces: Traces, engine: Engine) -> None:
    """After a SIGKILL the daemons go, and so does their network."""
    project.write(
        """
        import os, pathlib, time

        def test_it(dind_factory):
            dind_factory("one")
            pathlib.Path("started").touch()
            time.sleep(60)
        """
    )
    process = project.start()
    project.reached("started", process)
    assert any(
        (found["Labels"] or {}).get(labels.ROLE) == "network"
        for found in engine.client.api.networks(filters={"label": labels.RUN})
    )
    process.kill()
    process.wait()
    began = time.monotonic()
    traces.assert_nothing_left(15)
    assert time.monotonic() - began < 15


@pytest.mark.requires_isolation
def test_one_engine_by_two_names(project: Project, traces: Traces, engine: Engine) -> None:
    """Texts that lead to one engine are one network: its daemons reach each other by name."""
    project.write(
        f"""
        import os

        def test_it(dind_factory, tmp_path):
            (tmp_path / "s").symlink_to({engine.url.removeprefix("unix://")!r})
            hosts = ["", {engine.url!r}, f"unix://{{tmp_path}}/s"]
            one, *others = [dind_factory(host=host) for host in hosts]
            for other in others:
                assert one.exec(["getent", "hosts", other.name]).stdout
        """
    )
    assert "1 passed" in project.run()
    traces.assert_nothing_left()


# Nothing but the machine's own engine has Sysbox.
@pytest.mark.dind_modes("dind")
def test_killed_run_on_two_engines(
    project: Project, traces: Traces, engine: Engine, other: OtherHost
) -> None:
    """After a SIGKILL the network goes from the first engine, whichever came after that."""
    project.write(
        f"""
        import pathlib, time

        def test_it(dind_factory):
            dind_factory("one", host={engine.url!r})
            dind_factory("two", host={other.url!r})
            pathlib.Path("started").touch()
            time.sleep(60)
        """
    )
    process = project.start(env=other.env | {"DOCKER_HOST": None})
    project.reached("started", process)
    for client in (engine.client, other.client):
        assert client.api.networks(filters={"label": labels.RUN})
    process.kill()
    process.wait()
    traces.assert_nothing_left(15)
    # A reaper does not speak TLS: the network there is left to the next run's sweep.
    until(lambda: not other.client.api.containers(all=True), 30, "the other daemon is gone")
    other.client.networks.prune()


@pytest.mark.requires_isolation
@pytest.mark.parametrize(
    ("harm", "call"),
    [
        ("exec(['sh', '-c', 'kill -9 $(pidof dockerd)'], check=False)", "client.ping()"),
        ("container.kill()", "client.containers.list()"),
        ("container.remove(force=True)", "client.ping()"),
        ("stop()", "client.ping()"),
        ("stop()", "daemon.client()"),
    ],
)
def test_daemon_that_is_gone(project: Project, harm: str, call: str) -> None:
    """What fails on a daemon that is gone is its loss, also with a client from before that."""
    project.write(
        f"""
        def test_gone(dind_factory):
            dind_factory("other").stop()
            daemon = dind_factory("doomed")
            client = daemon.client()
            daemon.{harm}
            for attempt in range(1000):
                {call}

        def test_later(dind_factory):
            dind_factory("third").client().ping()
            assert False, "of its own"
        """
    )
    output = project.run("-p", "no:randomly", "-rf", code=1)
    assert output.count("DaemonLost: The daemon 'doomed' (mode ") >= 1, output
    assert "FAILED test_it.py::test_gone - DaemonLost" in output, output
    assert "FAILED test_it.py::test_later - AssertionError: of its own" in output, output
