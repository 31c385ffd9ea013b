"""First process in the namespaces of a further engine: what is its own there, and the engine.

Usage: _cgroup2_init.py [--cgroup2 [--delegate USER]] [--bind SOURCE TARGET]...
                        [--root DIRECTORY] CGROUP_PARENT ENGINE ARGUMENTS...

--cgroup2 gives a view of cgroup v2; --delegate has a user own the part of it that the engine sees,
as systemd does it for a user's services. --bind puts a file where another one is, and --root has
the engine run in another root directory, into which what is bound comes too.

It reaps what others leave behind, passes SIGTERM on, and ends when the engine ends, and with it,
since it is the first process of a PID namespace, all that still runs there.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import fcntl
import os
import shutil
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
CLONE_NEWCGROUP = 0x02000000
libc = ctypes.CDLL(None, use_errno=True)
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 0x1


def main() -> int:
    """Set the namespaces up, run the engine in them, give its exit status."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--cgroup2", action="store_true")
    parser.add_argument("--delegate", metavar="USER")
    parser.add_argument("--bind", nargs=2, action="append", default=[], type=Path)
    parser.add_argument("--root", type=Path)
    parser.add_argument("parent")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    if options.delegate:
        delegate(options.parent, options.delegate)
    mount(cgroup2=options.cgroup2)
    loopback_up()
    if options.root:
        enter(options.root, options.bind)
    else:
        bind(Path("/"), options.bind)
    with subprocess.Popen(options.command) as engine:
        signal.signal(signal.SIGTERM, lambda *_: engine.terminate())
        while engine.poll() is None:
            with contextlib.suppress(ChildProcessError):
                reap(engine)
    for hierarchy in (CGROUPS, *CGROUPS.iterdir()):
        remove_cgroups(hierarchy / options.parent)
    return engine.returncode


def reap(engine: subprocess.Popen[bytes]) -> None:
    """Wait for any child; leave the engine itself to its owner."""
    ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
    if ended is not None and ended.si_pid != engine.pid:
        os.waitpid(ended.si_pid, 0)


def delegate(parent: str, user: str) -> None:
    """Let a user own a control group, be in one below it, and see no other."""
    view_of_cgroup2()
    top = CGROUPS / parent
    init = top / "init"
    init.mkdir(parents=True)
    (top / "cgroup.procs").write_text(str(os.getpid()))
    if libc.unshare(CLONE_NEWCGROUP):
        raise OSError(ctypes.get_errno(), "unshare")
    (init / "cgroup.procs").write_text(str(os.getpid()))
    for path in (top, init):
        for owned in (path, path / "cgroup.procs", path / "cgroup.subtree_control"):
            shutil.chown(owned, user)


def view_of_cgroup2() -> None:
    """Have cgroup v2 in the place of v1's hierarchies."""
    subprocess.run(["umount", "--recursive", str(CGROUPS)], check=True)
    subprocess.run(["mount", "-t", "cgroup2", "cgroup2", str(CGROUPS)], check=True)


def mount(*, cgroup2: bool) -> None:
    """Hide what other engines keep, in this mount namespace alone, and the v1 hierarchies."""
    if cgroup2:
        view_of_cgroup2()
    for directory in OWN:
        # One that was missing stays outside, empty.
        directory.mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(directory)], check=True)


def bind(root: Path, binds: list[list[Path]]) -> None:
    """Put files and directories where others are, or none."""
    for source, target in binds:
        place = root / target.relative_to("/")
        if source.is_dir():
            place.mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", "--rbind", str(source), str(place)], check=True)


def enter(root: Path, binds: list[list[Path]]) -> None:
    """Make a directory the root, with this machine's devices, and what is bound."""
    subprocess.run(["mount", "--bind", str(root), str(root)], check=True)
    bind(root, [[path, path] for path in map(Path, ("/dev", "/proc", "/sys"))] + binds)
    before = root / "before"
    before.mkdir(exist_ok=True)
    subprocess.run(["pivot_root", str(root), str(before)], check=True)
    os.chroot("/")
    os.chdir("/")
    subprocess.run(["umount", "--lazy", "/before"], check=True)


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
