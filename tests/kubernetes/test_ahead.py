"""A cluster that starts before a test asks for it."""

from __future__ import annotations

import pytest

from ..integration.projects import Project
from ..integration.traces import Traces

pytestmark = [pytest.mark.kubernetes, pytest.mark.xdist_group("kubernetes")]

_WAITS = """
import glob, os, pytest, time

def wait(pattern, there=True):
    deadline = time.monotonic() + 100
    while bool(glob.glob(os.environ["TMPDIR"] + "/pytest-dind-*/*/" + pattern)) is not there:
        assert time.monotonic() < deadline
        time.sleep(0.01)

wait("kubernetes1/{until}")
"""
_ASKS = """
import pytest

@pytest.mark.requires_isolation
def test_with(dind_kubernetes):
    assert len(dind_kubernetes.nodes) == 1
"""
_SECONDS = 120


def test_beside_collection(project: Project, traces: Traces) -> None:
    """After a run that had one it starts with the session; a wrong guess is undone silently.

    That is while its nodes start, which ends with their daemon.
    """
    project.has_cache = True
    project.write(_ASKS)
    project.run("--dind-nodes=1", seconds=_SECONDS)
    # Collection ends when the cluster is ready.
    project.write(_WAITS.format(until="kubeconfig") + _ASKS)
    assert "1 passed" in project.run("--dind-nodes=1", seconds=_SECONDS)

    alone = 'def test_without(): wait("kubernetes1", there=False)\n'
    project.write(_WAITS.format(until="state.json") + alone)
    output = project.run("--dind-nodes=1", seconds=_SECONDS)
    assert "1 passed" in output
    assert "left behind" not in output
    assert "ready in" not in output
    traces.assert_nothing_left()
