"""Workloads of a cluster as they are seen: whether they are as they should be, or can't come to be.

Pure functions of what the API says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..daemon.arguments import is_object
from ..errors import SettingsError
from ..validation import is_text, shown

POD, SERVICE, JOB = "pod", "service", "job"
DEPLOYMENT, REPLICAS, STATEFUL, DAEMONS = "deployment", "replicaset", "statefulset", "daemonset"
_CORE, _APPS, _BATCH = "/api/v1", "/apis/apps/v1", "/apis/batch/v1"
_PLACES = {
    POD: (_CORE, "pods"),
    SERVICE: (_CORE, "services"),
    DEPLOYMENT: (_APPS, "deployments"),
    REPLICAS: (_APPS, "replicasets"),
    STATEFUL: (_APPS, "statefulsets"),
    DAEMONS: (_APPS, "daemonsets"),
    JOB: (_BATCH, "jobs"),
}
_SHORT = {
    "po": POD,
    "svc": SERVICE,
    "deploy": DEPLOYMENT,
    "rs": REPLICAS,
    "sts": STATEFUL,
    "ds": DAEMONS,
}
_REVISION = "deployment.kubernetes.io/revision"

# The reasons for which kubelet has a container wait (pkg/kubelet/images/types.go and
# kuberuntime/kuberuntime_container.go in Kubernetes).
_NO_IMAGE = ("ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName")
_HOPELESS = (
    "ImagePullBackOff",
    "ErrImageNeverPull",
    "InvalidImageName",
    "CrashLoopBackOff",
    "RunContainerError",
)
_STUCK = ("CreateContainerConfigError", "CreateContainerError")
_ALWAYS = "Always"


@dataclass(frozen=True)
class Target:
    """What is waited for, or reached.

    Attributes:
        kind: Its kind, as a constant of this module.
        name: Its name.
        namespace: Its namespace.
    """

    kind: str
    name: str
    namespace: str

    def __str__(self) -> str:
        where = "" if self.namespace == "default" else f" in the namespace {self.namespace!r}"
        return f"{self.kind} {self.name!r}{where}"

    @property
    def path(self) -> str:
        """Where the API has it."""
        return f"{self.place}/{self.name}"

    @property
    def place(self) -> str:
        """Where the API has all of its kind and namespace."""
        return place(self.kind, self.namespace)


def place(kind: str, namespace: str) -> str:
    """Where the API has all objects of a kind and a namespace."""
    group, plural = _PLACES[kind]
    return f"{group}/namespaces/{namespace}/{plural}"


def target(call: str, given: object, namespace: str) -> Target:
    """What is meant: `KIND/NAME` as kubectl has it, the name of a pod alone, or a manifest.

    Args:
        call: Whose argument it is.
        given: The argument.
        namespace: The namespace that is meant where it does not say.

    Raises:
        SettingsError: it is none of these.
    """
    if isinstance(given, Mapping):
        metadata, kind = given.get("metadata"), given.get("kind")
        metadata = metadata if isinstance(metadata, Mapping) else {}
        kind = kind.lower() if isinstance(kind, str) else ""
        name, namespace = metadata.get("name"), metadata.get("namespace") or namespace
    elif is_text(given):
        kind, _, name = str(given).rpartition("/")
        kind = kind.lower() or POD
    else:
        kind, name = "", ""
    kind = _SHORT.get(kind, kind)
    # As kubectl takes it: pods/web, and deployment.apps/web.
    kind = kind.partition(".")[0]
    kind = kind if kind in _PLACES else kind.removesuffix("s")
    if kind not in _PLACES or not (is_object(name) and is_object(namespace)):
        raise SettingsError(
            f"{call}: {shown(given)} is not a workload.",
            evidence=f"Kinds: {', '.join(_PLACES)}.",
            remedy=[
                'Name it as kubectl does: "deployment/web"; a name alone is that of a pod.',
                "Give its manifest, a dict with kind and metadata.",
            ],
        )
    return Target(kind, str(name), str(namespace))


@dataclass(frozen=True)
class Seen:
    """A workload as it is seen at one moment.

    Attributes:
        target: Which it is.
        object: The object, as the API has it.
        pods: Its pods; of a deployment those of its newest revision.
        ready_endpoints: Of a service, how many endpoints are ready.
    """

    target: Target
    object: Mapping[str, Any]
    pods: Sequence[Mapping[str, Any]]
    ready_endpoints: int = 0


@dataclass(frozen=True)
class Verdict:
    """What is to be said of a workload.

    Attributes:
        is_done: Whether it is as it should be.
        count: How many pods are.
        needed: How many are to be.
        hopeless: Why it can't come to be; empty where it can.
        stuck: Why it can't as things are: somebody else may change them.
        pulls: The images for which nodes ask a registry in vain, though they may have them: their
            pull policy is Always.
        missing: The images that nodes have not, whatever their policy.
    """

    is_done: bool
    count: int
    needed: int
    hopeless: str = ""
    stuck: str = ""
    pulls: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


def selector(seen: Target, found: Mapping[str, Any]) -> str | None:
    """The labels of a workload's pods, as the API takes them; None for what has none."""
    spec = found.get("spec") or {}
    if seen.kind == SERVICE:
        labels: Mapping[str, str] = spec.get("selector") or {}
    else:
        labels = (spec.get("selector") or {}).get("matchLabels") or {}
    return ",".join(f"{name}={value}" for name, value in labels.items()) or None


