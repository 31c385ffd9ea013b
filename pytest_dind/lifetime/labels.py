"""Labels: how this plugin knows its own containers, volumes and networks on the outer engine."""

from __future__ import annotations

import getpass
import os
import socket
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

RUN = "pytest-dind.run"
OWNER = "pytest-dind.owner"
PROCESS = "pytest-dind.process"
ROLE = "pytest-dind.role"
NODE = "node"
"""The value of `ROLE` of what a cluster's daemon has in it: its nodes, and what serves them."""
CREATED = "pytest-dind.created"
MODE = "pytest-dind.mode"
KEEP = "pytest-dind.keep"
CACHE = "pytest-dind.cache"
"""The key of the golden root that a daemon starts with, or that is made of its data-root."""
HOME = "pytest-dind.home"
"""The path of the daemon's home."""
CONTAINER = "pytest-dind.container"
"""The id of the engine's container that the run's processes are in, where they are in one."""
IMAGE = "pytest-dind.image"
"""On the warm store's volume: an image with the tools to look into the volume."""
BY = "pytest-dind.by"
"""In a daemon that several processes share, the maker: process and test."""


def owner() -> str:
    """The value of `OWNER` for this process: host and user."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a uid without a name, as in many CI containers
        user = str(os.getuid())
    return f"{socket.gethostname()},{user}"


def process() -> str:
    """The value of `PROCESS` for this process: boot, pid namespace, pid and start time.

    Empty where there is no /proc (macOS).
    """
    started = _started(os.getpid())
    return f"{_machine()} {os.getpid()} {started}" if started else ""


def is_gone(label: str) -> bool:
    """Whether the process that `process` described is provably gone.

    Nothing is proved about a process of another machine, boot, or pid namespace.
    """
    described = _described(label)
    return described is not None and _started(described[0]) != described[1]


def pid(label: str) -> int | None:
    """The pid of the process that `process` described; None where it does not run here."""
    described = _described(label)
    return described[0] if described and _started(described[0]) == described[1] else None


def _described(label: str) -> tuple[int, str] | None:
    """The pid and start time in a value of `process`; None where it is of another machine."""
    machine, _, rest = label.partition(" ")
    number, _, started = rest.partition(" ")
    if not (started and number.isdecimal()) or machine != _machine():
        return None
    return int(number), started


def selected(found: Mapping[str, str] | None, wanted: Iterable[str]) -> bool:
    """Whether labels are what each of these label filters asks for: `key` or `key=value`.

    Before something is removed this is asked beside the engine, since Podman lists the volumes that
    any one of several filters selects, not all of them (`Runtime.Volumes` in its
    libpod/runtime_volume.go), so also volumes of others that have no label at all.
    """
    pairs = (want.partition("=") for want in wanted)
    found = found or {}
    return all(key in found and (not by or found[key] == text) for key, by, text in pairs)


def created(ours: Mapping[str, str]) -> float:
    """The time in `CREATED`, in seconds since 1970; the present time where it is missing."""
    text = ours.get(CREATED, "")
    return float(text) if text.isdecimal() else time.time()


def _machine() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _started(pid: int) -> str:
    """A process's start time in clock ticks since boot (proc(5), stat, field 22); "" if gone.

    One that has ended is gone, also before its parent has asked for its exit code (state Z).
    """
    try:
        # The second field, the command's name in brackets, may hold anything.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if fields[0] in "ZX" else fields[19]
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


def of_container(own: str) -> dict[str, str]:
    """The label of what a process in a container makes; none for one that is in none.

    Host name and pid, which the others tell, die with a container: by this label everybody on the
    engine can see whether it still runs.

    Args:
        own: The container's id, as the engine knows it; empty where the process is in none.
    """
    return {CONTAINER: own} if own else {}


def of_store(image: str) -> dict[str, str]:
    """The labels of the warm store's volume, which belongs to no run and so is never swept."""
    return {OWNER: owner(), ROLE: "cache", CREATED: str(int(time.time())), IMAGE: image}
