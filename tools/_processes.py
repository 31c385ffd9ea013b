"""Which process is which: a pid alone may be someone else's by now."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Identity:
    """A process, told apart from a later one with the same pid."""

    pid: int
    started: int
    boot: str


def stat_fields(text: str) -> list[str]:
    """Split /proc/PID/stat after the name, which may hold spaces and brackets."""
    return text.rpartition(")")[2].split()


def identify(pid: int) -> Identity | None:
    """Say which process has this pid now; None if none has, or only a zombie."""
    try:
        fields = stat_fields(Path(f"/proc/{pid}/stat").read_text())
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None
    if len(fields) < 20 or fields[0] in "ZX":
        return None
    return Identity(pid, int(fields[19]), boot)


def is_alive(process: Identity) -> bool:
    """Tell whether exactly this process still runs."""
    return identify(process.pid) == process


def children(pid: int) -> list[int]:
    """List the pids whose parent is this one."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = stat_fields((entry / "stat").read_text())
            except OSError:
                continue
            if len(fields) > 1 and int(fields[1]) == pid:
                found.append(int(entry.name))
    return found


def wait_for_end(process: Identity, seconds: float) -> bool:
    """Wait until a process that need not be our child has ended; False if it has not."""
    deadline = time.monotonic() + seconds
    while is_alive(process):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def stop(process: Identity, patience: float) -> bool:
    """Ask a process to end, and kill it when it does not; False if even that fails."""
    for number, seconds in ((signal.SIGTERM, patience), (signal.SIGKILL, 10.0)):
        if is_alive(process):
            os.kill(process.pid, number)
        if wait_for_end(process, seconds):
            return True
    return False
