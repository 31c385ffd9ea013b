"""Roots of images, made from Debian packages where no registry answers."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import _packages
from _console import Problem, Step, run, say, step
from _daemon import program

# sid has the newest Docker; stable is there when sid is broken, as it may be any day.
SUITES = ("sid", "stable")
# There the command line is part of docker.io.
WITHOUT_CLI = ("bookworm",)
DAEMON_PACKAGES = ("docker.io", "docker-cli", "iptables", "ca-certificates", "busybox-static")
APPLETS = ("sh", "httpd", "nc", "sleep", "wget")
# In any image.
NEVER_NEEDED = (
    "./dev/*",
    "./proc/*",
    "./sys/*",
    "./tmp/*",
    "./usr/lib/systemd",
    "./usr/share/doc",
    "./usr/share/locale",
    "./usr/share/man",
    "./var/cache/*",
    "./var/lib/apt/lists/*",
    "./var/log/*",
)
UNNEEDED = (
    *NEVER_NEEDED,
    "./usr/sbin/ctr",
    "./usr/bin/ctr",
    "./usr/lib/cni",
    "./usr/lib/containerd",
)


@contextlib.contextmanager
def scratch_directory() -> Iterator[Path]:
    """Give a directory on a real disk; /tmp may be a small tmpfs, or forbid devices."""
    parent = "/var/tmp" if os.access("/var/tmp", os.W_OK) else None
    path = Path(tempfile.mkdtemp(prefix="pytest-dind-image-", dir=parent))
    try:
        yield path
    finally:
        remove(path)


def remove(path: Path) -> None:
    """Remove a directory that killed processes may still write to for a moment."""
    deadline = time.monotonic() + 10
    while path.exists():
        shutil.rmtree(path, ignore_errors=time.monotonic() < deadline)


def daemon(scratch: Path, suites: Sequence[str] = SUITES) -> Path:
    """Bootstrap a root with Docker in it, from the first suite that can be had, and pack it."""
    require_debootstrap("daemon", "run `images` as root, or give this engine a way to a registry")
    return packed(scratch, "daemon", suites, daemon_packages, UNNEEDED)


def daemon_packages(suite: str) -> list[str]:
    """Give what a root with Docker in it is made of."""
    without = "docker-cli" if suite in WITHOUT_CLI else ""
    return [name for name in DAEMON_PACKAGES if name != without]


def kept(suite: str, directory: Path, packages: Sequence[str], product: str) -> Path:
    """Give a root with packages of a suite in it, which is made once, and kept."""
    found = directory / suite
    if not found.exists():
        making = directory / f"{suite}.making"
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir(parents=True)
        bootstrap(suite, making, packages, f"a root directory with {product}")
        making.rename(found)
    return found


def require_debootstrap(image: str, remedy: str) -> None:
    """Make sure that roots can be bootstrapped here.

    Raises:
        Problem: they can't; the image of this kind fails with it, and `remedy` may help.
    """
    if os.geteuid() != 0:
        raise Problem(
            f"the {image} image is missing, and can't be made",
            "no registry answers, and to make it from Debian packages needs root",
            remedy,
        )
    if program("debootstrap") is None:
        _packages.require_installable()
        _packages.update()
        keyring = ["debian-archive-keyring"] if _packages.exists("debian-archive-keyring") else []
        _packages.install("debootstrap", *keyring)


def packed(
    scratch: Path,
    image: str,
    suites: Sequence[str],
    packages: Callable[[str], Sequence[str]],
    unneeded: Sequence[str],
) -> Path:
    """Bootstrap a root from the first suite that can be had, and pack what of it is needed."""
    for suite in suites:
        root = scratch / suite
        try:
            bootstrap(suite, root, packages(suite), f"the {image} image")
            break
        except Problem as problem:
            if suite == suites[-1]:
                raise
            say(f"Debian {suite} can't be had now, the next suite then:\n{problem}")
            shutil.rmtree(root, ignore_errors=True)
    archive = scratch / "root.tar"
    with step("packing the root") as shown:
        exclude = [f"--exclude={pattern}" for pattern in unneeded]
        pack = ["tar", "--create", f"--file={archive}", f"--directory={root}", "--anchored"]
        what = f"the {image} image can't be packed"
        run([*pack, *exclude, "."], shown, what=what, remedy="look whether the disk is full")
    return archive


def bootstrap(suite: str, root: Path, packages: Sequence[str], what: str) -> None:
    """Run debootstrap in namespaces of its own: its mounts and processes end with it."""
    with step(f"making {what} from Debian {suite}") as shown:
        run(
            [
                *("unshare", "--mount", "--pid", "--fork", "--kill-child", "debootstrap"),
                *("--variant=minbase", f"--include={','.join(packages)}", suite, str(root)),
                *debian_mirror(),
            ],
            shown,
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
            stop_with=signal.SIGKILL,
            what=f"{what} can't be made from Debian {suite}",
            remedy="check the network and the package sources, or give the engine a registry",
        )


def debian_mirror() -> list[str]:
    """Give the mirror this machine's apt uses if it is a Debian one, else debootstrap's own."""
    listed = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(ORIGIN) $(COMPONENT) $(REPO_URI)"],
        capture_output=True,
        text=True,
        check=False,
    )
    return mirror_of(listed.stdout)


def mirror_of(targets: str) -> list[str]:
    """Pick the first Debian archive out of apt's index targets."""
    for line in targets.splitlines():
        origin, _, rest = line.partition(" ")
        component, _, address = rest.partition(" ")
        if origin == "Debian" and component == "main" and "security" not in address:
            return [address.rstrip("/")]
    return []


