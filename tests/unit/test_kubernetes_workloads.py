"""When a workload is as it should be, and when it can't come to be."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_dind import SettingsError
from pytest_dind.kubernetes import workloads
from pytest_dind.kubernetes.workloads import Seen, Target, Verdict


def _pod(name: str = "web-1", *, ready: bool = False, **more: Any) -> dict[str, Any]:
    status = {"phase": "Running" if ready else "Pending", **more.pop("status", {})}
    status.setdefault("conditions", []).append({"type": "Ready", "status": str(ready)})
    spec = {"containers": [{"name": "c", "image": "web:1", **more.pop("container", {})}]}
    return {"metadata": {"name": name, **more}, "spec": spec, "status": status}


def _waits(reason: str, *, policy: str = "IfNotPresent", image: str = "web:1") -> dict[str, Any]:
    waiting = {"reason": reason, "message": "because"}
    statuses = [{"name": "c", "image": f"docker.io/library/{image}", "state": {"waiting": waiting}}]
    return _pod(
        status={"containerStatuses": statuses},
        container={"image": image, "imagePullPolicy": policy},
    )


def _deployment(**status: int) -> dict[str, Any]:
    spec = {"replicas": 2}
    return {"metadata": {"name": "web", "generation": 3}, "spec": spec, "status": status}


_WHOLE = {"observedGeneration": 3, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}


def _judge(
    found: dict[str, Any], *pods: dict[str, Any], kind: str = "deployment", **more: Any
) -> Verdict:
    replicas = more.pop("replicas", None)
    return workloads.judge(Seen(Target(kind, "web", "default"), found, pods, **more), replicas)


@pytest.mark.parametrize(
    ("given", "kind", "name"),
    [
        ("web", "pod", "web"),
        ("pod/web", "pod", "web"),
        ("Deployment/web", "deployment", "web"),
        ("deploy/web", "deployment", "web"),
        ("deployments.apps/web", "deployment", "web"),
        ("svc/web", "service", "web"),
        ({"kind": "Job", "metadata": {"name": "web"}}, "job", "web"),
    ],
)
def test_names(given: Any, kind: str, name: str) -> None:
    """A workload is named as kubectl names it, or is a manifest."""
    assert workloads.target("wait_for", given, "mine") == Target(kind, name, "mine")


def test_namespace_of_a_manifest() -> None:
    """What a manifest says of its namespace counts."""
    found = {"kind": "Pod", "metadata": {"name": "web", "namespace": "shop"}}
    target = workloads.target("wait_for", found, "mine")
    assert target.path == "/api/v1/namespaces/shop/pods/web"


@pytest.mark.parametrize("given", ["", "a/b/c", "node/one", "pod/", "Web", 3, {}, {"kind": "Pod"}])
def test_no_workload(given: Any) -> None:
    """What is none is told at the call, with the kinds that there are."""
    with pytest.raises(SettingsError, match=r"wait_for: .* is not a workload") as caught:
        workloads.target("wait_for", given, "default")
    assert "statefulset" in caught.value.evidence


def test_rolled_out() -> None:
    """A deployment is done when all its pods are of the newest revision, as many as it asks for."""
    assert _judge(_deployment(**_WHOLE)) == Verdict(True, 2, 2)
    for change in (
        {"observedGeneration": 2},
        {"updatedReplicas": 1},
        {"replicas": 3},
        {"availableReplicas": 1},
    ):
        assert not _judge(_deployment(**{**_WHOLE, **change})).is_done


def test_fewer() -> None:
    """As many as the caller asks for are enough; more than it asks for can't come."""
    half = _deployment(**{**_WHOLE, "availableReplicas": 1})
    assert _judge(half, replicas=1).is_done
    assert _judge(half, replicas=3).hopeless == "it asks for 2"


def test_no_daemon_set_yet() -> None:
    """A daemon set that its controller has not looked at wants no node, and is not done."""
    found: dict[str, Any] = {"metadata": {"name": "web", "generation": 1}, "spec": {}, "status": {}}
    assert not _judge(found, kind="daemonset").is_done
    found["status"] = {
        "observedGeneration": 1,
        "desiredNumberScheduled": 3,
        "updatedNumberScheduled": 3,
        "numberAvailable": 3,
    }
    assert _judge(found, kind="daemonset") == Verdict(True, 3, 3)


