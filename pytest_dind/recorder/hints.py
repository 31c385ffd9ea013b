"""What a container's state and log tell of why it failed, beyond what they say themselves."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..causes import cause_of

_KNOWN = "Known cause: "
_NO_SPACE = "no-space"
_IS_DIRECTORY = re.compile(r"\bis a directory$", re.IGNORECASE | re.MULTILINE)
_DEPENDS_ON = "com.docker.compose.depends_on"
_FAILED_LINE = re.compile(r" level=(error|fatal|panic) ")

Details = Mapping[str, Any]
"""A container, as the engine's API describes it."""


def of_daemon(log: str) -> Iterator[str]:
    """Return the known cause of what failed by a daemon's log, if it tells of one.

    What it says of less than failures, as of its start, is no cause of any.
    """
    failures = "\n".join(line for line in log.splitlines() if _FAILED_LINE.search(line))
    cause = cause_of(failures)
    if cause is not None:
        yield f"{_KNOWN}{cause.meaning}."


def of_container(said: str, details: Details) -> Iterator[str]:
    """Return the known cause of a container's failure, if what was said of it tells of one.

    Args:
        said: What the engine says of it, its log, and its health checks' outputs.
        details: The container.
    """
    cause = cause_of(said)
    full = [
        f"{target} ({options or 'half of the memory'})"
        for target, options in _tmpfs(details).items()
        if target in said
    ]
    if cause is not None and cause.name == _NO_SPACE and full:
        yield f"{_KNOWN}A tmpfs of the container is full: {', '.join(full)}."
    elif cause is not None:
        yield f"{_KNOWN}{cause.meaning}."
    elif _IS_DIRECTORY.search(said):
        sources = [mount.get("Source") for mount in _binds(details)]
        if sources:
            yield (
                f"{_KNOWN}A file that the daemon does not have becomes an empty directory when a "
                f"container binds it; the daemon has none of the tests' machine but by "
                f"--dind-mount: {', '.join(map(str, sources))}."
            )


def of_setup(details: Details) -> Iterator[str]:
    """Return what a container runs, what checks its health, and what it has in memory alone."""
    command = [details.get("Path") or "", *(details.get("Args") or [])]
    if any(command):
        # In one line, whatever it is.
        told = " ".join(filter(None, command)).replace("\n", "\\n")
        yield f"It runs: {told}"
    check = ((details.get("Config") or {}).get("Healthcheck") or {}).get("Test") or []
    if check and check[0] in ("CMD", "CMD-SHELL"):
        yield f"Its health check runs: {' '.join(check[1:])}"
    for target, options in _tmpfs(details).items():
        yield f"{target} is a tmpfs{f' ({options})' if options else ''}."


def of_waiting(details: Details) -> Iterator[str]:
    """Return what Compose waits for before it starts a container."""
    text = str(((details.get("Config") or {}).get("Labels") or {}).get(_DEPENDS_ON, ""))
    for one in filter(None, text.split(",")):
        service, _, rest = one.partition(":")
        condition = rest.partition(":")[0]
        yield f"Compose starts it after {service}{f' ({condition})' if condition else ''}."


def of_networks(log: Iterable[str], details: Details, others: Iterable[Details]) -> Iterator[str]:
    """Return which containers a log names that are in none of the container's networks.

    Args:
        log: The last lines of its log.
        details: The container.
        others: All containers.
    """
    own, text = _networks(details), "\n".join(log)
    for other in others:
        name, theirs = str(other.get("Name", "")).lstrip("/"), _networks(other)
        named = name and re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text)
        if own and theirs and own.isdisjoint(theirs) and named:
            yield (
                f"Its log names {name!r}, which is in none of its networks "
                f"({', '.join(sorted(own))}) but in {', '.join(sorted(theirs))}."
            )


def _networks(details: Details) -> set[str]:
    return {*((details.get("NetworkSettings") or {}).get("Networks") or {})}


def _tmpfs(details: Details) -> Mapping[str, str]:
    found: Mapping[str, str] = (details.get("HostConfig") or {}).get("Tmpfs") or {}
    return found


def _binds(details: Details) -> list[Mapping[str, Any]]:
    return [one for one in details.get("Mounts") or [] if one.get("Type") == "bind"]
