"""What reports have of a cluster: in a failed test's sections, and in the report of the run."""

from __future__ import annotations

import json

import pytest

from conftest import NESTED_IMAGE

from .. import schema
from ..integration.projects import Project

pytestmark = [pytest.mark.kubernetes, pytest.mark.xdist_group("kubernetes")]


def test_reports(project: Project) -> None:
    """A failed test's pod that crashes has a section; the run's report has cluster and namespace.

    The pods of other tests are not in it, and neither are those that are well.
    """
    project.write(
        f"""
        import json, pytest

        def run(namespace, name, script):
            container = {{
                "name": "c", "image": {NESTED_IMAGE!r}, "imagePullPolicy": "Never",
                "command": ["sh", "-c", script],
            }}
            pod = {{
                "apiVersion": "v1", "kind": "Pod", "metadata": {{"name": name}},
                "spec": {{"containers": [container], "terminationGracePeriodSeconds": 0}},
            }}
            namespace.exec(["kubectl", "create", "-f", "-"], stdin=json.dumps(pod))

        def test_other(dind_namespace):
            run(dind_namespace, "other", "exit 5")

        def test_crash(dind_namespace):
            run(dind_namespace, "good", "sleep 600")
            run(dind_namespace, "bad", "echo no s3cr3t config; exit 3")
            dind_namespace.wait_for("good")
            dind_namespace.wait_for("bad")

        def test_fine(dind_namespace):
            pass
        """
    )
    options = ("--dind-nodes=2", f"--dind-load={NESTED_IMAGE}", "--dind-env=TOKEN=s3cr3t")
    output = project.run("--dind-report=report.html", *options, code=1, seconds=120)

    found = json.loads((project.path / "report.html.json").read_text())
    schema.check(found)
    (cluster,) = found["clusters"]
    assert (cluster["kind"], cluster["name"]) == ("kubernetes", "kubernetes1")
    assert cluster["version"].startswith("v1.")
    assert cluster["nodes"] == [
        {"name": "server", "role": "server"},
        {"name": "agent1", "role": "agent"},
    ]
    assert 0 <= cluster["start"] < cluster["ready"] < cluster["end"] <= found["run"]["end"]
    spaces = {one["test"].rpartition("::")[2]: one for one in found["namespaces"]}
    assert {*spaces} == {"test_other", "test_crash", "test_fine"}
    assert all(one["start"] < one["end"] for one in spaces.values())
    assert "log" not in spaces["test_fine"]
    said = spaces["test_crash"]["log"]
    assert "dind log of pod 'bad' in namespace 'test-crash-" in said
    assert "exit code 3" in said
    assert "no *** config" in said
    assert "'good'" not in said
    assert "dind log of pod 'bad' in namespace" in output
    assert "pod 'other'" not in output
    # What the test's own error says is masked in the report of the run alone.
    assert "s3cr3t" not in json.dumps(found)
