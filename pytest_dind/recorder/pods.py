"""The sections that a test's report has on pods: those of its namespaces that are not well."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ..causes import cause_of
from ..kubernetes import evidence, workloads
from .sections import PREFIX, Section
from .text import Secrets, last_lines, line_of

if TYPE_CHECKING:
    from ..kubernetes.api import Api

_MOST_PODS = 8


def sections(
    api: Api, cluster: str, namespaces: Iterable[str], lines: int, secrets: Secrets
) -> dict[str, list[Section]]:
    """Return the sections on namespaces: one for each pod that is not well, and one on warnings.

    Args:
        api: The cluster's API.
        cluster: The cluster's name.
        namespaces: The namespaces.
        lines: How many lines of each log are shown.
        secrets: What is masked.

    Returns:
        Those of each namespace, by its name. A cluster that does not answer is told of once.
    """
    from requests.exceptions import RequestException

    from ..errors import DindError
    from ..kubernetes.api import Refused

    found: dict[str, list[Section]] = {}
    for namespace in namespaces:
        try:
            found[namespace] = _of_namespace(api, namespace, lines, secrets)
        except (DindError, RequestException, Refused) as error:
            title = f"{PREFIX}pods of cluster {cluster!r}, which does not answer"
            said = [line_of(line, secrets) for line in str(error).splitlines()]
            found[namespace] = [(title, _text(said))]
            break
    return found


def _of_namespace(api: Api, namespace: str, lines: int, secrets: Secrets) -> list[Section]:
    items = api.get(workloads.place(workloads.POD, namespace))["items"]
    warnings = evidence.warnings(api, namespace)
    bad = evidence.unwell(items)
    found = [
        _of_pod(api, pod, warnings.get(pod["metadata"]["name"], []), lines, secrets)
        for pod in bad[:_MOST_PODS]
    ]
    # Such as those of a replica set that can't make a pod; what its pods say is said by now.
    pods = {pod["metadata"]["name"] for pod in items}
    rest = [line for name, told in warnings.items() if name not in pods for line in told]
    if len(bad) > _MOST_PODS:
        rest.insert(0, f"{len(bad) - _MOST_PODS} more pods that are not well have no section.")
    if rest:
        title = f"{PREFIX}events of namespace {namespace!r}"
        found.append((title, _text(line_of(line, secrets) for line in rest)))
    return found


def _of_pod(
    api: Api, pod: Mapping[str, Any], warnings: Iterable[str], lines: int, secrets: Secrets
) -> Section:
    metadata = pod["metadata"]
    container, said = evidence.last_lines(api, pod, lines) if lines else ("", "")
    told = [*workloads.told(pod), *warnings]
    cause = cause_of("\n".join([*told, said]))
    if cause is not None:
        told.append(f"Known cause: {cause.meaning}.")
    shown = [line_of(part, secrets) for line in told for part in line.split("\n")]
    if said:
        shown += [f"Last log lines of {container!r}:", *last_lines(said, lines, secrets)]
    where = f"in namespace {metadata['namespace']!r}"
    title = f"{PREFIX}log of pod {metadata['name']!r} {where}, {_state(pod)}"
    return line_of(title, secrets), _text(shown)


def _state(pod: Mapping[str, Any]) -> str:
    """Return a pod's state in a few words."""
    status = pod.get("status") or {}
    for one in workloads.container_statuses(pod):
        state = one.get("state") or {}
        waiting = (state.get("waiting") or {}).get("reason")
        # What each pod does first.
        if waiting and waiting not in ("ContainerCreating", "PodInitializing"):
            return f"which waits: {waiting}"
        code = (state.get("terminated") or {}).get("exitCode")
        if code:
            return f"exited with code {code}"
    for one in status.get("conditions") or []:
        if one["type"] == "PodScheduled" and one["status"] == "False":
            return "which no node takes"
    phase = str(status.get("phase", "unknown")).lower()
    return "running but not ready" if phase == "running" else phase


def _text(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
