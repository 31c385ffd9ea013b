"""The texts of a report's sections on pods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from pytest_dind import KubernetesFailed
from pytest_dind.kubernetes.api import Refused
from pytest_dind.recorder import pods
from pytest_dind.recorder.text import Secrets

_CRASHED = {
    "name": "c",
    "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}},
    "lastState": {"terminated": {"reason": "Error", "exitCode": 3}},
}


class _Api:
    """An API with these pods, warnings and logs."""

    def __init__(
        self,
        items: Sequence[Mapping[str, Any]],
        warnings: Mapping[str, str] = {},
        error: Exception | None = None,
        **logs: str,
    ) -> None:
        self.items = items
        self.warnings = warnings
        self.error = error
        self.logs = logs
        self.asked: list[Mapping[str, str]] = []

    def get(self, path: str, **query: str) -> Any:
        """A list."""
        if self.error is not None:
            raise self.error
        if path.endswith("/events"):
            return {
                "items": [
                    {"involvedObject": {"name": name}, "reason": "Failed", "message": text}
                    for name, text in self.warnings.items()
                ]
            }
        return {"items": self.items}

    def text(self, path: str, **query: str) -> str:
        """A log."""
        self.asked.append(query)
        name = path.split("/")[-2]
        if name not in self.logs:
            raise Refused(400, "no log")
        return self.logs[name]


def _pod(name: str, *statuses: Any, phase: str = "Running", **status: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": "ns"},
        "spec": {"nodeName": "agent1"},
        "status": {"phase": phase, "containerStatuses": [*statuses], **status},
    }


def _sections(api: _Api, lines: int = 2) -> list[tuple[str, str]]:
    secrets = Secrets(["s3cr3t"])
    return pods.sections(cast(Any, api), "kubernetes1", ["ns"], lines, secrets)["ns"]


def test_pod_that_crashes() -> None:
    """Its state, exit code, warnings, and what it wrote before it ended, without secrets."""
    api = _Api([_pod("web", _CRASHED)], {"web": "of web"}, web="one\ntwo\nthe s3cr3t\n")
    ((title, text),) = _sections(api)

    assert title == "dind log of pod 'web' in namespace 'ns', which waits: CrashLoopBackOff"
    assert text == (
        "Pod web on agent1: Running\n"
        "  c: CrashLoopBackOff: back-off 10s\n"
        "  c before: Error, exit code 3\n"
        "Event of web: Failed: of web\n"
        "Last log lines of 'c':\n"
        "two\n"
        "the ***\n"
    )
    assert api.asked == [{"container": "c", "tailLines": "2", "previous": "true"}]


def test_pods_that_are_well() -> None:
    """What is ready, has ended well or is to go has no section."""
    ready = _pod("ready", conditions=[{"type": "Ready", "status": "True"}])
    leaves = _pod("leaves", _CRASHED)
    leaves["metadata"]["deletionTimestamp"] = "now"
    assert _sections(_Api([ready, leaves, _pod("done", phase="Succeeded")])) == []


def test_states() -> None:
    """A few words say what is wrong with a pod."""
    unschedulable = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    ended = {"name": "c", "state": {"terminated": {"exitCode": 7}}}
    runs = {"name": "c", "state": {"running": {}}}
    starts = {"name": "c", "state": {"waiting": {"reason": "ContainerCreating"}}}
    items = [
        _pod("a", ended, phase="Failed"),
        _pod("b", phase="Pending", conditions=[unschedulable]),
        _pod("c", runs),
        _pod("d", starts, phase="Pending"),
    ]
    titles = [title.rpartition(", ")[2] for title, _ in _sections(_Api(items))]
    assert titles == [
        "exited with code 7",
        "which no node takes",
        "running but not ready",
        "pending",
    ]


def test_many() -> None:
    """Of many pods the first have sections, and the others are counted."""
    found = _sections(_Api([_pod(f"web-{n}", _CRASHED) for n in range(10)]), lines=0)
    assert len(found) == 9
    assert found[-1] == (
        "dind events of namespace 'ns'",
        "2 more pods that are not well have no section.\n",
    )


def test_no_pod_at_all() -> None:
    """Why what should make pods makes none is told."""
    found = _sections(_Api([], {"web-5d": "exceeded quota"}))
    assert found == [("dind events of namespace 'ns'", "Event of web-5d: Failed: exceeded quota\n")]


def test_cluster_that_does_not_answer() -> None:
    """It is told of once, with the cause."""
    api: Any = _Api([], error=KubernetesFailed("The server ended.", remedy=["Look."]))
    found = pods.sections(api, "kubernetes1", ["a", "b"], 2, Secrets([]))
    ((title, text),) = found["a"]
    assert title == "dind pods of cluster 'kubernetes1', which does not answer"
    assert text.startswith("The server ended.\n")
    assert "b" not in found
