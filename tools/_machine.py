"""Running a command in a machine of its own: a Debian of today, with systemd and cgroup v2.

What machines of users are, and the one at hand may not be: all of cgroup v2's controllers but that
of processor sets, engines that systemd starts, and a user without root who has a session of his
own. It is Linux as a process (user-mode-linux), so that it takes no virtualization: that may be
missing, or be of a kind that runs kernels made for it alone, as in many a virtual machine. It has
one processor, a few times slower than this machine's.

Its disk is made once and never written to: what a run writes is gone with it, but for what it
writes in the checkout, which is the one at hand. The way out to the world is not there.
"""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import _images
import _inputs
import _node_image
import _packages
import _roots
import docker
import docker.errors
from _console import Problem, end, step
from _console import run as run_program
from _daemon import last_lines, program
from _locks import lock
from _processes import POLL_SECONDS

ROOT = Path(__file__).parents[1]
SOURCE = Path(__file__).with_name("machine")
SUITE = "trixie"
# What the machine is told that it has; only what is written of it takes room.
DISK_BYTES = 40 << 30
MEGABYTES = 8192
BEGIN_SECONDS = 600.0
# Of the user in the machine who is not root.
RUNTIME = "/run/user/1000"
ENGINES = {
    "docker": "unix:///run/docker.sock",
    "docker-rootless": f"unix://{RUNTIME}/docker.sock",
    "podman": "unix:///run/podman/podman.sock",
    "podman-rootless": f"unix://{RUNTIME}/podman/podman.sock",
}
"""What there is in the machine, with its address; the command is the user's who runs the engine."""

# In another root: with this machine's devices, and its way to the package index.
SET_UP = """\
set -e
mount --rbind /dev "$1/dev"
mount -t proc proc "$1/proc"
mount --bind /etc/resolv.conf "$1/etc/resolv.conf"
[ ! -d /etc/ssl/certs ] || mount --rbind /etc/ssl/certs "$1/etc/ssl/certs"
mkdir -p "$1$2"
mount --bind "$2" "$1$2"
exec chroot "$1" /bin/sh "$2/tools/machine/setup" "$2"
"""
# The kernel is a program of that root's, whose libraries this machine may lack. Its memory, and
# what it writes, are in files that nobody else sees and that end with it.
BOOT = """\
set -e
mount --rbind /dev "$1/dev"
mount -t proc proc "$1/proc"
mount -t tmpfs -o size=100% tmpfs "$1/dev/shm"
mkdir -p "$1/host"
mount --rbind / "$1/host"
exec chroot "$@"
"""
NAMESPACES = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private")
# The kernel has the older tables alone, and newer images have programs for the newer ones. It says
# nothing of its processor's speed, without which no kubelet starts.
FITTED = """\
FROM {}
RUN for name in iptables ip6tables; do for part in "" -save -restore; do \\
    [ ! -e /usr/sbin/$name-legacy$part ] || \\
    ln -sf /usr/sbin/$name-legacy$part /etc/alternatives/$name$part; done; done; \\
    node=/usr/local/bin/kubernetes-node; [ ! -e $node ] || sed -i '1a \\
    (cat /proc/cpuinfo; echo "cpu MHz : 1000.000") >/run/cpuinfo; \\
    mount --bind /run/cpuinfo /proc/cpuinfo' $node
"""


def run(
    command: Sequence[str],
    client: docker.DockerClient,
    directory: Path,
    engine: str,
    output: BinaryIO | None = None,
    nodes: bool = False,
) -> int:
    """Run a command in a machine, in the checkout; give its exit status.

    Args:
        command: what to run, with DOCKER_HOST set to the engine.
        client: the engine at hand, which has the images.
        directory: where the machine's disk, and the images, are kept.
        engine: which engine in the machine is the command's, of `ENGINES`.
        output: where what the command prints goes; to this process' own output without.
        nodes: whether the engine has the image of Kubernetes' nodes, too.

    Raises:
        Problem: no machine can be had, or it ended before the command did.
    """
    require_machine()
    _images.ensure(client)
    with lock(directory, "machine"):
        images = save(client, directory / "share" / "images", nodes=nodes)
        told = settings(command, engine, images)
        return run_locked(told, directory, output or sys.stdout.buffer)