def of_newest(
    sets: Sequence[Mapping[str, Any]],
    deployment: Mapping[str, Any],
    pods: Sequence[Mapping[str, Any]],
) -> list[Mapping[str, Any]]:
    """The pods of a deployment's newest revision: those that an update replaces don't count."""
    revision = (deployment["metadata"].get("annotations") or {}).get(_REVISION)
    newest = {
        one["metadata"]["uid"]
        for one in sets
        if (one["metadata"].get("annotations") or {}).get(_REVISION) == revision
        and is_owned(one, deployment)
    }
    return [
        pod
        for pod in pods
        if any(owner["uid"] in newest for owner in pod["metadata"].get("ownerReferences") or [])
    ]


def is_owned(one: Mapping[str, Any], owner: Mapping[str, Any]) -> bool:
    """Whether an object is owned by another."""
    owners = one["metadata"].get("ownerReferences") or []
    return any(found["uid"] == owner["metadata"]["uid"] for found in owners)


def judge(seen: Seen, replicas: int | None) -> Verdict:
    """Judge a workload.

    Args:
        seen: The workload.
        replicas: How many pods are to be as they should, at the least; None for as many as it asks
            for.
    """
    kind, found = seen.target.kind, seen.object
    status, spec = found.get("status") or {}, found.get("spec") or {}
    if kind == POD:
        return _judge_pod(seen)
    if kind == JOB:
        return _judge_job(seen, status, spec)
    if kind == SERVICE:
        return _with_pods(seen, seen.ready_endpoints, 1 if replicas is None else replicas, True)
    ready, wanted, is_rolled_out = _numbers(kind, status, spec)
    is_current = status.get("observedGeneration", 0) >= found["metadata"].get("generation", 0)
    is_whole = is_current and is_rolled_out
    needed = wanted if replicas is None else replicas
    verdict = _with_pods(seen, ready, needed, is_whole)
    if not verdict.is_done and not verdict.hopeless:
        for one in status.get("conditions") or []:
            if one["type"] == "ReplicaFailure" and one["status"] == "True":
                return _changed(verdict, stuck=str(one.get("message")))
            if one.get("reason") == "ProgressDeadlineExceeded":
                return _changed(verdict, hopeless=str(one.get("message")))
        if is_current and needed > wanted:
            return _changed(verdict, hopeless=f"it asks for {wanted}")
    return verdict


def _numbers(
    kind: str, status: Mapping[str, Any], spec: Mapping[str, Any]
) -> tuple[int, int, bool]:
    """How many pods are ready, how many are wanted, and whether all are of the newest revision."""
    if kind == DAEMONS:
        wanted = int(status.get("desiredNumberScheduled", 0))
        updated = int(status.get("updatedNumberScheduled", 0))
        return int(status.get("numberAvailable", 0)), wanted, updated >= wanted
    wanted = 1 if spec.get("replicas") is None else int(spec["replicas"])
    ready = int(status.get("availableReplicas", 0))
    total = int(status.get("replicas", 0))
    if kind == REPLICAS:
        return ready, wanted, total <= wanted
    updated = int(status.get("updatedReplicas", 0))
    if kind == STATEFUL and (spec.get("updateStrategy") or {}).get("type") == "OnDelete":
        updated = wanted
    return ready, wanted, updated >= wanted and total <= wanted


def _with_pods(seen: Seen, count: int, needed: int, is_whole: bool) -> Verdict:
    """The verdict on what has pods: why it can't be, the first of these says."""
    done = is_whole and count >= needed
    why, stuck = "", ""
    pulls: list[str] = []
    missing: list[str] = []
    for pod in [] if done else seen.pods:
        if is_ready(pod):
            continue
        one = troubles(pod)
        pulls += one.pulls
        missing += one.missing
        why, stuck = why or one.hopeless, stuck or one.stuck
    return Verdict(
        done,
        count,
        needed,
        why,
        stuck,
        tuple(dict.fromkeys(pulls)),
        tuple(dict.fromkeys(missing)),
    )


def _changed(verdict: Verdict, *, hopeless: str = "", stuck: str = "") -> Verdict:
    return Verdict(
        verdict.is_done,
        verdict.count,
        verdict.needed,
        hopeless or verdict.hopeless,
        stuck or verdict.stuck,
        verdict.pulls,
        verdict.missing,
    )


def _judge_pod(seen: Seen) -> Verdict:
    pod = seen.object
    phase = (pod.get("status") or {}).get("phase")
    done = is_ready(pod) or phase == "Succeeded"
    verdict = _with_pods(Seen(seen.target, pod, [pod]), int(done), 1, True)
    if phase == "Failed":
        return _changed(verdict, hopeless=f"it has failed: {_ended(pod)}")
    if pod["metadata"].get("deletionTimestamp") and not done:
        return _changed(verdict, hopeless="it is being deleted")
    return verdict


