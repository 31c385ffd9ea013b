"""The report of a run with a daemon: its start, who used it, and what tests left in it."""

from __future__ import annotations

import json
from typing import Any

from conftest import NESTED_IMAGE

from .projects import Project


def _report(project: Project, *options: str) -> dict[str, Any]:
    project.run("--dind-report=report.html", *options)
    found: dict[str, Any] = json.loads((project.path / "report.html.json").read_text())
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


def test_containers(project: Project) -> None:
    """What the tests' containers were, wrote and came to is in the report, with --rm too."""
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
            said = dind_client.containers.run(
                {NESTED_IMAGE!r}, ["echo", "says that"], name="report-removed", remove=True
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