def nested(scratch: Path) -> Path:
    """Pack busybox, with a link for each applet."""
    if program("dpkg-deb") is None or program("apt-get") is None:
        raise Problem(
            "the nested image is missing, and can't be made",
            "no registry answers, and this is no Debian or Ubuntu with busybox-static",
            "give this engine a way to a registry, or tag a busybox image the nested image",
        )
    with step("making the nested image from busybox-static") as shown:
        busybox = busybox_static(scratch, shown)
        listed = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True)
    applets = listed.stdout.split()
    lacking = sorted(set(APPLETS) - set(applets))
    if lacking:
        raise Problem(
            "the nested image can't be made",
            f"this busybox-static lacks {', '.join(lacking)}",
            "give this engine a way to a registry",
        )
    archive = scratch / "nested.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(busybox, "bin/busybox", filter=as_root)
        for applet in applets:
            if applet != "busybox":
                link = tarfile.TarInfo(f"bin/{applet}")
                link.type, link.linkname, link.mode = tarfile.SYMTYPE, "busybox", 0o777
                tar.addfile(link)
        for directory, mode in (("etc", 0o755), ("root", 0o700), ("tmp", 0o1777), ("var", 0o755)):
            entry = tarfile.TarInfo(directory)
            entry.type, entry.mode = tarfile.DIRTYPE, mode
            tar.addfile(entry)
    return archive


def as_root(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Let root own a file in an archive."""
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mode = 0o755
    return entry


def busybox_static(scratch: Path, shown: Step) -> Path:
    """Take the static busybox out of its package, without installing it."""
    what = "busybox-static can't be had"
    remedy = "run `apt-get update` as root, check the network, then run this again"
    # apt-get downloads into the current directory, and as a user of its own when root calls it.
    fetch = ["sh", "-c", 'cd "$1" && exec apt-get download busybox-static', "sh", str(scratch)]
    try:
        run(fetch, shown, what=what, remedy=remedy)
    except Problem:
        if os.geteuid() != 0:
            raise
        _packages.update()
        run(fetch, shown, what=what, remedy=remedy)
    package = next(scratch.glob("busybox-static_*.deb"))
    unpacked = scratch / "busybox"
    extract = ["dpkg-deb", "--extract", str(package), str(unpacked)]
    run(extract, shown, what=what, remedy=remedy)
    return next(path for path in unpacked.glob("**/bin/busybox") if path.is_file())
