"""A wait for a service: how long what is seen must hold, and when it ends in an error."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from docker.errors import APIError, ImageNotFound

from pytest_dind import ServiceFailed, ServiceTimeout
from pytest_dind.cluster import waiting
from pytest_dind.cluster.tasks import Seen
from pytest_dind.cluster.waiting import Wait
from pytest_dind.engine import polling

# Which a float holds as it is.
_BETWEEN = 0.125
_TEMPLATE = {"ContainerSpec": {"Image": "web:1"}}
_GONE = ServiceFailed("There is no service.", remedy=["None."])


class _Node:
    """A node that has some images, and what its containers have written."""

    node_id, name = "n1", "node1"

    def __init__(self, *images: str) -> None:
        self._images = images

    @contextlib.contextmanager
    def _connected(self) -> Iterator[Any]:
        yield SimpleNamespace(api=self)

    def inspect_image(self, name: str) -> None:
        if name not in self._images:
            raise ImageNotFound(name)

    def logs(self, container: str, tail: int) -> bytes:
        if container != "c1":
            raise APIError("no such container")
        return b"no config\n"


def _task(state: str, number: int = 1, **more: Any) -> dict[str, Any]:
    return {
        "ID": f"t{number}",
        "Slot": 1,
        "NodeID": "n1",
        "Spec": _TEMPLATE,
        "DesiredState": "running",
        "Status": {"State": state, **more},
        "CreatedAt": f"2026-01-01T00:00:0{number}Z",
    }


def _seen(*tasks: dict[str, Any]) -> Seen:
    mode = {"Replicated": {"Replicas": 1}}
    spec = {"Name": "web", "Mode": mode, "TaskTemplate": _TEMPLATE}
    return Seen({"ID": "s1", "Spec": spec}, tasks, frozenset({"n1"}))


Until = Callable[..., float]


@pytest.fixture
def until(monkeypatch: pytest.MonkeyPatch) -> Until:
    """Wait for a service that is seen as is given; the last look is the one of all that follow.

    Between two looks an eighth of a second passes.
    """
    now = [0.0]

    def poll(look: Callable[[], Any], *, seconds: float, every: float) -> Any:
        while now[0] < seconds:
            if (found := look()) is not None:
                return found
            now[0] += _BETWEEN
        return None

    monkeypatch.setattr(waiting, "poll", poll)
    for module in (waiting, polling):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))

    def until(*looks: Seen | ServiceFailed | None, images: tuple[str, ...] = ()) -> float:
        left, now[0] = list(looks), 0.0

        def see(self: Wait, service: object) -> Seen | None:
            found = left.pop(0) if len(left) > 1 else left[0]
            if isinstance(found, ServiceFailed):
                raise found
            return found

        monkeypatch.setattr(Wait, "_seen", see)
        members: Any = SimpleNamespace(nodes=[_Node(*images)])
        Wait("swarm1", members, None, 10).until("web")
        return now[0]

    return until


def test_for_half_a_second(until: Until) -> None:
    """A task that has just begun to run may end at once, and counts a moment later."""
    assert until(_seen(_task("starting")), _seen(_task("running"))) == 0.625


def test_another_task(until: Until) -> None:
    """One that takes its place begins anew."""
    ran, again = _seen(_task("running")), _seen(_task("running", 2))
    assert until(ran, ran, ran, ran, again) == 1.0


def test_election(until: Until) -> None:
    """As long as there is no leader, nothing is known; that is waited for."""
    assert until(None, None, _seen(_task("running"))) == 0.75
    with pytest.raises(ServiceTimeout, match="The managers had no leader meanwhile"):
        until(None)


def test_late(until: Until) -> None:
    """What was seen last is told, with the log of the container that there was."""
    status: dict[str, Any] = {
        "ContainerStatus": {"ContainerID": "c1", "ExitCode": 3},
        "Err": "non-zero exit (3)",
    }
    with pytest.raises(ServiceTimeout) as caught:
        until(_seen(_task("failed", **status) | {"DesiredState": "shutdown"}, _task("ready", 2)))
    assert caught.value.what == "The service 'web' did not get 1 task that runs in 10 s."
    assert "0 of 1 run." in caught.value.evidence
    assert "Task 1 on node1: failed: non-zero exit (3)\nTask 1 on node1: ready" in (
        caught.value.evidence
    )
    assert "Last log lines on node1:\nno config" in caught.value.evidence
    assert caught.value.remedy[-1] == "Give it longer: timeout=20."


def test_removed(until: Until) -> None:
    """A service that is removed meanwhile is told of by its name."""
    with pytest.raises(ServiceFailed, match="'web' was removed while it was waited for"):
        until(_seen(_task("starting")), _GONE)
    with pytest.raises(ServiceFailed, match="There is no service"):
        until(_GONE)


def test_image_that_no_node_has(until: Until) -> None:
    """Without the image on any node it can't come true; with it on one it may."""
    refused = _seen(_task("rejected", Err="No such image: web:1"), _task("ready", 2))
    with pytest.raises(ServiceFailed, match="no node has its image 'web:1'") as caught:
        until(refused)
    assert caught.value.remedy[0].startswith("Have the image in all nodes: swarm.load(IMAGE)")
    assert until(refused, _seen(_task("running", 2)), images=("web:1",))


def test_no_node_takes_it(until: Until) -> None:
    """A task that no node takes for some seconds ends the wait; one that waits a moment doesn't."""
    pending = _seen(_task("pending", Err="no suitable node"))
    assert until(pending, pending, _seen(_task("running")))
    with pytest.raises(ServiceFailed, match="no node takes its task: no suitable node"):
        until(pending)