def _judge_job(seen: Seen, status: Mapping[str, Any], spec: Mapping[str, Any]) -> Verdict:
    needed = spec.get("completions") or spec.get("parallelism") or 1
    conditions = {
        one["type"]: one for one in status.get("conditions") or [] if one["status"] == "True"
    }
    done = "Complete" in conditions
    verdict = _with_pods(seen, int(status.get("succeeded", 0)), int(needed), done)
    if done:
        return Verdict(True, verdict.count, verdict.needed)
    if "Failed" in conditions:
        message = conditions["Failed"].get("message") or conditions["Failed"].get("reason")
        return _changed(verdict, hopeless=f"it has failed: {message}")
    if spec.get("suspend"):
        return _changed(verdict, stuck="it is suspended")
    # That its pod starts again and again is what a job has a limit for.
    return verdict if verdict.missing else _changed_to_none(verdict)


def _changed_to_none(verdict: Verdict) -> Verdict:
    return Verdict(verdict.is_done, verdict.count, verdict.needed, stuck=verdict.stuck)


def is_ready(pod: Mapping[str, Any]) -> bool:
    """Whether a pod is ready, and is to stay."""
    if pod["metadata"].get("deletionTimestamp"):
        return False
    conditions = (pod.get("status") or {}).get("conditions") or []
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


@dataclass(frozen=True)
class Troubles:
    """What is in a pod's way; see `Verdict`."""

    hopeless: str = ""
    stuck: str = ""
    pulls: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


def troubles(pod: Mapping[str, Any]) -> Troubles:
    """What is in the way of a pod that is not ready."""
    name, status = pod["metadata"]["name"], pod.get("status") or {}
    if pod["metadata"].get("deletionTimestamp"):
        return Troubles()
    hopeless, stuck = "", ""
    pulls, missing = [], []
    specs = {one["name"]: one for one in _containers(pod.get("spec") or {})}
    for one in container_statuses(pod):
        waiting = (one.get("state") or {}).get("waiting") or {}
        reason = waiting.get("reason", "")
        what = f"the container {one['name']!r} of the pod {name!r} waits: {reason}"
        if reason in _NO_IMAGE:
            spec = specs.get(one["name"], one)
            missing.append(spec["image"])
            if spec.get("imagePullPolicy") == _ALWAYS:
                pulls.append(spec["image"])
        if reason in _HOPELESS:
            hopeless = hopeless or what
        elif reason in _STUCK:
            stuck = stuck or f"{what} ({waiting.get('message', '')})"
    for one in status.get("conditions") or []:
        if one["type"] == "PodScheduled" and one.get("reason") == "Unschedulable":
            stuck = stuck or f"no node takes the pod {name!r}: {one.get('message', '')}"
    return Troubles(hopeless, stuck, tuple(pulls), tuple(missing))


def _containers(spec: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]


def container_statuses(pod: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The states of a pod's containers, those that start first first."""
    status = pod.get("status") or {}
    return [
        *(status.get("initContainerStatuses") or []),
        *(status.get("containerStatuses") or []),
    ]


def _ended(pod: Mapping[str, Any]) -> str:
    """How a pod that has failed ended."""
    status = pod.get("status") or {}
    if status.get("message") or status.get("reason"):
        return str(status.get("message") or status["reason"])
    for one in container_statuses(pod):
        ended = (one.get("state") or {}).get("terminated") or {}
        if ended.get("exitCode"):
            reason = ended.get("reason", "Error")
            return f"the container {one['name']!r} with exit code {ended['exitCode']} ({reason})"
    return "nothing is known of why"


def told(pod: Mapping[str, Any]) -> list[str]:
    """Lines on a pod: where it is, and what its containers say."""
    status, spec = pod.get("status") or {}, pod.get("spec") or {}
    where = f" on {spec['nodeName']}" if spec.get("nodeName") else ""
    lines = [f"Pod {pod['metadata']['name']}{where}: {status.get('phase', 'unknown')}"]
    for one in status.get("conditions") or []:
        if one["type"] == "PodScheduled" and one["status"] != "True":
            lines.append(f"  {one.get('reason', '')}: {one.get('message', '')}")
    for one in container_statuses(pod):
        for state in ("waiting", "terminated"):
            now = (one.get("state") or {}).get(state)
            if now:
                code = f", exit code {now['exitCode']}" if "exitCode" in now else ""
                said = f": {now['message']}" if now.get("message") else ""
                lines.append(f"  {one['name']}: {now.get('reason', state)}{code}{said}")
        last = (one.get("lastState") or {}).get("terminated")
        if last:
            lines.append(
                f"  {one['name']} before: {last.get('reason', 'ended')}, "
                f"exit code {last['exitCode']}"
            )
    return lines


def of_latest(images: Sequence[str]) -> list[str]:
    """Those of these images that have the tag latest, or none: nodes ask a registry for them."""
    return [
        image
        for image in images
        if "@" not in image and image.rpartition("/")[2].partition(":")[2] in ("", "latest")
    ]
