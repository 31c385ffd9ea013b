"""The wait for a new daemon: a race of a good ping, the container's end, and the deadline."""

from __future__ import annotations

import io
import itertools
import time
import warnings
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..engine import denials
from ..errors import (
    DaemonExited,
    DaemonUnhealthy,
    DindError,
    DindWarning,
    ImageUnavailable,
    NotShared,
    StartTimeout,
)
from ..lifetime import layout
from ..lifetime.files import Directory, Files

# Codes of supervise.sh, and what stands for none at all.
_NO_DOCKERD = 127
_GONE = -1

_LAST_LINES = 20
"""How much of the log errors show."""

# A look at the container costs the engine some milliseconds.
_LOOK_AT_CONTAINER_SECONDS = 0.25
_PING_SECONDS = 1

# moby's storage drivers that have no copy-on-write: each layer is a whole copy of the one below.
_COPYING_DRIVERS = ("vfs", "native")

# docker.constants.MINIMUM_DOCKER_API_VERSION, here so that the text can name a remedy.
_OLDEST_API = (1, 24)


def log(files: Files, tail: int | None = _LAST_LINES) -> str:
    """The last `tail` lines of the daemon's log, or all of it."""
    return "".join(deque(io.StringIO(files.read(layout.LOG) or ""), maxlen=tail))


def _last_words(files: Files) -> str:
    """The log's end, but for the pages on its options that dockerd prints when it refuses one."""
    said = log(files, None).partition("\nUsage:")[0]
    return "\n".join(said.splitlines()[-_LAST_LINES:])


def exit_code(files: Files) -> int | None:
    """The code the daemon ended with, or None while it has not."""
    try:
        return int(files.read(layout.EXIT) or "")
    except ValueError:
        return None


def wait_until_ready(
    subject: str,
    files: Files,
    ping: Callable[[float], str | None],
    *,
    poll_seconds: float = 0.01,
    timeout: float,
    spent: float = 0,
    gone: Callable[[], bool],
    awaited: Callable[[], bool] = lambda: True,
    remedy: Sequence[str] = (),
) -> str:
    """Wait until the daemon answers, has ended, or the deadline has passed.

    Args:
        subject: What is waited for, for error texts.
        files: The daemon's files.
        ping: Asks the daemon for the newest API version it speaks, for at most so many seconds.
        poll_seconds: What passes between two looks.
        timeout: Seconds from the request to the deadline.
        spent: Seconds of these that are gone already.
        gone: Whether the container has ended without a word, asked now and then.
        awaited: What must have come to pass besides.
        remedy: What else can be done about a daemon that is not ready in time.

    Returns:
        The newest API version the daemon speaks.

    Raises:
        DaemonExited: it ended first.
        StartTimeout: the deadline came first.
    """
    # Late, since who reads a log or loads the plugin waits for nothing.
    from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

    looks = itertools.count(1)
    between = max(1, round(_LOOK_AT_CONTAINER_SECONDS / poll_seconds))
    deadline = time.monotonic() + timeout - spent

    def look() -> str | None:
        # dockerd listens long before it serves: a ping may hang until then.
        patience = min(_PING_SECONDS, deadline - time.monotonic())
        answer = ping(max(patience, poll_seconds)) if awaited() else None
        if answer is not None:
            return answer
        code = exit_code(files)
        if code is None and next(looks) % between == 0 and gone():
            # The end may have come between the two looks: the code is written before it.
            code = exit_code(files)
            code = _GONE if code is None else code
        if code is not None:
            raise _exited(subject, files, code)
        return None

    waiting = Retrying(
        stop=stop_after_delay(timeout - spent),
        wait=wait_fixed(poll_seconds),
        retry=retry_if_result(lambda answer: answer is None),
        retry_error_callback=lambda state: None,
    )
    api_version = waiting(look)
    if api_version is None:
        cause, ways_on = _denied(files)
        raise StartTimeout(
            f"{subject} was not ready after {timeout:g} s{cause}.",
            evidence=log(files) or "The daemon has logged nothing yet.",
            remedy=[
                *ways_on,
                *remedy,
                "Give it longer: --dind-timeout SECONDS.",
                "Look for what holds it up in the log lines above.",
            ],
        )
    return str(api_version)


def _exited(subject: str, files: Files, code: int) -> DindError:
    if isinstance(files, Directory) and files.read(layout.LOG) is None:
        return NotShared(
            f"{subject} does not see the directory {files.path} of this process.",
            evidence="Its container ended before it could write there.",
            remedy=[
                "Run the tests on the engine's own machine.",
                "If they run in a container that has the engine's socket mounted, mount the "
                "temp dir into it under the same path.",
                *(_SELINUX_HIDES if denials.enforces_selinux() else ()),
            ],
        )
    if code == _NO_DOCKERD:
        return ImageUnavailable(
            f"{subject} cannot start: its image has no dockerd.",
            evidence=log(files) or "No dockerd was found in the image's PATH.",
            remedy=["Name a Docker-in-Docker image: --dind-image docker:dind."],
        )
    how = "without an exit code" if code == _GONE else f"with exit code {code}"
    cause, remedy = _denied(files)
    return DaemonExited(
        f"{subject} ended {how} before it was ready{cause}.",
        evidence=_last_words(files) or "The daemon has logged nothing.",
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


def _denied(files: Files) -> tuple[str, Sequence[str]]:
    """What a security module has to do with it, by the daemon's log: the cause, and the ways on."""
    denial = denials.recognized(log(files))
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
