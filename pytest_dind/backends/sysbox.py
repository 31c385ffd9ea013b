"""Mode sysbox: the same container without privilege, under the `sysbox-runc` runtime."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ModeUnavailable
from .container import ContainerBackend
from .probe import Obstacle

if TYPE_CHECKING:
    from ..engine import Engine
    from .probe import Probe

RUNTIME = "sysbox-runc"
MODE = __name__.rpartition(".")[2]

# What a container of Sysbox sees: its root mapped to a user that isn't the host's, and files of
# /proc and /sys that sysbox-fs emulates. Being registered under the name proves nothing.
_LOOK = ["sh", "-c", "cat /proc/self/uid_map && cat /proc/self/mountinfo"]
_EMULATED = "sysboxfs"

# runc 1.3.3, which Docker has from 28.5.2 on, checks its /proc mounts more strictly than releases
# of Sysbox before 0.7.0 can stand.
_STRICT_DOCKER = (28, 5, 2)
_STRICT_SYSBOX = (0, 7, 0)

_WAYS_ON = [
    "Install Sysbox on the engine's machine: https://github.com/nestybox/sysbox.",
    "Let the plugin choose: --dind-mode auto takes Sysbox where it works.",
    "Use a privileged container instead: --dind-mode dind.",
]
_RESTART = "Start Sysbox's services on the engine's machine: sudo systemctl restart sysbox."


def make(engine: Engine) -> ContainerBackend:
    """The backend on this outer engine."""
    return ContainerBackend(
        engine, mode=MODE, host_config={"runtime": RUNTIME}, verify=_verify, user_namespace=True
    )


def why_not(engine: Engine, probe: Probe) -> Obstacle | None:
    """Why Sysbox can't be had on this engine; None where a container proved that it works.

    Where the runtime isn't registered, this costs one question to the engine.
    """
    runtimes = _runtimes(engine)
    if RUNTIME not in runtimes:
        return _obstacle(
            f"the runtime {RUNTIME} is not registered",
            f"The engine's runtimes: {', '.join(sorted(runtimes))}.",
        )
    sight = probe(_LOOK, runtime=RUNTIME)
    if sight.ran:
        return _judge(sight.output)
    if sight.hangs:
        return _obstacle(f"a container under {RUNTIME} hangs", sight.output, _RESTART)
    for pattern, cause, remedy in _FAILURES:
        if re.search(pattern, sight.output):
            return _obstacle(cause, sight.output, remedy)
    return _obstacle(f"{RUNTIME} cannot run a container", sight.output, _RESTART)


def _judge(seen: str) -> Obstacle | None:
    """What a container under the runtime saw: its uid_map, and then its mounts."""
    uid_map = seen.partition("\n")[0]
    inside, outside = uid_map.split()[:2]
    if inside == outside == "0":
        return _obstacle(
            f"what is registered as {RUNTIME} is not Sysbox",
            f"In its container root is the host's root (uid_map: {' '.join(uid_map.split())}).",
            f"Register the real {RUNTIME} in the engine's daemon.json, and restart the engine.",
        )
    if _EMULATED not in seen:
        return _obstacle(
            f"what is registered as {RUNTIME} is not Sysbox, or sysbox-fs is down",
            "Its container has a user namespace, but no sysboxfs mounts.",
            _RESTART,
        )
    return None


def _runtimes(engine: Engine) -> dict[str, Any]:
    return engine.client.info().get("Runtimes") or {}


def _obstacle(cause: str, evidence: str, *remedy: str) -> Obstacle:
    return Obstacle(cause, evidence, (*remedy, *_WAYS_ON))


# What the engine says (Docker's and sysbox-runc's own texts), the cause, and the first way on.
_FAILURES = [
    (
        r"sysbox-mgr|sysbox-fs|via grpc|Unavailable desc|connection refused",
        f"{RUNTIME} is registered, but its services are down",
        _RESTART,
    ),
    (
        r"no such file or directory|executable file not found|fork/exec",
        f"{RUNTIME} is registered, but its program is missing",
        f"Correct the path of {RUNTIME} in the engine's daemon.json, and restart the engine.",
    ),
]


def _verify(engine: Engine, info: Mapping[str, Any]) -> None:
    """Check that this Sysbox is recent enough for the Docker that runs in it.

    Raises:
        ModeUnavailable: it is not. An engine on another machine can't be asked for its Sysbox.
    """
    docker = _version(info["ServerVersion"])
    if docker < _STRICT_DOCKER:
        return
    sysbox = installed(str(_runtimes(engine).get(RUNTIME, {}).get("path", "")))
    if sysbox and _version(sysbox) < _STRICT_SYSBOX:
        raise ModeUnavailable(
            f"Sysbox {sysbox} is too old for the daemon's Docker {info['ServerVersion']}.",
            evidence=f"Docker {_dotted(_STRICT_DOCKER)} and later need Sysbox "
            f"{_dotted(_STRICT_SYSBOX)}.",
            remedy=[
                f"Update Sysbox to {_dotted(_STRICT_SYSBOX)} or later.",
                "Use an older image for the daemon: --dind-image docker:28.5.1-dind.",
                *_WAYS_ON[1:],
            ],
        )


def installed(runtime: str) -> str:
    """The version of the Sysbox whose runtime this is; empty where it can't be asked."""
    if not Path(runtime).is_absolute() or not Path(runtime).is_file():
        return ""
    try:
        said = subprocess.run(
            [runtime, "--version"], capture_output=True, text=True, timeout=5, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
    match = re.search(r"^\s*version:?\s+v?(\d+(\.\d+)+)", said, re.MULTILINE)
    return match[1] if match else ""


def _version(text: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", text)[:3]))


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