def run_locked(told: str, directory: Path, output: BinaryIO) -> int:
    """Run what a machine is told, in the only one that there is now."""
    made = disk(directory)
    share = directory / "share"
    for left in ("begun", "status"):
        (share / left).unlink(missing_ok=True)
    (share / "settings").write_text(told)
    log = directory / "console.log"
    pipes = [os.pipe(), os.pipe()]
    ends = [writing for _, writing in pipes]
    with log.open("wb") as console:
        process = subprocess.Popen(
            boot(made, share, *ends),
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=console,
            pass_fds=ends,
            start_new_session=True,
        )
    targets = (output, sys.stderr.buffer)
    threads = []
    for (reading, writing), target in zip(pipes, targets, strict=True):
        os.close(writing)
        threads.append(passing(reading, target))
    try:
        with step(f"booting the machine, its console in {log}"):
            wait_until_begun(process, share / "begun", log)
        process.wait()
    finally:
        end(process, signal.SIGKILL)
        for thread in threads:
            thread.join()
    return status(share / "status", log)


def require_machine(architecture: str = platform.machine()) -> None:
    """Make sure that a machine can be had here.

    Raises:
        Problem: it can't.
    """
    what = "no machine of its own can be had for the command"
    if architecture != "x86_64":
        evidence = f"Debian has user-mode-linux for x86_64, and this is {architecture}"
        raise Problem(what, evidence, "run this on a machine of type x86_64")
    if os.geteuid() != 0:
        evidence = "to make its disk takes root, and this user is not root"
        raise Problem(what, evidence, "run this as root")
    _roots.require_debootstrap("machine", "run this as root")
    if program("mkfs.ext4") is None:
        _packages.require_installable()
        _packages.update()
        _packages.install("e2fsprogs")


def disk(directory: Path) -> Path:
    """Give the directory with the machine's disk and kernel, which are made once, and kept."""
    inputs = (SOURCE, ROOT / "pyproject.toml", str(ROOT), SUITE, str(DISK_BYTES), SET_UP)
    disks = directory / "disks"
    found = disks / _inputs.key(*inputs)
    if not found.exists():
        shutil.rmtree(disks, ignore_errors=True)  # of other inputs, or half made
        making = found.with_suffix(".making")
        making.mkdir(parents=True)
        make_disk(making)
        making.rename(found)
    return found


def make_disk(directory: Path) -> None:
    """Make a root, and a disk of it."""
    what = "the machine's disk can't be made"
    root = directory / "root"
    packages = (SOURCE / "packages").read_text().split()
    _roots.bootstrap(SUITE, root, packages, "a machine")
    shutil.copytree(SOURCE / "root", root, dirs_exist_ok=True)
    with step("setting the machine up") as shown:
        enter = [*NAMESPACES, "sh", "-c", SET_UP, "sh", str(root), str(ROOT)]
        remedy = "check the network and pip's settings, then run this again"
        run_program(enter, shown, what=what, remedy=remedy, stop_with=signal.SIGKILL)
    with step("making its disk") as shown:
        image = directory / "disk"
        with image.open("wb") as file:
            file.truncate(DISK_BYTES)
        make = ["mkfs.ext4", "-q", "-F", "-d", str(root), str(image)]
        run_program(make, shown, what=what, remedy="look whether the disk here is full")


def save(
    client: docker.DockerClient, directory: Path, *, nodes: bool
) -> list[tuple[str, str, str]]:
    """Have the images in files, which are kept while they are the engine's.

    Returns:
        Of each the file's name, the image's name in it, and the one that it is to have.

    Raises:
        Problem: the image of nodes is asked for, and not there.
    """
    directory.mkdir(parents=True, exist_ok=True)
    wanted = {_images.DAEMON: "daemon", _images.NESTED: "nested"}
    if nodes:
        wanted[_node_image.NODE] = "node"
    saved = []
    for image, kind in wanted.items():
        found = _images.image_id(client, image)
        if found is None:
            evidence = f"the engine has no {image}"
            raise Problem("the machine can't have nodes", evidence, "python tools/kubernetes.py")
        key = _inputs.key(found, FITTED)
        name = image if image == _images.NESTED else f"pytest-dind/machine:{key}"
        file = directory / f"{kind}-{key}.tar"
        saved.append((file.name, name, image))
        if not file.exists():
            for old in directory.glob(f"{kind}-*"):
                old.unlink()
            with step(f"saving {image}"):
                save_one(client, image, name, file)
    return saved


