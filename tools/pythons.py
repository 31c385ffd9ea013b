"""Pythons for the tests, that this machine lacks, out of Debian's packages.

python tools/pythons.py 3.14    make sure of python3.14, in .tox/interpreters/bin if it is not there

It comes with the C library and all others that it was built with, so that a machine with older ones
runs it; nothing is installed. toxfile.py has the directory in PATH.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import _debs
import _roots
from _console import Problem, Step, run, say, step
from _daemon import program
from filelock import FileLock

DIRECTORY = Path(__file__).resolve().parents[1] / ".tox" / "interpreters"
REMEDY = "check the network and the package sources; or install it some other way, then run this"


def main(arguments: Sequence[str] | None = None) -> int:
    """Make sure of the versions that the command line names; give the exit status."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("pythons.py", description=__doc__, formatter_class=formatter)
    parser.add_argument("versions", nargs="+", metavar="VERSION", help="such as 3.14")
    try:
        DIRECTORY.mkdir(parents=True, exist_ok=True)
        for version in parser.parse_args(arguments).versions:
            with FileLock(DIRECTORY / f"{version}.lock"):
                ensure(f"python{version}", DIRECTORY)
    except Problem as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1
    return 0


def ensure(name: str, directory: Path) -> None:
    """Make sure of a Python; where only an own system's packages could have it, say so.

    Raises:
        Problem: Debian has it, and it can't be had from there, or does not work here.
    """
    link = directory / "bin" / name
    found = program(name)
    if (found and works(found)) or works(str(link)):
        say(f"{name}: there")
        return
    if program("apt-get") is None or program("dpkg-deb") is None:
        say(f"{name}: not here, and this is no Debian: the environments that want it are skipped")
        return
    with _roots.scratch_directory() as scratch:
        for suite, options in _debs.sources(scratch):
            if options and fetch(name, suite, options, scratch, directory / name):
                link.parent.mkdir(parents=True, exist_ok=True)
                link.unlink(missing_ok=True)
                link.symlink_to(Path("..") / name / "usr" / "bin" / name)
                break
        else:
            say(f"{name}: in no suite of Debian's: the environments that want it are skipped")
            return
    if not works(str(link)):
        raise Problem(f"{name} can't be used", f"`{link}` does not run Python", REMEDY)
    say(f"{name}: in {link}")


def works(python: str) -> bool:
    """Tell whether this is a Python that runs, with what is often missing in one."""
    try:
        done = subprocess.run([python, "-c", "import ctypes, sqlite3, ssl"], capture_output=True)
    except OSError:
        return False
    return done.returncode == 0


def fetch(name: str, suite: str, options: Sequence[str], scratch: Path, target: Path) -> bool:
    """Put a Python and all its libraries from a suite in a directory; False where it has none."""
    what = f"{name} can't be had from {suite}"
    with step(f"getting {name} from {suite}") as shown:
        packages = _debs.with_dependencies(name, options, shown, what, REMEDY)
        if not packages:
            return False
        # Beside its place, so that it comes there at once and whole.
        root = target.with_name(f"{name}.new")
        for old in (root, target):
            shutil.rmtree(old, ignore_errors=True)
        root.mkdir(parents=True)
        for package in packages:
            run(["dpkg-deb", "--extract", str(package), str(root)], shown, what=what, remedy=REMEDY)
        bind(root / "usr" / "bin" / name, root, target, shown)
        root.rename(target)
    return True


def bind(python: Path, root: Path, target: Path, shown: Step) -> None:
    """Have a program run with the libraries of its root, once that is in its place."""
    what, remedy = f"{python.name} can't be bound to its libraries", "install patchelf"
    asked = subprocess.run(["patchelf", "--print-interpreter", python], capture_output=True)
    loader = "usr" + asked.stdout.decode().strip()
    libraries = next(root.rglob("libc.so.6")).parent.relative_to(root)
    run(
        [
            *("patchelf", "--set-interpreter", str(target / loader)),
            # Not as RUNPATH, which does not hold for what its libraries need.
            *("--force-rpath", "--set-rpath", str(target / libraries), str(python)),
        ],
        shown,
        what=what,
        remedy=remedy,
    )


if __name__ == "__main__":
    sys.exit(main())
