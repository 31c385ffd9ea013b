"""The report of a run with a daemon: its start, who used it, and what tests left in it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from conftest import NESTED_IMAGE
from pytest_dind.report import document

from .. import schema
from .projects import Project

# Two workers, and a daemon of each one's factory, on a machine that other tests use too.
_SECONDS = 120


def _report(project: Project, *options: str, code: int = 0) -> dict[str, Any]:
    project.run("--dind-report=report.html", *options, code=code, seconds=_SECONDS)
    found: dict[str, Any] = json.loads((project.path / "report.html.json").read_text())
    schema.check(found)
    assert document.read(project.path / "report.html") == found
    return found


def test_daemon_and_leaks(project: Project, mode: str) -> None:
    """The daemon's start, its tests, and what they and wider fixtures left are in the report."""
    project.write(
        f"""
        import pytest

        @pytest.fixture(scope="session")
        def wide(dind_client):
            return dind_client.volumes.create("of-the-fixture")

        def test_leaves(dind_client):
            dind_client.containers.create({NESTED_IMAGE!r}, name="left-by-test")

        def test_uses(dind_client, wide):
            pass

        def test_without():
            pass
        """
    )
    found = _report(project, f"--dind-load={NESTED_IMAGE}")

    (daemon,) = found["daemons"]
    assert (daemon["name"], daemon["mode"]) == ("main", mode)
    assert (daemon["reused"], daemon["kept"]) == (False, False)
    assert 0 <= daemon["start"] < daemon["ready"] < daemon["end"] <= found["run"]["end"]
    assert daemon["phases"][-1]["name"] == "start"
    tests = {one["nodeid"].rpartition("::")[2]: one for one in found["tests"]}
    assert tests["test_leaves"]["daemons"] == tests["test_uses"]["daemons"] == [daemon["id"]]
    assert "daemons" not in tests["test_without"]
    assert [
        (one["test"].rpartition("::")[2], one["kind"], one["name"]) for one in found["leaks"]
    ] == [
        ("test_leaves", "container", "left-by-test"),
        ("", "volume", "of-the-fixture"),
    ]


def test_workers_share_a_daemon(project: Project) -> None:
    """A daemon that workers share is one in the report, with one start, whoever started it."""
    project.write(
        """
        import pytest

        @pytest.mark.parametrize("n", range(4))
        def test_it(dind_client, n): assert dind_client.ping()
        """
    )
    found = _report(project, "-n2")

    (daemon,) = found["daemons"]
    assert 0 <= daemon["start"] < daemon["ready"] < daemon["end"]
    assert {one["worker"] for one in found["tests"]} == {"gw0", "gw1"}
    assert all(one["daemons"] == [daemon["id"]] for one in found["tests"])


def test_containers(project: Project, mode: str) -> None:
    """What the tests' containers were, wrote and came to is in the report, with --rm too."""
    # On the machine's own engine a log is asked for only when its container has started.
    lives = 1 if mode == "socket" else 0
    project.write(
        f"""
        def test_ends(dind_client):
            command = ["sh", "-c", "echo says this; exit 3"]
            made = dind_client.containers.run(
                {NESTED_IMAGE!r}, command, name="report-ends", detach=True
            )
            assert made.wait()["StatusCode"] == 3
            made.remove()

        def test_removed(dind_client):
            command = ["sh", "-c", "echo says that; sleep {lives}"]
            said = dind_client.containers.run(
                {NESTED_IMAGE!r}, command, name="report-removed", remove=True
            )
            assert said == b"says that\\n"
        """
    )
    found = _report(project, f"--dind-load={NESTED_IMAGE}", "--dind-logs=off")

    ends, removed = found["containers"]
    assert (ends["name"], ends["exit_code"], ends["log"]) == ("report-ends", 3, "says this")
    assert (removed["name"], removed["log"]) == ("report-removed", "says that")
    assert ends["test"].endswith("::test_ends")
    assert removed["test"].endswith("::test_removed")
    assert ends["created"] <= ends["started"] <= ends["ended"]
    assert ends["removed"]
    assert removed["removed"]


@pytest.mark.requires_isolation
def test_daemon_of_each_test(project: Project) -> None:
    """A daemon that a test had of its own is there with its containers, and ends with its test."""
    project.write(
        f"""
        import pytest

        @pytest.mark.parametrize("n", range(2))
        def test_it(dind_fresh, n):
            client = dind_fresh.client()
            command = ["sh", "-c", f"echo says {{n}}; exit {{n}}"]
            made = client.containers.run({NESTED_IMAGE!r}, command, name=f"of-{{n}}", detach=True)
            assert made.wait()["StatusCode"] == n
            client.close()

        def test_after():
            pass
        """
    )
    found = _report(project, f"--dind-load={NESTED_IMAGE}")

    tests = {one["nodeid"].rpartition("::")[2]: one for one in found["tests"]}
    containers = {one["name"]: one for one in found["containers"]}
    daemons = {one["id"]: one for one in found["daemons"]}
    assert len(daemons) == len(containers) == 2
    for n in range(2):
        one, test = containers[f"of-{n}"], tests[f"test_it[{n}]"]
        assert (one["exit_code"], one["log"]) == (n, f"says {n}")
        assert one["test"].endswith(f"::test_it[{n}]")
        assert test["daemons"] == [one["daemon"]]
        assert one["ended"] <= daemons[one["daemon"]]["end"] <= test["end"]


