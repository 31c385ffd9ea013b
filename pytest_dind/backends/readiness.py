"""Readiness: the race of a daemon's first answer, its container's end, and the deadline."""

from __future__ import annotations

import io
import itertools
import time
import warnings
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..causes import explained
from ..engine import versions
from ..engine.polling import poll
from ..errors import (
    DaemonExited,
    DaemonUnhealthy,
    DindError,
    DindWarning,
    ImageUnavailable,
    ModeUnavailable,
    NotShared,
    StartTimeout,
)
from ..lifetime import layout
from ..lifetime.files import Directory, Files
from . import rootless

# Exit codes of supervise.sh, and one that stands for none at all.
_NO_CONTROL_GROUPS = 124
_NO_DOCKERD = 127
_GONE = -1

_LAST_LINES = 20
"""The lines of the log that errors show."""

# A look at the container costs the engine some milliseconds.
_LOOK_AT_CONTAINER_SECONDS = 0.25
_PING_SECONDS = 1

# moby's storage drivers that have no copy-on-write: each layer is a whole copy of the one below.
_COPYING_DRIVERS = ("vfs", "native")


def log(files: Files, tail: int | None = _LAST_LINES) -> str:
    """The last `tail` lines of the daemon's log, or all of it."""
    return "".join(deque(io.StringIO(files.read(layout.LOG) or ""), maxlen=tail))


def _last_words(files: Files) -> str:
    """The log's end, without the list of all options that dockerd prints when it refuses one."""
    said = log(files, None).partition("\nUsage:")[0]
    return "\n".join(said.splitlines()[-_LAST_LINES:])


def exit_code(files: Files) -> int | None:
    """The code the daemon ended with; None while it runs."""
    try:
        return int(files.read(layout.EXIT) or "")
    except ValueError:
        return None


@dataclass(frozen=True)
class Watched:
    """A daemon that starts, with the ways to look at it.

    Attributes:
        subject: The daemon, for error texts.
        files: Its files.
        ping: Asks it for the newest API version it speaks, for at most so many seconds.
        is_gone: Whether its container has ended without an exit code; asked now and then.
        poll_seconds: The time between two looks.
        counts: Whether what answers from now on is the awaited daemon; asked once there is an
            answer. None where any is.
        remedy: Further remedies for a daemon that is not ready in time.
        tick: Called at each look.
    """

    subject: str
    files: Files
    ping: Callable[[float], str | None]
    is_gone: Callable[[], bool]
    poll_seconds: float = 0.01
    counts: Callable[[], object] | None = None
    remedy: Sequence[str] = ()
    tick: Callable[[], object] = bool


def wait_until_ready(watched: Watched, *, timeout: float, spent: float = 0) -> str:
    """Wait until a daemon answers, has ended, or its time is up.

    Args:
        watched: The daemon.
        timeout: Seconds from the request to the deadline.
        spent: Seconds of these that are gone already.

    Returns:
        The newest API version that the daemon speaks.

    Raises:
        DaemonExited: it ended first.
        StartTimeout: the deadline came first.
    """
    subject, files, every = watched.subject, watched.files, watched.poll_seconds
    looks = itertools.count(1)
    between = max(1, round(_LOOK_AT_CONTAINER_SECONDS / every))
    deadline = time.monotonic() + timeout - spent

    def look() -> str | None:
        watched.tick()
        # dockerd listens long before it serves: a ping may hang until then.
        patience = min(_PING_SECONDS, deadline - time.monotonic())
        answer = watched.ping(max(patience, every))
        if answer is not None and watched.counts is not None:
            # What has answered may be the one before, which is gone by now if this one counts.
            answer = watched.ping(max(patience, every)) if watched.counts() else None
        if answer is not None:
            return answer
        code = exit_code(files)
        if code is None and next(looks) % between == 0 and watched.is_gone():
            # The end may have come between the two looks: the code is written before it.
            code = exit_code(files)
            code = _GONE if code is None else code
        if code is not None:
            raise _exited(subject, files, code)
        return None

    api_version = poll(look, seconds=timeout - spent, every=every)
    if api_version is None:
        error = StartTimeout(
            f"{subject} was not ready after {timeout:g} s.",
            evidence=log(files) or "The daemon has logged nothing yet.",
            remedy=[
                *watched.remedy,
                "Give it longer: --dind-timeout SECONDS.",
                "Look for what holds it up in the log lines above.",
            ],
        )
        raise explained(error, worse=True)
    return api_version


def _exited(subject: str, files: Files, code: int) -> DindError:
    if isinstance(files, Directory) and files.read(layout.LOG) is None:
        from ..causes import security

        return NotShared(
            f"{subject} does not see the directory {files.path} of this process.",
            evidence="Its container ended before it could write there.",
            remedy=[
                "Run the tests on the engine's own machine.",
                "If they run in a container that has the engine's socket mounted, mount the "
                "temp dir into it under the same path.",
                *(_SELINUX_HIDES if security.enforces_selinux() else ()),
            ],
        )
    if code == _NO_DOCKERD:
        return ImageUnavailable(
            f"{subject} cannot start: its image has no dockerd.",
            evidence=log(files) or "No dockerd was found in the image's PATH.",
            remedy=["Name a Docker-in-Docker image: --dind-image docker:dind."],
        )
    if code == _NO_CONTROL_GROUPS:
        found = rootless.obstacle(_last_words(files))
        what = f"Daemons can't be had: {found.cause}."
        return ModeUnavailable(what, evidence=found.evidence, remedy=found.remedy)
    how = "without an exit code" if code == _GONE else f"with exit code {code}"
    error = DaemonExited(
        f"{subject} ended {how} before it was ready.",
        evidence=_last_words(files) or "The daemon has logged nothing.",
        remedy=[
            "Mend what its last log lines say; a --dind-arg that dockerd refuses is a usual cause.",
            "Try the image without the plugin: docker run --rm --privileged IMAGE dockerd.",
        ],
    )
    return explained(error)


# A labelled container may not read files with a user's label, such as those in the temp dir; a
# --privileged one has no such label.
_SELINUX_HIDES = (
    "SELinux enforces its policy here, and may hide the directory from a container without "
    '--privileged: use --dind-mode dind, or set "selinux-enabled": false in daemon.json.',
)


def check(subject: str, info: Mapping[str, Any], api_version: str) -> None:
    """Check the API version and the storage driver of a daemon that answers.

    Raises:
        DaemonUnhealthy: its API is too old.

    Warns:
        DindWarning: its storage driver copies whole layers.
    """
    if versions.api(api_version) < versions.OLDEST_API:
        oldest = versions.dotted(versions.OLDEST_API)
        raise DaemonUnhealthy(
            f"{subject} speaks an API too old to work with.",
            evidence=f"Its API version is {api_version}; the oldest supported is {oldest}.",
            remedy=["Use a newer image: --dind-image docker:dind."],
        )
    driver = info.get("Driver")
    if driver in _COPYING_DRIVERS:
        from ..causes.table import VFS

        warnings.warn(
            f"{subject} uses the storage driver {driver}, which copies each layer whole: slow, and "
            f"large on disk. {' Or: '.join(VFS.remedy)}",
            DindWarning,
            stacklevel=2,
        )
