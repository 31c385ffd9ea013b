"""Waits for a service of a swarm: until its tasks run, or can't come to."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..causes import explained
from ..engine.polling import Stuck, poll
from ..errors import DaemonLost, DindError, ServiceFailed, ServiceTimeout
from . import services, tasks
from .membership import Membership
from .tasks import Seen, Verdict

_POLL_SECONDS = 0.1
_ANSWER_SECONDS = 5
# One that ends at once runs for a moment, too.
_STEADY_SECONDS = 0.5
_LAST_LINES = 10
_MOST_TOLD = 10


@dataclass(frozen=True)
class Wait:
    """A wait for one service.

    Attributes:
        swarm: The swarm's name.
        members: The swarm's nodes.
        replicas: How many tasks are to run; None for as many as the service asks for.
        timeout: Seconds that it may take.
    """

    swarm: str
    members: Membership
    replicas: int | None
    timeout: float

    def until(self, service: object) -> None:
        """Wait until as many tasks run.

        Raises:
            ServiceFailed: it can't come true.
            ServiceTimeout: it did not come true in time.
            SwarmFailed: too few managers are left.
        """
        given = service
        last: Seen | None = None
        stuck = Stuck()
        # When each task was first seen as it should be.
        good: dict[str, float] = {}

        def look() -> bool | None:
            nonlocal given, last, good
            try:
                seen = self._seen(given)
            except ServiceFailed as error:
                if last is None:
                    raise
                raise self._gone(last) from error
            if seen is None:
                return None
            # A name may be given again to another service.
            given, last = seen.service["ID"], seen
            verdict = tasks.judge(seen, self.replicas)
            now = time.monotonic()
            good = {task["ID"]: good.get(task["ID"], now) for task in seen.good()}
            if verdict.is_done:
                steady = sum(now - since >= _STEADY_SECONDS for since in good.values())
                return seen.is_job or steady >= verdict.needed or None
            late = stuck.too_long(verdict.stuck)
            why = verdict.hopeless or self._without_image(verdict) or late
            if why:
                raise self._failed(seen, verdict, why)
            return None

        if not poll(look, seconds=self.timeout, every=_POLL_SECONDS):
            raise self._late(last)

    def _seen(self, service: object) -> Seen | None:
        """The service as it is now; None where the managers do not tell."""
        from docker.errors import APIError
        from requests.exceptions import RequestException

        look = self.members.look()
        if look is None:
            return None
        try:
            with look.leader._connected(timeout=_ANSWER_SECONDS) as client:
                found = services.inspect(client, service, self.swarm)
                return Seen(found, services.tasks(client, found), frozenset(look.ready()))
        except (APIError, RequestException, DaemonLost):
            # The leader was lost just now.
            return None

    def _without_image(self, verdict: Verdict) -> str:
        """Why tasks can't run for want of an image: no node has it; empty where one has."""
        for image in verdict.images:
            if not any(self._has(node, image) for node in self.members.nodes):
                return f"no node has its image {image!r}, and none can pull it"
        return ""

    def _has(self, node: Any, image: str) -> bool:
        from docker.errors import ImageNotFound

        with node._connected() as client:
            try:
                client.api.inspect_image(image)
            except ImageNotFound:
                return False
        return True

    def _gone(self, last: Seen) -> ServiceFailed:
        return ServiceFailed(
            f"The service {last.name!r} was removed while it was waited for.",
            evidence=self._evidence(last, tasks.judge(last, self.replicas)),
            remedy=["Have nobody remove it before the wait is over."],
        )

    def _failed(self, seen: Seen, verdict: Verdict, why: str) -> ServiceFailed:
        remedy = ["Look in the tasks' errors and log lines for the cause."]
        if verdict.images:
            remedy.insert(0, "Have the image in all nodes: swarm.load(IMAGE), or --dind-load.")
        return explained(
            ServiceFailed(
                f"The service {seen.name!r} can't get {_tasks(verdict, seen)}: {why}.",
                evidence=self._evidence(seen, verdict),
                remedy=remedy,
            )
        )

    def _late(self, seen: Seen | None) -> ServiceTimeout:
        longer = f"Give it longer: timeout={2 * self.timeout:g}."
        if seen is None:
            return ServiceTimeout(
                f"A service of the swarm {self.swarm!r} was waited for in vain for "
                f"{self.timeout:g} s.",
                evidence="The managers had no leader meanwhile, who alone knows of it.",
                remedy=[longer],
            )
        verdict = tasks.judge(seen, self.replicas)
        return explained(
            ServiceTimeout(
                f"The service {seen.name!r} did not get {_tasks(verdict, seen)} in "
                f"{self.timeout:g} s.",
                evidence=self._evidence(seen, verdict),
                remedy=["Look in its tasks' errors and log lines for what they do.", longer],
            )
        )

    def _evidence(self, seen: Seen, verdict: Verdict) -> str:
        """How many tasks run, what the others say, and the last lines of one that ended."""
        names = {node.node_id: node.name for node in self.members.nodes}
        lines = [f"{verdict.count} of {verdict.needed} {'ended' if seen.is_job else 'run'}."]
        good = {task["ID"] for task in seen.good()}
        bad = [slot for slot in seen.slots() if slot[-1]["ID"] not in good]
        for slot in bad[:_MOST_TOLD]:
            # The newest says what it waits for, the one before why that was needed.
            for task in slot[-2:]:
                lines.append(tasks.told(task, names.get(task.get("NodeID", ""), "")))
        lines += self._log(task for slot in bad for task in reversed(slot))
        return "\n".join(lines)

    def _log(self, candidates: Iterable[Mapping[str, Any]]) -> list[str]:
        """The last log lines of the first of these tasks that has some."""
        from docker.errors import APIError

        nodes = {node.node_id: node for node in self.members.nodes}
        for task in candidates:
            status = task["Status"].get("ContainerStatus") or {}
            node = nodes.get(task.get("NodeID", ""))
            if node is None or not status.get("ContainerID"):
                continue
            with contextlib.suppress(APIError, DindError), node._connected() as client:
                said: bytes = client.api.logs(status["ContainerID"], tail=_LAST_LINES)
                if said.strip():
                    return [f"Last log lines on {node.name}:", said.decode(errors="replace")]
        return []


def _tasks(verdict: Verdict, seen: Seen) -> str:
    one = verdict.needed == 1
    what = ("ends" if one else "end") + " well" if seen.is_job else ("runs" if one else "run")
    return f"{verdict.needed} task{'' if one else 's'} that {what}"