@pytest.mark.parametrize(
    "reason", ["ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "CrashLoopBackOff"]
)
def test_hopeless(reason: str) -> None:
    """A pod that kubelet has given up on is told, of whatever it is a part."""
    why = f"the container 'c' of the pod 'web-1' waits: {reason}"
    assert _judge(_deployment(**{**_WHOLE, "availableReplicas": 1}), _waits(reason)).hopeless == why
    assert _judge(_waits(reason), kind="pod").hopeless == why
    assert _judge({"metadata": {"name": "web"}}, _waits(reason), kind="service").hopeless == why


def test_what_comes_by_itself() -> None:
    """A container that is being created, and a pull that failed once, are waited for."""
    for reason in ("ContainerCreating", "PodInitializing", "ErrImagePull"):
        verdict = _judge(_waits(reason), kind="pod")
        assert not verdict.hopeless
        assert not verdict.stuck


def test_images() -> None:
    """Which images are missing is told, and which of them a registry is asked for in any case."""
    verdict = _judge(_waits("ImagePullBackOff", image="web"), kind="pod")
    assert (verdict.missing, verdict.pulls) == (("web",), ())
    verdict = _judge(_waits("ImagePullBackOff", image="web", policy="Always"), kind="pod")
    assert (verdict.missing, verdict.pulls) == (("web",), ("web",))


def test_latest() -> None:
    """The tag latest, and none, mean that a registry is asked; a registry's port is no tag."""
    images = ["web", "web:latest", "here:5000/web", "web:1", "here:5000/web:2", "web@sha256:12"]
    assert workloads.of_latest(images) == images[:3]


def test_stuck() -> None:
    """What somebody else may change is told apart from what can't come true."""
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    pod = _pod(status={"conditions": [{**condition, "message": "0/1 nodes are available"}]})
    verdict = _judge(pod, kind="pod")
    assert verdict.stuck == "no node takes the pod 'web-1': 0/1 nodes are available"
    assert not verdict.hopeless
    assert "no secret" not in verdict.stuck
    assert "because" in _judge(_waits("CreateContainerConfigError"), kind="pod").stuck
    failure = {"type": "ReplicaFailure", "status": "True", "message": "quota exceeded"}
    found = _deployment(**{**_WHOLE, "availableReplicas": 0})
    found["status"]["conditions"] = [failure]
    assert _judge(found).stuck == "quota exceeded"


def test_pods() -> None:
    """A pod is done when it is ready or has ended well, and failed when it ended otherwise."""
    assert _judge(_pod(ready=True), kind="pod").is_done
    assert _judge(_pod(status={"phase": "Succeeded"}), kind="pod").is_done
    ended = {"terminated": {"exitCode": 3, "reason": "Error"}}
    statuses = [{"name": "c", "image": "web:1", "state": ended}]
    failed = _pod(status={"phase": "Failed", "containerStatuses": statuses})
    verdict = _judge(failed, kind="pod")
    assert verdict.hopeless == "it has failed: the container 'c' with exit code 3 (Error)"
    assert workloads.told(failed) == ["Pod web-1: Failed", "  c: Error, exit code 3"]
    leaving = _pod(ready=True, deletionTimestamp="now")
    assert _judge(leaving, kind="pod").hopeless == "it is being deleted"


def test_jobs() -> None:
    """A job is done when it is complete; that its pods fail is what it has a limit for."""
    job: dict[str, Any] = {"metadata": {"name": "web"}, "spec": {"completions": 2}, "status": {}}
    assert _judge(job, _waits("CrashLoopBackOff"), kind="job") == Verdict(False, 0, 2)
    assert _judge(job, _waits("ErrImageNeverPull"), kind="job").hopeless
    job["status"] = {"conditions": [{"type": "Failed", "status": "True", "message": "too often"}]}
    assert _judge(job, kind="job").hopeless == "it has failed: too often"
    job["status"] = {"succeeded": 2, "conditions": [{"type": "Complete", "status": "True"}]}
    assert _judge(job, kind="job") == Verdict(True, 2, 2)


def test_services() -> None:
    """A service is done with one endpoint that is ready, or as many as the caller asks for."""
    found = {"metadata": {"name": "web"}, "spec": {}}
    assert not _judge(found, kind="service").is_done
    assert _judge(found, kind="service", ready_endpoints=1).is_done
    assert not _judge(found, kind="service", ready_endpoints=1, replicas=2).is_done


def test_newest_revision() -> None:
    """The pods that an update replaces don't count: they may be why there is one."""

    def owned(name: str, by: str, revision: str = "") -> dict[str, Any]:
        key = "deployment.kubernetes.io/revision"
        meta = {"name": name, "uid": name, "ownerReferences": [{"uid": by}]}
        return {"metadata": {**meta, "annotations": {key: revision}}}

    deployment = owned("web", "", "2")
    sets = [owned("old", "web", "1"), owned("new", "web", "2"), owned("other", "else", "2")]
    pods = [owned("a", "old"), owned("b", "new"), owned("c", "other")]
    assert workloads.of_newest(sets, deployment, pods) == [pods[1]]
