"""Mode sysbox: a container without privilege, under the `sysbox-runc` runtime."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..causes import cause_of
from ..engine import versions
from ..errors import ImageUnavailable
from ..lifetime import layout
from .container import ContainerBackend
from .probe import LEASE_SEEN, SEE_LEASE, Obstacle, unshared
from .spec import ContainerMode

if TYPE_CHECKING:
    from ..engine.engine import Engine
    from .probe import Probe

RUNTIME = "sysbox-runc"
ISOLATES = True

# A container of Sysbox sees its root mapped to another user than the host's root, and files of
# /proc and /sys that sysbox-fs emulates. Being registered under the name proves nothing.
_LOOK = (
    f"cat /proc/self/uid_map /proc/self/mountinfo; [ ! -e {layout.IN_CONTAINER} ] || {SEE_LEASE}"
)
_EMULATED = "sysboxfs"

# runc 1.3.3, which Docker has from 28.5.2 on, checks its /proc mounts more strictly than releases
# of Sysbox before 0.7.0 can stand.
_STRICT_DOCKER = versions.NEEDS_SYSBOX_0_7.since
_STRICT_SYSBOX = (0, 7, 0)
_ASK_DOCKER = "timeout 5 dockerd --version"

_ALTERNATIVES = [
    "Install Sysbox on the engine's machine: https://github.com/nestybox/sysbox.",
    "Let the plugin choose: --dind-mode auto takes Sysbox where it works.",
    "Use a privileged container instead: --dind-mode dind.",
]
_RESTART = "Start Sysbox's services on the engine's machine: sudo systemctl restart sysbox."


def make(engine: Engine) -> ContainerBackend:
    """The backend on this outer engine."""
    mode = ContainerMode(
        "sysbox", host_config={"runtime": RUNTIME}, user_namespace=True, judge=_judge
    )
    return ContainerBackend(engine, mode)


def proved_by_start(engine: Engine) -> bool:
    """Whether a daemon's own container may be the proof: it sees the same as a probe's.

    It does not show that Sysbox is too old for its Docker: a daemon starts then, but no nested
    container does.
    """
    runtimes = _runtimes(engine)
    return RUNTIME in runtimes and not _is_old(_installed(runtimes))


def check(engine: Engine, probe: Probe) -> Obstacle | None:
    """The obstacle to Sysbox on this engine; None where a container proved that it works.

    The container is to see this process's directories, unless daemons are reached over TLS instead.
    Where the runtime isn't registered, this costs one question to the engine.
    """
    runtimes = _runtimes(engine)
    if RUNTIME not in runtimes:
        return _obstacle(
            f"the runtime {RUNTIME} is not registered",
            f"The engine's runtimes: {', '.join(sorted(runtimes))}.",
        )
    sysbox = _installed(runtimes)
    is_old = _is_old(sysbox)
    look = f"{_LOOK}; {_ASK_DOCKER}" if is_old else _LOOK
    shares = not engine.unshared
    result = probe(["sh", "-c", f"{look}; true"], shares=shares, runtime=RUNTIME)
    if result.ran:
        obstacle = _judge(result.output) or (_too_old(sysbox, result.output) if is_old else None)
        if obstacle is None and LEASE_SEEN not in result.output:
            obstacle = unshared(engine)
        if obstacle is None:
            probe.keep(result)
        return obstacle
    if result.hangs:
        return _obstacle(f"a container under {RUNTIME} hangs", result.output, _RESTART)
    known = cause_of(result.output)
    if known is not None:
        return _obstacle(known.meaning, result.output, *known.remedy)
    from ..causes.refusals import NO_SHELL

    if NO_SHELL.is_in(result.output):
        raise ImageUnavailable(
            "The daemon's image has no shell.",
            evidence=result.output,
            remedy=["Name a Docker-in-Docker image: --dind-image docker:dind."],
        )
    for pattern, cause, remedy in _FAILURES:
        if re.search(pattern, result.output):
            return _obstacle(cause, result.output, remedy)
    return _obstacle(f"{RUNTIME} cannot run a container", result.output, _RESTART)


check_thoroughly = check
"""The doctor gives the same answer as `auto`."""


def _judge(seen: str) -> Obstacle | None:
    """The obstacle in the output of `_LOOK` in a container under the runtime."""
    uid_map = re.match(r"\s*(\d+)\s+(\d+)\s+(\d+)\n", seen)
    if uid_map is None:
        return _obstacle(
            f"a container under {RUNTIME} does not do what it is told",
            f"It wrote: {seen.strip()}" if seen.strip() else "It wrote nothing.",
            _RESTART,
        )
    if uid_map.group(1, 2) == ("0", "0"):
        return _obstacle(
            f"what is registered as {RUNTIME} is not Sysbox",
            f"In its container root is the host's root (uid_map: {' '.join(uid_map.groups())}).",
            f"Register the real {RUNTIME} in the engine's daemon.json, and restart the engine.",
        )
    if _EMULATED not in seen:
        return _obstacle(
            f"what is registered as {RUNTIME} is not Sysbox, or sysbox-fs is down",
            "Its container has a user namespace, but no sysboxfs mounts.",
            _RESTART,
        )
    if max(os.getuid(), os.getgid()) >= int(uid_map[3]):
        return Obstacle(
            f"{RUNTIME} gives its containers no access to what this user owns",
            f"It maps ids below {uid_map[3]}; this user has uid {os.getuid()}, gid {os.getgid()}.",
            (f"Run the tests as a user whose ids are below {uid_map[3]}.", *_ALTERNATIVES[1:]),
        )
    return None


def _too_old(sysbox: str, seen: str) -> Obstacle | None:
    """The obstacle of an old Sysbox, if the output shows a Docker that is too new for it."""
    docker = re.search(r"^Docker version (\d[^\s,]*)", seen, re.MULTILINE)
    if docker is None or _version(docker[1]) < _STRICT_DOCKER:
        return None
    return Obstacle(
        f"Sysbox {sysbox} is too old for the daemon's Docker {docker[1]}",
        f"Docker {_dotted(_STRICT_DOCKER)} and later need Sysbox {_dotted(_STRICT_SYSBOX)}.",
        (
            f"Update Sysbox to {_dotted(_STRICT_SYSBOX)} or later.",
            "Use an older image for the daemon: --dind-image docker:28.5.1-dind.",
            *_ALTERNATIVES[1:],
        ),
    )


def _runtimes(engine: Engine) -> dict[str, Any]:
    info = engine.client.info()
    # A daemon's start would ask for it again.
    engine.keep_info(info)
    return info.get("Runtimes") or {}


def _installed(runtimes: Mapping[str, Any]) -> str:
    return installed(str(runtimes[RUNTIME].get("path", "")))


def _is_old(sysbox: str) -> bool:
    return bool(sysbox) and _version(sysbox) < _STRICT_SYSBOX


def _obstacle(cause: str, evidence: str, *remedy: str) -> Obstacle:
    return Obstacle(cause, evidence, (*remedy, *_ALTERNATIVES))


# Texts of Docker and sysbox-runc, with the cause and first remedy.
_FAILURES = [
    (
        r"no such file or directory|executable file not found|fork/exec",
        f"{RUNTIME} is registered, but its program is missing",
        f"Correct the path of {RUNTIME} in the engine's daemon.json, and restart the engine.",
    ),
]


def installed(runtime: str) -> str:
    """The version of Sysbox, by its runtime at this path; empty where it can't be asked."""
    if not Path(runtime).is_absolute():
        return ""
    try:
        said = subprocess.run(
            [runtime, "--version"], capture_output=True, errors="replace", timeout=5, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
    match = re.search(r"^\s*version:?\s+v?(\d+(\.\d+)+)", said, re.MULTILINE)
    return match[1] if match else ""


def _version(text: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", text)[:3]))


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
