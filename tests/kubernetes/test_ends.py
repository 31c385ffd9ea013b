"""What is left of a cluster when the test run is killed: nothing."""

from __future__ import annotations

import os
import signal

import pytest

from ..integration.projects import Project
from ..integration.traces import Traces
from ..support import until

pytestmark = [pytest.mark.kubernetes, pytest.mark.xdist_group("kubernetes")]


def test_killed(project: Project, traces: Traces) -> None:
    """After SIGKILL the daemon goes, and with it all nodes and what runs in them."""
    project.write(
        """
        import os

        def test_it(dind_kubernetes):
            dind_kubernetes.exec(["kubectl", "create", "deployment", "web", "--image=none:1"])
            os.kill(os.getpid(), 9)
        """
    )
    project.run("--dind-nodes=2", code=-signal.SIGKILL)
    traces.assert_nothing_left(seconds=5)


def test_killed_at_its_start(project: Project, traces: Traces) -> None:
    """So it is while nodes are starting."""
    project.write("def test_it(dind_kubernetes): pass\n")
    process = project.start("--dind-nodes=2")

    def is_starting() -> bool:
        # The daemon is ready, and its nodes come next.
        return any(project.temp.glob("pytest-dind-*/*/kubernetes1/state.json"))

    until(is_starting, 60, "the daemon of the cluster is ready")
    os.killpg(process.pid, signal.SIGKILL)
    traces.assert_nothing_left(seconds=5)