def save_one(client: docker.DockerClient, image: str, name: str, file: Path) -> None:
    """Have an image in a file by a name of its own, as fits the machine's kernel, or as it is.

    Raises:
        Problem: it can't be made to fit.
    """
    making = file.with_suffix(".making")
    if name != image:
        text = BytesIO(FITTED.format(image).encode())
        try:
            client.images.build(fileobj=text, tag=name, rm=True, forcerm=True)
        except (docker.errors.BuildError, docker.errors.APIError) as error:
            raise Problem(
                f"{image} can't be made to fit the machine's kernel",
                str(error),
                "docker build what FITTED in tools/_machine.py has, to see all of it",
            ) from error
    try:
        with making.open("wb") as saved:
            for chunk in client.api.get_image(name):
                saved.write(chunk)
    finally:
        if name != image:
            client.images.remove(name)
    making.rename(file)


def settings(command: Sequence[str], engine: str, images: Sequence[Sequence[str]]) -> str:
    """Say in the shell's words what is to run in the machine."""
    listed = [" ".join(image) for image in images]
    return (
        f"checkout={shlex.quote(str(ROOT))}\nengine={engine}\nhost={ENGINES[engine]}\n"
        f"images=({shlex.join(listed)})\ncommand=({shlex.join(command)})\n"
    )


def boot(made: Path, share: Path, output: int, errors: int) -> list[str]:
    """Give the command that runs a machine; it ends with the process that runs it."""
    return [
        *("setpriv", "--pdeathsig", "KILL", *NAMESPACES),
        *("sh", "-c", BOOT, "sh", str(made / "root")),
        *("env", "-i", "HOME=/root", "PATH=/usr/bin:/bin", "TMPDIR=/dev/shm", "linux.uml"),
        *(f"mem={MEGABYTES}M", "umid=machine", "uml_dir=/dev/shm", "root=/dev/ubda", "rw"),
        f"ubd0=/dev/shm/written,/host{made / 'disk'}",
        *("con=null", "con0=null,fd:1", "ssl=null", f"ssl0=null,fd:{output}"),
        *(f"ssl1=null,fd:{errors}", f"share=/host{share}", "quiet"),
    ]


def passing(source: int, target: BinaryIO) -> threading.Thread:
    """Have a thread pass on what comes from a pipe, at once, until its end."""

    def pass_on() -> None:
        while chunk := os.read(source, 1 << 16):
            target.write(chunk)
            target.flush()
        os.close(source)

    thread = threading.Thread(target=pass_on, daemon=True)
    thread.start()
    return thread


def wait_until_begun(process: subprocess.Popen[bytes], begun: Path, log: Path) -> None:
    """Wait for the command to begin, and no longer than the machine lives.

    Raises:
        Problem: the machine ended before, or the command does not begin for too long.
    """
    deadline = time.monotonic() + BEGIN_SECONDS
    while not begun.exists():
        if process.poll() is not None:
            raise ended(log)
        if time.monotonic() > deadline:
            raise Problem(
                f"the machine runs, but the command does not begin after {BEGIN_SECONDS:.0f} s",
                last_lines(log),
                f"look into {log}; on a very slow machine just run this again",
            )
        time.sleep(POLL_SECONDS)


def status(file: Path, log: Path) -> int:
    """Read the command's exit status.

    Raises:
        Problem: the machine ended without one.
    """
    try:
        return int(file.read_text())
    except FileNotFoundError:
        raise ended(log) from None


def ended(log: Path) -> Problem:
    """Say that the machine ended too early."""
    return Problem(
        "the machine ended before the command did",
        last_lines(log),
        f"its whole console is in {log}; mend what it names, then run this again",
    )
