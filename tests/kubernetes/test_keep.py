"""Clusters that outlive their run: kept, and found again under a name."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from conftest import NESTED_IMAGE

from ..integration.projects import Project
from ..integration.traces import Traces

pytestmark = [
    pytest.mark.kubernetes,
    pytest.mark.xdist_group("kubernetes"),
    pytest.mark.long,
]

_KEPT = re.compile(
    r"^dind: kept (?P<name>\S+), a Kubernetes cluster; to use it, and to remove it:\n"
    r"  export KUBECONFIG=(?P<kubeconfig>\S+)\n"
    r"  python -m (?P<remove>pytest_dind rm \S+)$",
    re.MULTILINE,
)
_NOTE = """
    def test_it(dind_kubernetes, dind_namespace):
        found = dind_kubernetes.exec(["kubectl", "get", "namespace", "--output=name"]).stdout
        with open("notes", "a") as file:
            print(dind_kubernetes.daemon.id, found.count("namespace/test-it-"), file=file)
        dind_kubernetes.load("{image}")
"""
_REUSE = ("--dind-reuse=cluster-of-tests", "--dind-nodes=1")
_SECONDS = 120


def _command(project: Project, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "pytest_dind", *words],
        env={**os.environ, "TMPDIR": str(project.temp)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@pytest.fixture
def project(project: Project, traces: Traces) -> Iterator[Project]:
    """A project that notes its cluster; in the end what outlives runs is removed."""
    project.write(_NOTE.format(image=NESTED_IMAGE))
    yield project
    for one in json.loads(_command(project, "ps", "--json")):
        if str(project.temp) in one["home"]:
            _command(project, "rm", one["name"])


def _notes(project: Project) -> list[list[str]]:
    """Of each run: the daemon of its cluster, and how many namespaces of tests there were."""
    return [line.split() for line in (project.path / "notes").read_text().splitlines()]


def test_kept(project: Project, traces: Traces) -> None:
    """It serves after the run; what is printed leads to it, names it, and removes it."""
    output = project.run("--dind-keep=always", "--dind-nodes=1", seconds=_SECONDS)
    kept = _KEPT.search(output)
    assert kept is not None, output
    kubeconfig = Path(kept["kubeconfig"])
    server = json.loads(kubeconfig.read_text())["clusters"][0]["cluster"]["server"]
    home = kubeconfig.parent
    files = (f"{home}/client.pem", f"{home}/client-key.pem")
    answer = requests.get(f"{server}/readyz", cert=files, verify=f"{home}/ca.pem", timeout=10)
    assert answer.text == "ok"

    assert re.search(
        rf"^{kept['name']} .* kept, Kubernetes cluster$", _command(project, "ps"), re.M
    )
    _command(project, *kept["remove"].split()[1:])
    traces.assert_nothing_left(seconds=5)


def test_reused(project: Project, traces: Traces) -> None:
    """The next run has the same cluster, each worker of it, without what others left in it."""
    project.run(*_REUSE, seconds=_SECONDS)
    # A run that is killed leaves its namespace.
    project.write(_NOTE.format(image=NESTED_IMAGE) + "        import os; os.kill(os.getpid(), 9)\n")
    project.run(*_REUSE, code=-9, seconds=_SECONDS)
    project.write(_NOTE.format(image=NESTED_IMAGE))
    project.run(*_REUSE, "-n2", "--dist=each", seconds=_SECONDS)
    notes = _notes(project)

    assert len(notes) == 4
    assert traces.containers() == [notes[0][0]]
    assert {id_ for id_, _ in notes} == {notes[0][0]}


def test_other_cluster(project: Project, traces: Traces) -> None:
    """One of more nodes is another cluster; one that lost a node is made anew."""
    project.run(*_REUSE, seconds=_SECONDS)
    output = project.run(*_REUSE, "--dind-nodes=2", seconds=_SECONDS)
    assert "dind: reuse: settings changed (its image, the number of its nodes, " in output
    first, second = (id_ for id_, _ in _notes(project))
    assert traces.containers() == [second] != [first]

    project.write("def test_it(dind_kubernetes): dind_kubernetes.kill('agent1')\n")
    project.run(*_REUSE, "--dind-nodes=2", seconds=_SECONDS)
    project.write(_NOTE.format(image=NESTED_IMAGE))
    output = project.run(*_REUSE, "--dind-nodes=2", seconds=_SECONDS)
    assert "can't be used: its nodes are server" in output
    assert traces.containers() == [_notes(project)[-1][0]] != [second]
