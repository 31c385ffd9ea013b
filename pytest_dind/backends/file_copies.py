"""Copies of this machine's files in a daemon's container, made at its start."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..engine import exec as exec_module
from ..engine import steps, streams, tars
from ..errors import DindError
from ..mounts import Mount

if TYPE_CHECKING:
    import docker

_IGNORE = ".dockerignore"
_UNPACK = """
[ ! -d "$2" ] || [ "$1" = "$2" ] || { echo "$2 is a directory." >&2; exit 1; }
mkdir -p "$1" && exec $tar -xpf - -C "$1"
"""


def provide(
    client: docker.DockerClient, container: str, wanted: Iterable[Mount], progress: streams.Progress
) -> None:
    """Copy files into a container that runs.

    Args:
        client: The engine's client.
        container: The container.
        wanted: What is to be copied.
        progress: Writes a progress line.

    Raises:
        DindError: the files can't be read here, or not be written there.
    """
    for mount in wanted:
        began = time.monotonic()
        step = steps.Step(progress, f"copying {mount.source} into the daemon")
        target = mount.target or mount.source
        try:
            source = Path(mount.source).resolve(strict=True)
            place = target if source.is_dir() else str(Path(target).parent)
            chunks = step.counted(tars.pack(entries(source, target), owners=True))
            script = ["sh", "-c", tars.FIND + _UNPACK, "sh", place, target]
            command = exec_module.Command(script, stdin=chunks, tick=step.tick)
            with step:
                done = exec_module.run(client, container, command)
        except (OSError, tars.Failed) as error:
            raise _failed(mount.source, target, str(error)) from error
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip()
            raise _failed(mount.source, target, said or f"tar ended with {done.returncode}.")
        size, seconds = (step.here or 0) / streams.MEGA, time.monotonic() - began
        progress(f"copied {mount.source} into the daemon: {size:.1f} MB in {seconds:.1f} s")


def entries(source: Path, target: str) -> Iterator[tars.Entry]:
    """The entries of the archive for a file, or a directory without what is ignored in it."""
    if not source.is_dir():
        yield tars.Entry(Path(target).name, source)
        return
    yield tars.Entry(".", source)
    for name in _not_ignored(source):
        yield tars.Entry(name, source / name)


def _not_ignored(root: Path) -> Iterable[str]:
    """The paths below a directory that its `.dockerignore` leaves, the directories first."""
    from docker.utils.build import walk

    patterns: list[str] = []
    if (root / _IGNORE).is_file():
        lines = map(str.strip, (root / _IGNORE).read_text(errors="replace").splitlines())
        patterns = [line for line in lines if line and not line.startswith("#")]
    found: Iterable[str] = walk(os.fspath(root), patterns)
    return found


def _failed(source: str, target: str, evidence: str) -> DindError:
    return DindError(
        f"--dind-mount: {source} could not be copied into the daemon, to {target}.",
        evidence=evidence,
        remedy=[
            "Mend what it says.",
            f"Leave files out by a {_IGNORE} in the directory.",
            "Name another place in the daemon: --dind-mount copy:PATH:TARGET.",
        ],
    )
