"""First process in the namespaces of `run --cgroup2`: cgroup v2 view, loopback, dockerd.

Usage: _cgroup2_init.py CGROUP_PARENT DOCKERD ARGUMENTS...

It reaps what others leave behind, passes SIGTERM on, and ends when dockerd ends, and with it,
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
# Sockets of containerd: the machine's own one must not be found, nor ours be left behind.
CONTAINERD = Path("/run/containerd")
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 0x1


def main() -> int:
    """Set the namespaces up, run dockerd in them, give its exit status."""
    parent, *command = sys.argv[1:]
    mount()
    loopback_up()
    with subprocess.Popen(command) as dockerd:
        signal.signal(signal.SIGTERM, lambda *_: dockerd.terminate())
        while dockerd.poll() is None:
            with contextlib.suppress(ChildProcessError):
                reap(dockerd)
    remove_cgroups(CGROUPS / parent)
    return dockerd.returncode


def reap(dockerd: subprocess.Popen[bytes]) -> None:
    """Wait for any child; leave dockerd itself to its owner."""
    ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
    if ended is not None and ended.si_pid != dockerd.pid:
        os.waitpid(ended.si_pid, 0)


def mount() -> None:
    """Put the cgroup v2 hierarchy where the v1 one was, in this mount namespace alone."""
    subprocess.run(["umount", "--recursive", str(CGROUPS)], check=True)
    subprocess.run(["mount", "-t", "cgroup2", "cgroup2", str(CGROUPS)], check=True)
    CONTAINERD.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(CONTAINERD)], check=True)


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
