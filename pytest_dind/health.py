"""The wait for a new daemon: a race of a good ping, the container's end, and the deadline."""

from __future__ import annotations

import itertools
import time
import warnings
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from . import security
from .errors import (
    DaemonExited,
    DaemonUnhealthy,
    DindError,
    DindWarning,
    EngineUnavailable,
    ImageUnavailable,
    StartTimeout,
)
from .transport import ping

LOG = "log"
"""The daemon's log, in its home."""
EXIT = "exit"
"""The daemon's exit code, in its home once it has ended."""

# Codes of supervise.sh, and what stands for none at all.
_NO_DOCKERD = 127
_GONE = -1

_LAST_LINES = 20
"""How much of the log errors show."""

# A look at a unix socket costs some microseconds; one at the container some milliseconds.
_POLL_SECONDS = 0.01
_POLLS_PER_LOOK_AT_CONTAINER = 25
_PING_SECONDS = 1

# moby's storage drivers that have no copy-on-write: each layer is a whole copy of the one below.
_COPYING_DRIVERS = ("vfs", "native")

# docker.constants.MINIMUM_DOCKER_API_VERSION, here so that the text can name a remedy.
_OLDEST_API = (1, 24)


def log(home: Path, tail: int | None = _LAST_LINES) -> str:
    """The last `tail` lines of the daemon's log, or all of it."""
    try:
        with (home / LOG).open(encoding="utf-8", errors="replace") as lines:
            return "".join(deque(lines, maxlen=tail))
    except OSError:
        return ""


def _last_words(home: Path) -> str:
    """The log's end, but for the pages on its options that dockerd prints when it refuses one."""
    said = log(home, None).partition("\nUsage:")[0]
    return "\n".join(said.splitlines()[-_LAST_LINES:])


def exit_code(home: Path) -> int | None:
    """The code the daemon ended with, or None while it has not."""
    try:
        return int((home / EXIT).read_text())
    except (OSError, ValueError):
        return None


def wait_until_ready(
    subject: str,
    home: Path,
    host: str,
    *,
    timeout: float,
    spent: float = 0,
    gone: Callable[[], bool],
    awaited: Callable[[], bool] = lambda: True,
) -> str:
    """Wait until the daemon answers, has ended, or the deadline has passed.

    Args:
        subject: What is waited for, for error texts.
        home: The directory shared with the daemon's container.
        host: The daemon's URL.
        timeout: Seconds from the request to the deadline.
        spent: Seconds of these that are gone already.
        gone: Whether the container has ended without a word, asked now and then.
        awaited: What must have come to pass besides.

    Returns:
        The newest API version the daemon speaks.

    Raises:
        DaemonExited: it ended first.
        StartTimeout: the deadline came first.
    """
    # Late, since who reads a log or loads the plugin waits for nothing.
    from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

    looks = itertools.count(1)
    deadline = time.monotonic() + timeout - spent

    def look() -> str | None:
        # dockerd listens long before it serves: a ping may hang until then.
        patience = min(_PING_SECONDS, deadline - time.monotonic())
        answer = ping(host, timeout=max(patience, _POLL_SECONDS)) if awaited() else None
        if answer is not None:
            return answer
        code = exit_code(home)
        if code is None and next(looks) % _POLLS_PER_LOOK_AT_CONTAINER == 0 and gone():
            # The end may have come between the two looks: the code is written before it.
            code = exit_code(home)
            code = _GONE if code is None else code
        if code is not None:
            raise _exited(subject, home, code)
        return None

    waiting = Retrying(
        stop=stop_after_delay(timeout - spent),
        wait=wait_fixed(_POLL_SECONDS),
        retry=retry_if_result(lambda answer: answer is None),
        retry_error_callback=lambda state: None,
    )
    api_version = waiting(look)
    if api_version is None:
        cause, remedy = _denied(home)
        raise StartTimeout(
            f"{subject} was not ready after {timeout:g} s{cause}.",
            evidence=log(home) or "The daemon has logged nothing yet.",
            remedy=[
                *remedy,
                "Give it longer: --dind-timeout SECONDS.",
                "Look for what holds it up in the log lines above.",
            ],
        )
    return str(api_version)


def _exited(subject: str, home: Path, code: int) -> DindError:
    if not (home / LOG).exists():
        return EngineUnavailable(
            f"{subject} does not see the directory {home} of this process.",
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
            evidence=log(home) or "No dockerd was found in the image's PATH.",
            remedy=["Name a Docker-in-Docker image: --dind-image docker:dind."],
        )
    how = "without an exit code" if code == _GONE else f"with exit code {code}"
    cause, remedy = _denied(home)
    return DaemonExited(
        f"{subject} ended {how} before it was ready{cause}.",
        evidence=_last_words(home) or "The daemon has logged nothing.",
        remedy=[
            *remedy,
            "Mend what its last log lines say; a --dind-arg that dockerd refuses is a usual cause.",
            "Try the image without the plugin: docker run --rm --privileged IMAGE dockerd.",
        ],
    )


# A container with a label may not read what has a user's label, as files in the temp dir do; a
# --privileged one has no such label.
_SELINUX_HIDES = (
    "SELinux enforces its policy here, and may hide the directory from a container without "
    '--privileged: use --dind-mode dind, or set "selinux-enabled": false in daemon.json.',
)


def _denied(home: Path) -> tuple[str, Sequence[str]]:
    """What a security module has to do with it, by the daemon's log: the cause, and the ways on."""
    denial = security.recognized(log(home))
    return (f". {denial.cause}", denial.remedy) if denial else ("", ())


def check(subject: str, info: Mapping[str, Any], api_version: str) -> None:
    """Check what a daemon that answers says of itself.

    Raises:
        DaemonUnhealthy: its API is too old.

    Warns:
        DindWarning: its storage driver copies whole layers.
    """
    if tuple(map(int, api_version.split("."))) < _OLDEST_API:
        oldest = ".".join(map(str, _OLDEST_API))
        raise DaemonUnhealthy(
            f"{subject} speaks an API too old to work with.",
            evidence=f"Its API version is {api_version}; the oldest supported is {oldest}.",
            remedy=["Use a newer image: --dind-image docker:dind."],
        )
    driver = info.get("Driver")
    if driver in _COPYING_DRIVERS:
        warnings.warn(
            f"{subject} uses the storage driver {driver}, which copies each layer whole: slow, and "
            "large on disk. Keep the engine's data on a file system that overlay works on (ext4, "
            "xfs), or name a driver that works there: --dind-arg=--storage-driver=fuse-overlayfs.",
            DindWarning,
            stacklevel=2,
        )
