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
