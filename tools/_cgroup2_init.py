"""First process in the namespaces of `run`: cgroup v2 view, loopback, an engine.

Usage: _cgroup2_init.py CGROUP_PARENT ENGINE ARGUMENTS...

It reaps what others leave behind, passes SIGTERM on, and ends when the engine ends, and with it,
since it is the first process of a PID namespace, all that still runs there.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
# What engines keep outside of the directories that they are told: the machine's own must not be
# found, nor ours be left behind. The first is containerd's, the others are Podman's.
OWN = [
    *map(Path, ("/run/containerd", "/run/containers", "/run/crun", "/run/libpod", "/run/netns")),
    *map(Path, ("/run/runc", "/dev/shm")),
]
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 0x1


def main() -> int:
    """Set the namespaces up, run the engine in them, give its exit status."""
    parent, *command = sys.argv[1:]
    mount()
    loopback_up()
    with subprocess.Popen(command) as engine:
        signal.signal(signal.SIGTERM, lambda *_: engine.terminate())
        while engine.poll() is None:
            with contextlib.suppress(ChildProcessError):
                reap(engine)
    remove_cgroups(CGROUPS / parent)
    return engine.returncode


def reap(engine: subprocess.Popen[bytes]) -> None:
    """Wait for any child; leave the engine itself to its owner."""
    ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
    if ended is not None and ended.si_pid != engine.pid:
        os.waitpid(ended.si_pid, 0)


def mount() -> None:
    """Put the cgroup v2 hierarchy where the v1 one was, in this mount namespace alone."""
    subprocess.run(["umount", "--recursive", str(CGROUPS)], check=True)
    subprocess.run(["mount", "-t", "cgroup2", "cgroup2", str(CGROUPS)], check=True)
    for directory in OWN:
        # One that was missing stays outside, empty.
        directory.mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(directory)], check=True)


def loopback_up() -> None:
    """Set the loopback device up; a new network namespace has it down."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sh22x", b"lo", 0)
        flags = struct.unpack("16sh22x", fcntl.ioctl(control, SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", flags | IFF_UP))


def remove_cgroups(top: Path) -> None:
    """Remove the empty cgroups that containers leave, the innermost first."""
    for directory, _, _ in os.walk(top, topdown=False):
        with contextlib.suppress(OSError):
            Path(directory).rmdir()


if __name__ == "__main__":
    sys.exit(main())