@pytest.mark.requires_isolation
def test_all_of_a_run(project: Project, mode: str) -> None:
    """What workers did in the daemon that they share, and in one of a factory, is there once each.

    Whose each thing is, is known; so are exit codes, logs, what was left, and what was built. None
    of it shows a secret.
    """
    project.write(
        f"""
        import docker, pytest

        def run(client, script, name, **options):
            command = ["sh", "-c", script]
            return client.containers.run({NESTED_IMAGE!r}, command, name=name, **options)

        @pytest.mark.parametrize("n", range(4))
        def test_each(dind_client, n):
            network = dind_client.networks.create(f"each-{{n}}")
            try:
                with pytest.raises(docker.errors.ContainerError):
                    run(dind_client, f"echo the s3'cr3t' {{n}}; exit {{n + 1}}", f"each-{{n}}")
                dind_client.containers.get(f"each-{{n}}").remove()
            finally:
                network.remove()

        def test_greedy(dind_client):
            options = {{"mem_limit": "24m", "detach": True}}
            made = run(dind_client, "exec tail /dev/zero", "greedy", **options)
            assert made.wait()["StatusCode"] == 0, "no s3cr3t"

        def test_leaves(dind_client):
            run(dind_client, "sleep 600", "left", detach=True)

        def test_builds(dind_daemon, tmp_path):
            (tmp_path / "Dockerfile").write_text("FROM {NESTED_IMAGE}\\nLABEL built=here\\n")
            dind_daemon.build(tmp_path, "built:1")

        def test_further(dind_factory):
            further = dind_factory("further", load=[{NESTED_IMAGE!r}])
            client = further.client()
            run(client, "echo in the further one", "of-further", remove=True)
            client.close()
            further.stop()
        """
    )
    options = ("-n2", f"--dind-load={NESTED_IMAGE}", "--dind-env=TOKEN=s3cr3t", "--dind-logs=off")
    found = _report(project, *options, code=1)

    daemons = {one["name"]: one for one in found["daemons"]}
    assert {*daemons} == {"main", "further"}
    assert {one["mode"] for one in daemons.values()} == {mode}
    assert daemons["further"]["ready"] < daemons["further"]["end"] < daemons["main"]["end"]
    workers = {one["nodeid"].rpartition("::")[2]: one["worker"] for one in found["tests"]}
    containers = {one["name"]: one for one in found["containers"]}
    assert len(containers) == len(found["containers"]) == 7
    for n in range(4):
        one = containers[f"each-{n}"]
        assert one["test"].endswith(f"::test_each[{n}]")
        assert one["worker"] == workers[f"test_each[{n}]"]
        assert (one["exit_code"], one["removed"], one["log"]) == (n + 1, True, f"the *** {n}")
        assert one["created"] <= one["started"] <= one["ended"]
    assert (containers["greedy"]["exit_code"], containers["greedy"]["oom"]) == (137, True)
    assert "ended" not in containers["left"]
    further = containers["of-further"]
    assert (further["daemon"], further["log"]) == (daemons["further"]["id"], "in the further one")
    assert further["test"].endswith("::test_further")
    networks = [one["test"].partition("[")[2] for one in found["networks"]]
    assert sorted(networks) == ["0]", "1]", "2]", "3]"]
    assert all(one["start"] < one["end"] for one in found["networks"])
    assert [one["name"] for one in found["images"] if one["action"] == "built"] == ["built:1"]
    left = {(one["test"].rpartition("::")[2], one["name"]) for one in found["leaks"]}
    assert left == {("test_greedy", "greedy"), ("test_leaves", "left")}
    texts = [one["text"] for one in found["events"]]
    assert texts.count("container left: start") == 1
    (greedy,) = (one for one in found["tests"] if one["nodeid"].endswith("::test_greedy"))
    assert "no ***" in greedy["message"]
    assert "s3cr3t" not in (project.path / "report.html").read_text()


@pytest.mark.requires_isolation
def test_swarm(project: Project) -> None:
    """A swarm is there with its nodes, their roles, and how long it took until all were Ready."""
    project.write(
        """
        def test_it(dind_swarm):
            dind_swarm.promote(dind_swarm.nodes[1])
        """
    )
    found = _report(project, "--dind-nodes=2")

    (cluster,) = found["clusters"]
    assert (cluster["kind"], cluster["name"], cluster["worker"]) == ("swarm", "swarm1", "main")
    assert {one["role"] for one in cluster["nodes"]} == {"manager"}
    daemons = {one["id"]: one for one in found["daemons"]}
    assert [daemons[one]["name"] for one in cluster["daemons"]] == ["swarm1-node1", "swarm1-node2"]
    assert 0 <= cluster["start"] < cluster["ready"] < cluster["end"] <= found["run"]["end"]
