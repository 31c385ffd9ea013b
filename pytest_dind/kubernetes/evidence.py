"""What a cluster says of pods that are not well: their warnings, and their last log lines."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from typing import Any

from . import workloads
from .api import Api, Refused

_EVENTS = "/api/v1/namespaces/{namespace}/events"
_MOST_EVENTS = 6


def unwell(pods: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Those of these pods that are neither ready, nor have ended well, nor are to go."""
    return [
        pod
        for pod in pods
        if not workloads.is_ready(pod)
        and not pod["metadata"].get("deletionTimestamp")
        and (pod.get("status") or {}).get("phase") != "Succeeded"
    ]


def warnings(api: Api, namespace: str, name: str = "") -> dict[str, list[str]]:
    """The warnings among a namespace's events, in the order in which they came; the last of each.

    Args:
        api: The cluster's API.
        namespace: The namespace.
        name: The name of the object that they are about; empty for all.

    Returns:
        A line for each, by the name of what it is about; none where the API refuses to tell.
    """
    about = f"involvedObject.name={name}," if name else ""
    found: dict[str, list[str]] = {}
    with contextlib.suppress(Refused):
        items = api.get(_EVENTS.format(namespace=namespace), fieldSelector=f"{about}type=Warning")[
            "items"
        ]
        for one in items:
            subject = str((one.get("involvedObject") or {}).get("name", name))
            text = f"Event of {subject}: {one.get('reason')}: {one.get('message')}"
            found.setdefault(subject, []).append(text)
    return {subject: lines[-_MOST_EVENTS:] for subject, lines in found.items()}


def last_lines(api: Api, pod: Mapping[str, Any], lines: int) -> tuple[str, str]:
    """The last lines that a container of a pod wrote, the first that is not well and wrote some.

    Of one that was started again, that is what it wrote before it ended.

    Returns:
        The container's name, and the lines; both empty where there are none.
    """
    metadata = pod["metadata"]
    path = f"{workloads.place(workloads.POD, metadata['namespace'])}/{metadata['name']}/log"
    for one in workloads.container_statuses(pod):
        state, last = one.get("state") or {}, one.get("lastState") or {}
        if one.get("ready") or not ({"terminated", "running"} & state.keys() or last):
            continue
        query = {"container": one["name"], "tailLines": str(lines)}
        if "terminated" in last and "terminated" not in state:
            query["previous"] = "true"
        with contextlib.suppress(Refused):
            said = api.text(path, **query).rstrip()
            if said:
                return one["name"], said
    return "", ""
