"""What a service's tasks say of whether a wait for it can come true."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from pytest_dind.cluster import tasks
from pytest_dind.cluster.tasks import Seen, judge

_TEMPLATE = {"ContainerSpec": {"Image": "web:2"}, "ForceUpdate": 0}
_OLD = {"ContainerSpec": {"Image": "web:1"}, "ForceUpdate": 0}
_READY = frozenset({"n1", "n2"})
_NO_IMAGE = {"Err": "No such image: web:2"}
_REPLICATED = {"Replicated": {"Replicas": 2}}
_JOB = {"ReplicatedJob": {"TotalCompletions": 1}}


def _task(slot: int, state: str, desired: str = "running", **more: Any) -> dict[str, Any]:
    return {
        "ID": f"task{slot}{state}{more.get('at', '')}",
        "Slot": slot,
        "NodeID": more.get("node", f"n{slot}"),
        "DesiredState": desired,
        "Spec": more.get("spec", {**_TEMPLATE, "Placement": {"Platforms": []}}),
        "Status": {"State": state, **more.get("status", {})},
        "CreatedAt": f"2026-01-01T00:00:{more.get('at', '00')}Z",
    }


def _seen(
    *found: Mapping[str, Any],
    mode: Mapping[str, Any] = _REPLICATED,
    update: Mapping[str, Any] | None = None,
    constraints: list[str] | None = None,
) -> Seen:
    placement = {"Constraints": constraints or []}
    template = {**_TEMPLATE, "Placement": placement, "Runtime": "container"}
    service = {"Spec": {"Name": "web", "Mode": mode, "TaskTemplate": template}}
    return Seen({**service, **({"UpdateStatus": update} if update else {})}, found, _READY)


def test_all_run() -> None:
    """As many tasks as the service asks for run."""
    verdict = judge(_seen(_task(1, "running"), _task(2, "running")), None)
    assert (verdict.is_done, verdict.count, verdict.needed) == (True, 2, 2)


@pytest.mark.parametrize(
    ("second", "why"),
    [
        (_task(2, "starting"), "it is on its way"),
        (_task(2, "running", node="n3"), "its node is not Ready, and nobody knows what runs there"),
        (_task(2, "running", spec=_OLD), "it is what the update replaces"),
        (_task(2, "running", "shutdown"), "it is to end"),
        (_task(2, "failed"), "the managers have not looked at it yet"),
    ],
)
def test_not_yet(second: dict[str, Any], why: str) -> None:
    """A task does not count where it is not as it should be; that may change."""
    verdict = judge(_seen(_task(1, "running"), second), None)
    assert (verdict.is_done, verdict.count, verdict.hopeless) == (False, 1, ""), why


def test_scaled_down() -> None:
    """What is to end has to have ended; for fewer tasks than are asked for it does not matter."""
    three = [_task(1, "running"), _task(2, "running"), _task(3, "running", "remove", node="n1")]
    assert not judge(_seen(*three), None).is_done
    assert judge(_seen(*three), 1).is_done
    assert judge(_seen(mode={"Replicated": {"Replicas": 0}}), None).is_done


def test_too_many_still() -> None:
    """Right after a service was scaled down, all its tasks still are to run."""
    both = [_task(1, "running"), _task(2, "running")]
    assert not judge(_seen(*both, mode={"Replicated": {"Replicas": 1}}), None).is_done


@pytest.mark.parametrize("state", ["updating", "rollback_started"])
def test_update_goes_on(state: str) -> None:
    """An update that goes on is waited for."""
    both = [_task(1, "running"), _task(2, "running")]
    verdict = judge(_seen(*both, update={"State": state}), None)
    assert (verdict.is_done, verdict.hopeless) == (False, "")


def test_update_is_paused() -> None:
    """One that is paused does not go on by itself, and says why it is."""
    update = {"State": "paused", "Message": "update paused due to failure of task x"}
    verdict = judge(_seen(_task(1, "running"), update=update), None)
    assert verdict.hopeless == "its update is paused: update paused due to failure of task x"


def test_more_than_asked_for() -> None:
    """More tasks than the service asks for never come."""
    verdict = judge(_seen(_task(1, "running"), _task(2, "running")), 3)
    assert verdict.hopeless == "it asks for 2, and 3 were waited for"


def test_ended_for_good() -> None:
    """A task that has ended, without another in its place, is not tried again."""
    dead = _task(2, "failed", "shutdown", status={"Err": "task: non-zero exit (3)"})
    assert judge(_seen(_task(1, "running"), dead), None).hopeless.startswith("its tasks ended")
    assert not judge(_seen(_task(1, "starting"), dead), 1).hopeless


def test_tried_again() -> None:
    """One with another in its place is; by when it was made, whatever zeros were left out."""
    dead = _task(2, "failed", "shutdown", at="01.129")
    verdict = judge(_seen(_task(1, "running"), _task(2, "ready", at="01.13"), dead), None)
    assert verdict.hopeless == ""


def test_refused_twice() -> None:
    """What a node refuses twice is not waited for any more; once may have been an accident."""
    first = _task(2, "rejected", "shutdown", at="01", status={"Err": "network not found"})
    third = _task(2, "ready", "ready", at="09")
    assert not judge(_seen(_task(1, "running"), first, third), None).hopeless
    second = _task(2, "rejected", "shutdown", at="06")
    assert judge(_seen(_task(1, "running"), first, second, third), None).hopeless


def test_missing_image() -> None:
    """The image that a node turned out not to have is named."""
    refused = _task(2, "rejected", "shutdown", at="01", status=_NO_IMAGE)
    again = _task(2, "ready", "ready", at="02")
    verdict = judge(_seen(_task(1, "running"), refused, again), None)
    assert (verdict.images, verdict.hopeless) == (frozenset({"web:2"}), "")


def test_no_node_takes_it() -> None:
    """A task that no node takes may be taken when a node comes back."""
    status = {"Err": "no suitable node (scheduling constraints not satisfied on 2 nodes)"}
    pending = _task(2, "pending", status=status, node="")
    verdict = judge(_seen(_task(1, "running"), pending), None)
    assert verdict.hopeless == ""
    assert verdict.stuck == f"no node takes its task: {status['Err']}"
    assert not judge(_seen(_task(1, "running"), _task(2, "pending", node="")), None).stuck


def test_global() -> None:
    """A global service has a task on each node; with constraints, on those that it has."""
    one = _task(1, "running")
    assert not judge(_seen(one, mode={"Global": {}}), None).is_done
    assert judge(_seen(one, _task(2, "running"), mode={"Global": {}}), None).is_done
    there = _seen(one, mode={"Global": {}}, constraints=["node.role==manager"])
    assert judge(there, None).is_done
    none = _seen(mode={"Global": {}}, constraints=["node.role==manager"])
    assert not judge(none, None).is_done


def test_job() -> None:
    """A job is done when its tasks have ended well, and hopeless when they can't."""
    assert judge(_seen(_task(1, "complete", "complete"), mode=_JOB), None).is_done
    assert not judge(_seen(_task(1, "running", "complete"), mode=_JOB), None).is_done
    failed = _task(1, "failed", "shutdown")
    assert judge(_seen(failed, mode=_JOB), None).hopeless


@pytest.mark.parametrize(
    ("status", "line"),
    [
        ({"Err": "task: non-zero exit (3)"}, "Task 1 on node1: failed: task: non-zero exit (3)"),
        ({"ContainerStatus": {"ExitCode": 3}}, "Task 1 on node1: failed, exit code 3"),
        ({}, "Task 1 on node1: failed"),
    ],
)
def test_line(status: dict[str, Any], line: str) -> None:
    """A task is told of with its node, its state and its error."""
    assert tasks.told(_task(1, "failed", status=status), "node1") == line
