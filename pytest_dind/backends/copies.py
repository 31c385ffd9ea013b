"""Copies of this machine's files in a daemon's container, streamed as tar archives."""

from __future__ import annotations

import io
import tarfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..engine import exec as exec_module
from ..engine import streams
from ..errors import DindError
from ..mounts import Mount

if TYPE_CHECKING:
    import docker

_CHUNK = 256 * 1024
_IGNORED = ".dockerignore"
# A sandbox of Sysbox's takes no archive by the engine's API while it runs; a command works in all.
_UNPACK = 'mkdir -p "$1" && exec tar -x -p -f - -C "$1"'


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
        archive = _Archive(Path(mount.source), mount.target or mount.source)
        began = time.monotonic()
        command = exec_module.Command(["sh", "-c", _UNPACK, "sh", archive.place], stdin=archive)
        done = exec_module.run(client, container, command)
        if archive.failure is not None or done.returncode:
            said = done.stderr.decode(errors="replace").strip()
            raise DindError(
                f"--dind-mount: {mount.source} could not be copied into the daemon, to "
                f"{archive.target}.",
                evidence=str(archive.failure or said or f"tar ended with {done.returncode}."),
                remedy=[
                    "Mend what it says.",
                    f"Leave files out by a {_IGNORED} in the directory.",
                    "Name another place in the daemon: --dind-mount copy:PATH:TARGET.",
                ],
            )
        seconds = time.monotonic() - began
        progress(f"copied {mount.source}: {archive.size / streams.MEGA:.1f} MB in {seconds:.1f} s")


class _Archive:
    """A tar archive of a directory, or of one file, made as it is read; never whole in memory.

    Attributes:
        target: The path of the copy.
        place: The directory that the archive is to be unpacked in.
        size: The bytes of its files so far.
        failure: The error that ended it before its time.
    """

    def __init__(self, source: Path, target: str) -> None:
        self._source = source
        self.target = target
        self.place = target if source.is_dir() else str(Path(target).parent)
        self.size = 0
        self.failure: OSError | None = None

    def __iter__(self) -> Iterator[bytes]:
        try:
            # It describes files; the archive is made here, part by part.
            with tarfile.open(mode="w", fileobj=io.BytesIO()) as tar:
                for path, name in self._entries():
                    yield from self._entry(tar, path, name)
            yield bytes(2 * tarfile.BLOCKSIZE)
        except OSError as error:
            self.failure = error

    def _entries(self) -> Iterator[tuple[Path, str]]:
        """Each path of the archive, with its name there."""
        if not self._source.is_dir():
            yield self._source, Path(self.target).name
            return
        yield self._source, "."
        for name in _not_ignored(self._source):
            yield self._source / name, name

    def _entry(self, tar: tarfile.TarFile, path: Path, name: str) -> Iterator[bytes]:
        # What a link leads to is taken for the source alone: in it, links stay links.
        info = tar.gettarinfo(path.resolve() if path == self._source else path, name)
        # None: a socket.
        if info is None:
            return
        # By their numbers, as a mount has them; the names are others there.
        info.uname = info.gname = ""
        if info.islnk():
            # Its first name may be one that is ignored.
            info.type, info.linkname, info.size = tarfile.REGTYPE, "", path.lstat().st_size
        if not info.isreg():
            yield info.tobuf(tarfile.PAX_FORMAT)
            return
        with path.open("rb") as file:
            yield info.tobuf(tarfile.PAX_FORMAT)
            yield from self._content(file.read, info.size)

    def _content(self, read: Callable[[int], bytes], size: int) -> Iterator[bytes]:
        left = size
        while left:
            chunk = read(min(left, _CHUNK))
            # A file that became shorter meanwhile is filled up to the size that was announced.
            chunk = chunk or bytes(min(left, _CHUNK))
            left -= len(chunk)
            self.size += len(chunk)
            yield chunk
        yield bytes(-size % tarfile.BLOCKSIZE)


def _not_ignored(root: Path) -> Iterable[str]:
    """The paths below a directory that its `.dockerignore` leaves, the directories first."""
    from docker.utils.build import walk

    patterns: list[str] = []
    ignored = root / _IGNORED
    if ignored.is_file():
        lines = map(str.strip, ignored.read_text(errors="replace").splitlines())
        patterns = [line for line in lines if line and not line.startswith("#")]
    found: Iterable[str] = walk(str(root), patterns)
    return found
