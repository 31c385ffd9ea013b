"""Waits for workloads of a cluster: until their pods are ready, or can't come to be."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..causes import explained
from ..engine.polling import Stuck, poll
from ..errors import WorkloadFailed, WorkloadTimeout
from . import evidence, workloads
from .api import Api, Refused
from .workloads import Seen, Target, Verdict

_POLL_SECONDS = 0.05
_LAST_LINES = 10
_MOST_PODS = 5
_ENDPOINTS = "/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"


@dataclass(frozen=True)
class Wait:
    """A wait for one workload.

    Attributes:
        api: The cluster's API.
        target: The workload.
        replicas: How many pods are to be ready; None for as many as it asks for.
        timeout: Seconds that it may take.
    """

    api: Api
    target: Target
    replicas: int | None
    timeout: float

    def until(self) -> None:
        """Wait until as many pods are ready; of a job, until they have ended well.

        Raises:
            WorkloadFailed: it can't come true.
            WorkloadTimeout: it did not come true in time.
        """
        last: Seen | None = None
        stuck = Stuck()

        def look() -> bool | None:
            nonlocal last
            seen = see(self.api, self.target)
            if seen is None:
                raise self._absent(last)
            last = seen
            verdict = workloads.judge(seen, self.replicas)
            if verdict.is_done:
                return True
            late = stuck.too_long(verdict.stuck)
            why = verdict.hopeless or late
            if why:
                raise self._failed(seen, verdict, why)
            return None

        if not poll(look, seconds=self.timeout, every=_POLL_SECONDS):
            raise self._late(last)

    def _absent(self, last: Seen | None) -> WorkloadFailed:
        if last is not None:
            return WorkloadFailed(
                f"The {self.target} was removed while it was waited for.",
                evidence=self._evidence(last, workloads.judge(last, self.replicas)),
                remedy=["Have nobody remove it before the wait is over."],
            )
        with contextlib.suppress(Refused):
            items = self.api.get(self.target.place)["items"]
            there = sorted(one["metadata"]["name"] for one in items)
            return WorkloadFailed(
                f"There is no {self.target} in the cluster.",
                evidence=f"Of that kind, in the namespace {self.target.namespace!r}, there are: "
                f"{', '.join(there) or 'none'}.",
                remedy=["Create it before the wait.", "Name its namespace: namespace=..."],
            )
        raise AssertionError  # pragma: no cover

    def _failed(self, seen: Seen, verdict: Verdict, why: str) -> WorkloadFailed:
        remedy = ["Look in the pods' states, events and log lines for the cause."]
        latest = workloads.of_latest(verdict.pulls)
        if verdict.missing:
            remedy.insert(0, f"Have the image in all nodes: load({verdict.missing[0]!r}).")
        if verdict.pulls:
            remedy.insert(
                0, "Have nodes take the image that they have: imagePullPolicy: IfNotPresent."
            )
            why = f"{why} for {', '.join(verdict.pulls)}"
        if latest:
            remedy.insert(0, f"Give the image a tag: {_tagged(latest[0])}.")
            why = (
                f"{why}. The tag :latest, or none, means imagePullPolicy Always: nodes ask a "
                "registry for it, though they may have it"
            )
        elif verdict.pulls:
            why = f"{why}. Its imagePullPolicy is Always: nodes ask a registry for it"
        error = WorkloadFailed(
            f"The {self.target} can't get {_pods(seen, verdict)}: {why}.",
            evidence=self._evidence(seen, verdict),
            remedy=remedy,
        )
        # Why the registry does not answer is beside the point where none was to be asked.
        return error if verdict.pulls else explained(error)

    def _late(self, seen: Seen | None) -> WorkloadTimeout:
        longer = f"Give it longer: timeout={2 * self.timeout:g}."
        if seen is None:
            return WorkloadTimeout(
                f"The {self.target} was not looked for in {self.timeout:g} s.",
                remedy=[longer],
            )
        verdict = workloads.judge(seen, self.replicas)
        return explained(
            WorkloadTimeout(
                f"The {self.target} did not get {_pods(seen, verdict)} in {self.timeout:g} s.",
                evidence=self._evidence(seen, verdict),
                remedy=["Look in its pods' states, events and log lines for what they do.", longer],
            )
        )

    def _evidence(self, seen: Seen, verdict: Verdict) -> str:
        """How many pods are ready, what the others say, and their events and last log lines."""
        of_job = seen.target.kind == workloads.JOB
        lines = [f"{verdict.count} of {verdict.needed} {'ended well' if of_job else 'ready'}."]
        bad = [pod for pod in seen.pods if not workloads.is_ready(pod)][:_MOST_PODS]
        for pod in bad:
            lines += workloads.told(pod)
        for name in dict.fromkeys([self.target.name, *(one["metadata"]["name"] for one in bad)]):
            lines += evidence.warnings(self.api, self.target.namespace, name).get(name, [])
        for pod in bad:
            container, said = evidence.last_lines(self.api, pod, _LAST_LINES)
            if said:
                lines += [f"Last log lines of {container!r} in {pod['metadata']['name']}:", said]
                break
        return "\n".join(lines)


def see(api: Api, target: Target) -> Seen | None:
    """A workload as it is now; None where there is none.

    Raises:
        Refused: the API refuses to tell.
    """
    found = api.find(target.path)
    if found is None:
        return None
    if target.kind == workloads.POD:
        return Seen(target, found, [found])
    labels = workloads.selector(target, found)
    pods: Sequence[Mapping[str, Any]] = []
    if labels:
        place = workloads.place(workloads.POD, target.namespace)
        pods = api.get(place, labelSelector=labels)["items"]
    if target.kind == workloads.DEPLOYMENT and labels:
        sets = api.get(workloads.place(workloads.REPLICAS, target.namespace), labelSelector=labels)
        pods = workloads.of_newest(sets["items"], found, pods)
    if target.kind == workloads.SERVICE:
        return Seen(target, found, pods, len(ready_addresses(api, target)))
    return Seen(target, found, pods)


def ready_addresses(api: Api, service: Target) -> list[str]:
    """The addresses of a service's endpoints that are ready."""
    slices = api.get(
        _ENDPOINTS.format(namespace=service.namespace),
        labelSelector=f"kubernetes.io/service-name={service.name}",
    )["items"]
    return [
        address
        for one in slices
        for endpoint in one.get("endpoints") or []
        # Not said is as good as ready (discovery/v1).
        if (endpoint.get("conditions") or {}).get("ready") is not False
        for address in endpoint["addresses"]
    ]


def _tagged(image: str) -> str:
    """The same image under a name that nodes take if they have it."""
    place, slash, name = image.rpartition("/")
    return f"docker tag {image} {place}{slash}{name.partition(':')[0]}:1"


def _pods(seen: Seen, verdict: Verdict) -> str:
    if seen.target.kind == workloads.POD:
        return "ready"
    one = verdict.needed == 1
    what = ("endpoint" if one else "endpoints") if seen.target.kind == workloads.SERVICE else "pod"
    what = what if one or what.endswith("s") else f"{what}s"
    if seen.target.kind == workloads.JOB:
        return f"{verdict.needed} {what} to end well"
    return f"{verdict.needed} {what} that {'is' if one else 'are'} ready"
