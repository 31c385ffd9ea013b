"""Files and directories into a daemon's container and out of it, as `docker cp` copies them.

By `tar` and `cat` in the container: under Sysbox the engine's own copy fails
(nestybox/sysbox#1017).
"""

from __future__ import annotations

import os
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from ..engine import steps, streams, tars
from ..engine.exec import Command
from ..errors import CopyFailed
from . import arguments

Run = Callable[[Command], "subprocess.CompletedProcess[Any]"]
"""Runs a command in the daemon's container."""

_ROOT = "/"

# Arguments: the target, the source's name (`.` for what is in it), and its mode and time.
_TAKE_FILE = """
target=$1
[ ! -d "$target" ] || target=${target%/}/$2
[ ! -d "$target" ] || { echo "$target is a directory." >&2; exit 1; }
case $target in */) echo "There is no directory $target" >&2; exit 1 ;; esac
parent=$(dirname "$target")
[ -d "$parent" ] || { echo "There is no directory $parent." >&2; exit 1; }
cat >"$target" && chmod "$3" "$target" && touch -d "@$4" "$target"
"""
_TAKE_DIRECTORY = """
target=$1
[ ! -d "$target" ] || target=${target%/}/$2
[ -d "$target" ] || [ ! -e "$target" ] || { echo "$target is no directory." >&2; exit 1; }
parent=$(dirname "$target")
[ -d "$parent" ] || { echo "There is no directory $parent." >&2; exit 1; }
mkdir -p "$target" && exec $tar -xpf - -C "$target"
"""
_GIVE = """
if [ -d "$1" ]; then
    exec $tar -cf - -C "$1" .
elif [ -f "$1" ]; then
    cd "$(dirname "$1")" && exec $tar -chf - "./$(basename "$1")"
elif [ -e "$1" ]; then
    echo "$1 is neither a file nor a directory." >&2
else
    echo "There is no $1." >&2
fi
exit 1
"""


def copy_to(
    run: Run,
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    progress: streams.Progress,
) -> None:
    """Copy a file or a directory into the container; `Daemon.copy_to` says how.

    Raises:
        CopyFailed: there is no source, or no place for it.
    """
    arguments.demand("copy_to", source=source, target=target)
    path, there = Path(source).expanduser(), os.fspath(target)
    what = f"{str(path)!r} could not be copied to {there!r} in the daemon's container."
    try:
        found = path.resolve(strict=True)
        status = found.stat()
        own = path.name if path.name not in ("", "..") else found.name
        name = _name(os.fspath(source), own)
        if found.is_dir():
            script, details = tars.FIND + _TAKE_DIRECTORY, list[str]()
            chunks = tars.pack(tars.tree(found))
        elif found.is_file():
            script, details = (
                _TAKE_FILE,
                [f"{status.st_mode & 0o7777:o}", str(int(status.st_mtime))],
            )
            chunks = _read(found)
        else:
            raise _failed(what, f"{path} is neither a file nor a directory.")
        command = ["sh", "-c", script, "sh", there, name, *details]
        with steps.Step(progress, f"copying {path} into the daemon") as step:
            chunks = step.counted(chunks)
            done = run(Command(command, workdir=_ROOT, stdin=chunks, tick=step.tick))
    except (OSError, tars.Failed) as error:
        raise _failed(what, str(error)) from error
    if done.returncode:
        raise _failed(what, _said(done))


def copy_from(
    run: Run,
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    progress: streams.Progress,
) -> Path:
    """Copy a file or a directory out of the container; `Daemon.copy_from` says how.

    Raises:
        CopyFailed: there is no source, or no place for it.
    """
    arguments.demand("copy_from", source=source, target=target)
    there, here = os.fspath(source), Path(target).expanduser()
    what = f"{there!r} of the daemon's container could not be copied to {str(here)!r}."
    placed: list[Path] = []

    def place(archive: tarfile.TarFile) -> None:
        first = archive.next()
        if first is not None:
            name = _name(there, PurePosixPath(there).name)
            placed.append(_place(archive, first, os.fspath(target), here, name))

    unpacking = tars.Unpacking(place)
    taken = 0

    def take(data: bytes) -> None:
        nonlocal taken
        unpacking.write(data)
        taken += len(data)
        step.at(taken)

    with unpacking, steps.Step(progress, f"copying {there} out of the daemon") as step:
        command = ["sh", "-c", tars.FIND + _GIVE, "sh", there]
        done = run(Command(command, workdir=_ROOT, stdout=take, tick=step.tick))
    if done.returncode:
        raise _failed(what, _said(done))
    if unpacking.failure is not None:
        raise _failed(what, str(unpacking.failure)) from unpacking.failure
    return placed[0]


def _place(
    archive: tarfile.TarFile, first: tarfile.TarInfo, given: str, target: Path, name: str
) -> Path:
    """Unpack a file, or a directory, whose first entry is `.`; gives where it is now.

    Args:
        archive: The archive.
        first: Its first entry.
        given: The target as it was given.
        target: The target.
        name: The source's name; `.` for what is in it.
    """
    into = target / name if target.is_dir() else target
    if not into.absolute().parent.is_dir():
        raise tars.Failed(f"There is no directory {into.absolute().parent}.")
    if first.isdir():
        if into.exists() and not into.is_dir():
            raise tars.Failed(f"{into} is no directory.")
        into.mkdir(exist_ok=True)
        tars.extract(archive, into)
    else:
        if into.is_dir():
            raise tars.Failed(f"{into} is a directory.")
        if given.endswith(os.sep) and not target.is_dir():
            raise tars.Failed(f"There is no directory {given}")
        tars.write(archive, first, into)
    return into


def _name(given: str, name: str) -> str:
    """The name of a source; `.`, which names what is in it, where its path ends so."""
    return "." if given == "." or given.endswith("/.") else name


def _read(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(256 * 1024):
            yield chunk


def _said(done: subprocess.CompletedProcess[Any]) -> str:
    said = (done.stdout + done.stderr).decode(errors="replace")
    return said.strip() or f"Its exit code is {done.returncode}."


def _failed(what: str, evidence: str) -> CopyFailed:
    return CopyFailed(
        what,
        evidence=evidence,
        remedy=[
            "Check both paths; those of the container begin at its root.",
            'Make the directory first: dind_daemon.exec(["mkdir", "-p", ...]), or Path.mkdir here.',
        ],
    )
