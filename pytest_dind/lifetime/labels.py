"""The labels by which this plugin's containers and volumes are known on the outer engine."""

from __future__ import annotations

import getpass
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path

RUN = "pytest-dind.run"
OWNER = "pytest-dind.owner"
PROCESS = "pytest-dind.process"
ROLE = "pytest-dind.role"
CREATED = "pytest-dind.created"
MODE = "pytest-dind.mode"
KEEP = "pytest-dind.keep"
CACHE = "pytest-dind.cache"
"""The key of the golden root that a daemon has, or that is made of it."""
HOME = "pytest-dind.home"
IMAGE = "pytest-dind.image"
"""On the warm store's volume: an image that has what it takes to look into it."""


def owner() -> str:
    """Host and user, as labels have them."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a uid without a name, as in many CI containers
        user = str(os.getuid())
    return f"{socket.gethostname()},{user}"


def process() -> str:
    """This process, so that no other can be taken for it: boot, pid namespace, pid, start time.

    Empty where there is no /proc (macOS).
    """
    started = _started(os.getpid())
    return f"{_machine()} {os.getpid()} {started}" if started else ""


def is_gone(label: str) -> bool:
    """Whether the process that `process` described is provably gone.

    It is not while it may be one of another machine, another boot, or another pid namespace.
    """
    described = _described(label)
    return described is not None and _started(described[0]) != described[1]


def pid(label: str) -> int | None:
    """The pid of the process that `process` described; None where it is not here any more."""
    described = _described(label)
    return described[0] if described and _started(described[0]) == described[1] else None


def _described(label: str) -> tuple[int, str] | None:
    """The pid and the start time that `process` told, if that was on this machine."""
    machine, _, rest = label.partition(" ")
    number, _, started = rest.partition(" ")
    if not (started and number.isdecimal()) or machine != _machine():
        return None
    return int(number), started


def created(ours: Mapping[str, str]) -> float:
    """When what has these labels was made, in seconds since 1970; now, where they don't say."""
    text = ours.get(CREATED, "")
    return float(text) if text.isdecimal() else time.time()


def _machine() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _started(pid: int) -> str:
    """A process's start time in clock ticks since boot (proc(5), stat, field 22); "" if gone."""
    try:
        # The second field, the command's name in brackets, may hold anything.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def make(run: str, *, mode: str, keep: str, home: Path, cache: str = "") -> dict[str, str]:
    """The labels of a daemon's container and volume."""
    return {
        RUN: run,
        OWNER: owner(),
        PROCESS: process(),
        ROLE: "daemon",
        CREATED: str(int(time.time())),
        MODE: mode,
        KEEP: keep,
        HOME: str(home),
        CACHE: cache,
    }


def of_store(image: str) -> dict[str, str]:
    """The labels of the warm store's volume, which belongs to no run and so is never swept."""
    return {OWNER: owner(), ROLE: "cache", CREATED: str(int(time.time())), IMAGE: image}
