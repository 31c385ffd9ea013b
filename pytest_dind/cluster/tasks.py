"""What a service's tasks say of whether it gets as many that run as it is waited for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

RUNNING, COMPLETE, PENDING, REJECTED = "running", "complete", "pending", "rejected"
_ENDED = ("failed", REJECTED, COMPLETE)
_GIVEN_UP = ("shutdown", COMPLETE)
_JOBS = ("ReplicatedJob", "GlobalJob")
_UPDATING = ("updating", "rollback_started")
_PAUSED = ("paused", "rollback_paused")
# What was in the way once, as a network that had not come to a node yet, is gone the next time.
_REFUSALS = 2
_NO_IMAGE = "No such image: "
_NANO_DIGITS = 9
# The second is of services alone.
_APART = ("Placement", "Runtime")

Task = Mapping[str, Any]


@dataclass(frozen=True)
class Seen:
    """A service at one time.

    Attributes:
        service: Its details.
        tasks: Its tasks, those among them that have ended and are remembered.
        ready: The ids of the nodes that are Ready: on others it is not known what runs.
    """

    service: Mapping[str, Any]
    tasks: Sequence[Task]
    ready: frozenset[str]

    @property
    def name(self) -> str:
        """The service's name."""
        return str(self.service["Spec"]["Name"])

    @property
    def is_job(self) -> bool:
        """Whether its tasks are to end, not to run."""
        return not set(_JOBS).isdisjoint(self.service["Spec"]["Mode"])

    def current(self) -> list[Task]:
        """The tasks of what the service is now, not of what it was before an update."""
        wanted = _without_place(self.service["Spec"]["TaskTemplate"])
        return [task for task in self.tasks if _without_place(task["Spec"]) == wanted]

    def asked(self) -> int:
        """How many tasks the service asks for."""
        mode = self.service["Spec"]["Mode"]
        if "Replicated" in mode:
            return int(mode["Replicated"].get("Replicas", 1))
        if "ReplicatedJob" in mode:
            return int(mode["ReplicatedJob"].get("TotalCompletions", 1))
        placement = self.service["Spec"]["TaskTemplate"].get("Placement") or {}
        if placement.get("Constraints"):
            # On which nodes it is to run, the managers know alone.
            return max(1, len({task["NodeID"] for task in self.current() if task.get("NodeID")}))
        return len(self.ready)

    def good(self) -> list[Task]:
        """The tasks that are as they should be."""
        if self.is_job:
            return [task for task in self.current() if _state(task) == COMPLETE]
        return [task for task in self.current() if self._runs(task) and is_wanted(task)]

    def leftover(self) -> list[Task]:
        """The tasks that still run, but are to end."""
        return [task for task in self.tasks if self._runs(task) and not is_wanted(task)]

    def _runs(self, task: Task) -> bool:
        return _state(task) == RUNNING and task.get("NodeID") in self.ready

    def slots(self) -> list[list[Task]]:
        """The current tasks by what each is in place of: the newest last."""
        found: dict[Any, list[Task]] = {}
        for task in sorted(self.current(), key=_created):
            found.setdefault(task.get("Slot") or task.get("NodeID"), []).append(task)
        return [*found.values()]


@dataclass(frozen=True)
class Verdict:
    """What is seen of a service that is waited for.

    Attributes:
        is_done: Whether as many tasks run as are needed.
        count: How many do.
        needed: How many are needed.
        hopeless: Why it can't come true; empty where it can.
        stuck: Why it can't, unless something changes beside the service itself.
        images: The images that nodes turned out not to have.
    """

    is_done: bool
    count: int
    needed: int
    hopeless: str = ""
    stuck: str = ""
    images: frozenset[str] = frozenset()


def judge(seen: Seen, replicas: int | None) -> Verdict:
    """What to think of a service.

    Args:
        seen: The service.
        replicas: How many of its tasks are to run; None for as many as it asks for.
    """
    asked = seen.asked()
    needed = asked if replicas is None else replicas
    count = len(seen.good())
    update = seen.service.get("UpdateStatus") or {}
    enough = count >= needed
    if needed == asked and not seen.is_job:
        enough = count == needed and not seen.leftover()
    if enough and update.get("State") not in _UPDATING:
        return Verdict(True, count, needed)
    dead, waiting = 0, 0
    stuck = ""
    for slot in seen.slots():
        if _is_dead(slot, is_job=seen.is_job):
            dead += 1
        elif _state(slot[-1]) == PENDING and error(slot[-1]):
            waiting += 1
            stuck = f"no node takes its task: {error(slot[-1])}"
    hopeless = ""
    if needed > asked:
        hopeless = f"it asks for {asked}, and {needed} were waited for"
    elif update.get("State") in _PAUSED:
        hopeless = f"its update is paused: {update.get('Message', '')}"
    elif asked - dead < needed:
        hopeless = "its tasks ended, or were refused, and are not tried again"
    return Verdict(
        False,
        count,
        needed,
        hopeless,
        stuck if asked - dead - waiting < needed else "",
        frozenset(_missing_images(seen)),
    )


def _is_dead(slot: Sequence[Task], *, is_job: bool) -> bool:
    """Whether no task of a slot is going to be as it should be.

    Where the managers try again, the next task is there at the moment at which the last one is
    given up.
    """
    if sum(_state(task) == REJECTED for task in slot) >= _REFUSALS:
        return True
    state = _state(slot[-1])
    if is_job and state == COMPLETE:
        return False
    return state in _ENDED and slot[-1]["DesiredState"] in _GIVEN_UP


def _missing_images(seen: Seen) -> Iterator[str]:
    for slot in seen.slots():
        refused = [task for task in slot if _state(task) == REJECTED]
        for task in refused[-1:]:
            _, found, image = error(task).partition(_NO_IMAGE)
            if found:
                yield image.strip()


def is_wanted(task: Task) -> bool:
    """Whether a task is to run."""
    return bool(task["DesiredState"] == RUNNING)


def error(task: Task) -> str:
    """The error of a task; empty without."""
    return str(task["Status"].get("Err", ""))


def _state(task: Task) -> str:
    return str(task["Status"]["State"])


def _created(task: Task) -> tuple[str, str]:
    """When a task was made, to be compared: the engine leaves out the last zeros."""
    seconds, _, nano = str(task["CreatedAt"]).rstrip("Z").partition(".")
    return seconds, nano.ljust(_NANO_DIGITS, "0")


def _without_place(spec: Mapping[str, Any]) -> dict[str, Any]:
    """What a task is, but for where it may be: one that may stay where it is does."""
    return {name: value for name, value in spec.items() if name not in _APART}


def told(task: Task, node: str) -> str:
    """A line on a task.

    Args:
        task: The task.
        node: The name of its node; empty where it has none.
    """
    where = f" on {node}" if node else ""
    line = f"Task {task.get('Slot') or task['ID'][:8]}{where}: {_state(task)}"
    why = error(task)
    code = (task["Status"].get("ContainerStatus") or {}).get("ExitCode")
    if why:
        line += f": {why}"
    elif code:
        line += f", exit code {code}"
    return line
