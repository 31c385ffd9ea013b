"""Installing Docker from the packages of Debian and Ubuntu, and saying what to do elsewhere."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path

from _console import Problem, run, step
from _daemon import program

APT_OPTIONS = ("-o", "DPkg::Lock::Timeout=120")
INSTALL_PAGE = "https://docs.docker.com/engine/install/"


def parse_os_release(text: str) -> dict[str, str]:
    """Read the shell-like lines of /etc/os-release."""
    pairs = (line.split("=", 1) for line in text.splitlines() if "=" in line and line[0] != "#")
    return {name.strip(): value.strip().strip("\"'") for name, value in pairs}


def is_debian_like(release: Mapping[str, str]) -> bool:
    """Tell Debian, Ubuntu and what calls itself like one of them."""
    names = [release.get("ID", ""), *release.get("ID_LIKE", "").split()]
    return "debian" in names or "ubuntu" in names


def why_not_installable(
    system: str, release: Mapping[str, str], *, is_root: bool, has_apt: bool
) -> Problem | None:
    """Say what stands between this machine and an engine; None if nothing does."""
    what = "no engine answers here, and this command can't install one"
    if system == "Darwin":
        return Problem(
            what,
            "this is macOS, where Docker needs a virtual machine",
            "install and start Docker Desktop, OrbStack or colima, then run this again",
        )
    if system != "Linux":
        return Problem(
            what, f"this is {system}", "install and start Docker Desktop, then run this again"
        )
    if not is_debian_like(release) or not has_apt:
        name = release.get("PRETTY_NAME") or release.get("ID") or "an unknown Linux"
        return Problem(
            what,
            f"this is {name}, {'with' if has_apt else 'without'} apt-get",
            f"install Docker Engine as {INSTALL_PAGE} says, start it, then run this again",
        )
    if not is_root:
        return Problem(
            what,
            "apt-get and dockerd need root",
            "run this as root, or: sudo apt-get install docker.io && sudo systemctl start docker",
        )
    return None


def require_installable() -> None:
    """Raise the reason why this machine can't be given an engine, if there is one."""
    release = Path("/etc/os-release")
    problem = why_not_installable(
        platform.system(),
        parse_os_release(release.read_text()) if release.exists() else {},
        is_root=os.geteuid() == 0,
        has_apt=program("apt-get") is not None,
    )
    if problem is not None:
        raise problem


def update() -> None:
    """Get the package lists."""
    with step("apt-get update") as shown:
        run(
            ["apt-get", *APT_OPTIONS, "update"],
            shown,
            what="the package lists can't be had",
            remedy="check the network and /etc/apt/sources.list*, then run this again",
        )


def install(*names: str) -> None:
    """Install packages without a question, and without what they merely recommend."""
    with step(f"installing {' '.join(names)}") as shown:
        run(
            ["apt-get", *APT_OPTIONS, "install", "--yes", "--no-install-recommends", *names],
            shown,
            what=f"{' '.join(names)} can't be installed",
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
            remedy=f"see why this fails: apt-get install {' '.join(names)}",
        )


def exists(name: str, *options: str) -> bool:
    """Tell whether the distribution, or the one that apt's options say, has such a package."""
    found = subprocess.run(
        ["apt-cache", *options, "show", "--no-all-versions", name], capture_output=True, check=False
    )
    return found.returncode == 0


def install_engine() -> None:
    """Install docker.io, with the command line where that is a package of its own."""
    update()
    optional = [name for name in ("docker-cli",) if exists(name)]
    install("docker.io", "iptables", "ca-certificates", *optional)
