"""Run tox on a machine that has Python and nothing else: `python3 tools/bootstrap.py [TOX ARGS]`.

It makes .venv in the project's root with the Python that runs it, installs tox there, and runs
tox with the arguments given; the exit status is tox's. An existing good .venv is used again.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOX = "tox>=4"
# What tox.ini requires too: tox would make an environment with it, and run itself again in that.
UV = "tox-uv>=1.25"
APT_PACKAGES = ("python3-venv",)


class CannotBootstrap(Exception):
    """There is no way to a virtual environment with tox; the text says what to do."""


def main(arguments: Sequence[str]) -> None:
    """Make sure of tox, and become it."""
    try:
        python = ensure_tox(ROOT / ".venv")
    except CannotBootstrap as error:
        sys.exit(f"error: {error}")
    os.chdir(ROOT)
    os.execv(python, [str(python), "-m", "tox", *arguments])  # its signals and status are tox's


def ensure_tox(directory: Path) -> Path:
    """Give the Python of a virtual environment that has tox 4 or later."""
    python = directory / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if has_tox(python):
        return python
    with alone(directory):
        # Another run may have put it there meanwhile.
        if not has_tox(python):
            install_tox(directory, python)
    return python


@contextlib.contextmanager
def alone(directory: Path) -> Iterator[None]:
    """Wait for other runs that make the same environment, and have later ones wait."""
    if os.name == "nt":
        yield
        return
    import fcntl

    with directory.with_name(f"{directory.name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def install_tox(directory: Path, python: Path) -> None:
    """Install tox in an environment; make that, where there is none that works."""
    if not works(python, "pass"):
        if directory.exists():
            say(f"{directory} is broken, or no virtual environment: making it anew")
            shutil.rmtree(directory)
        make(directory)
    elif not works(python, "import pip"):
        # Somebody's own, made without pip: what is in it stays.
        say(f"installing pip in {directory}")
        if subprocess.run([python, "-m", "ensurepip"], check=False).returncode:
            raise CannotBootstrap(
                f"{directory} has no pip, and none can be installed in it\n"
                "  seen: ensurepip failed, with the lines above\n"
                "  to fix: install pip there, or move the directory away, then run this again"
            )
    say(f"installing {TOX} in {directory}")
    if subprocess.run([python, "-m", "pip", "install", TOX, UV], check=False).returncode:
        raise CannotBootstrap(
            f"{TOX} can't be installed in {directory}\n"
            "  seen: pip failed, with the lines above\n"
            "  to fix: check the network and pip's settings, then run this again"
        )


def make(directory: Path) -> None:
    """Make a virtual environment; on Debian and Ubuntu, where that takes a package, get it."""
    if not works(sys.executable, "import ensurepip, venv"):
        install_venv()
    say(f"making {directory} with Python {sys.version.split()[0]}")
    if subprocess.run([sys.executable, "-m", "venv", directory], check=False).returncode:
        shutil.rmtree(directory, ignore_errors=True)
        raise CannotBootstrap(
            f"{directory} can't be made\n"
            f"  seen: `{sys.executable} -m venv` failed, with the lines above\n"
            f"  to fix: {remedy(sys.executable)}"
        )


def install_venv() -> None:
    """Install what Debian and Ubuntu split off from Python."""
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    missing = (
        "this Python has no venv with ensurepip, so no virtual environment can be made\n"
        f"  seen: {sys.executable} can't import ensurepip\n"
    )
    if not sys.executable.startswith("/usr/bin/") or not shutil.which("apt-get") or not is_root:
        raise CannotBootstrap(f"{missing}  to fix: {remedy(sys.executable)}")
    say(f"this Python lacks venv: installing {' '.join(APT_PACKAGES)} with apt-get")
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "install", "--yes", "--no-install-recommends", *APT_PACKAGES]
    for command in (["apt-get", "update"], install):
        if subprocess.run(command, env=env, check=False).returncode:
            raise CannotBootstrap(
                f"{missing}"
                f"  seen: `{' '.join(command)}` failed, with the lines above\n"
                "  to fix: check the network and /etc/apt/sources.list*, then run this again"
            )


def remedy(executable: str) -> str:
    """Say how to get a Python that can make virtual environments."""
    if executable.startswith("/usr/bin/") and shutil.which("apt-get"):
        return f"as root: apt-get install {APT_PACKAGES[0]}; then run this again"
    return "install a complete Python 3.10 or later, then run this again with it"


def has_tox(python: Path) -> bool:
    """Tell whether this Python has tox 4 or later, and its installer."""
    return works(
        python, "import sys, tox, tox_uv; sys.exit(int(tox.__version__.split('.')[0]) < 4)"
    )


def works(python: Path | str, code: str) -> bool:
    """Tell whether this Python exists, starts and runs the code without an error."""
    try:
        return (
            subprocess.run([python, "-c", code], capture_output=True, check=False).returncode == 0
        )
    except OSError:
        return False


def say(text: str) -> None:
    """Print a line at once, as pip and tox print after it."""
    print(text, flush=True)


if __name__ == "__main__":
    if sys.version_info < (3, 10):  # noqa: UP036 - nothing has checked it before
        sys.exit("error: this needs Python 3.10 or later; run it with a later one")
    main(sys.argv[1:])
