"""Tar archives that are made while they are sent, and unpacked while they come.

None is ever whole in memory or in a file: a file in it may be larger than both.
"""

from __future__ import annotations

import os
import tarfile
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

_BLOCK = 512
_CHUNK = 256 * 1024
_END = bytes(2 * _BLOCK)

FIND = """
tar=tar
command -v tar >/dev/null || tar='busybox tar'
[ "$tar" = tar ] || command -v busybox >/dev/null || {
    echo "The image has no tar, and no busybox, by which files are copied." >&2
    exit 1
}
"""
"""Shell code of a container, after which `$tar` is what unpacks and makes archives there."""


class Failed(Exception):
    """An archive can't be made or unpacked; the text says what of it, and why."""


class Entry(NamedTuple):
    """A file, directory or link of an archive: its name there, and what it is made of.

    Attributes:
        name: The name.
        source: What is there, or the contents of a file.
        mode: The mode of a file that is given by its contents.
    """

    name: str
    source: Path | bytes
    mode: int = 0o644


def tree(root: Path) -> Iterator[Entry]:
    """A directory, as `.`, and all that is in it; symbolic links in it stay links."""
    yield Entry(".", root)

    def unreadable(error: OSError) -> None:
        raise Failed(str(error)) from error

    for directory, directories, files in os.walk(root, onerror=unreadable):
        here = Path(directory)
        for name in sorted(directories + files):
            yield Entry(str((here / name).relative_to(root)), here / name)


def pack(entries: Iterable[Entry], *, owners: bool = False) -> Iterator[bytes]:
    """The archive of these, in chunks; sockets are left out.

    Args:
        entries: The entries.
        owners: Whether files keep their owners, by number; else all is root's.

    Raises:
        Failed: a file can't be read, or became shorter meanwhile.
    """
    # Only its `gettarinfo` is used, which knows hard links; it writes nothing.
    archive = tarfile.TarFile(fileobj=_Nowhere(), mode="w")  # type: ignore[arg-type]
    for name, source, mode in entries:
        if isinstance(source, bytes):
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(source), mode
            yield _head(info) + source + _padding(info)
            continue
        try:
            made: tarfile.TarInfo | None = archive.gettarinfo(str(source), name)
            if made is None:
                continue
            yield _head(made, owners=owners)
            if made.isreg():
                yield from _contents(source, made.size)
                yield _padding(made)
        except OSError as error:
            raise Failed(str(error)) from error
    yield _END


class _Nowhere:
    """A file as far as `TarFile` asks for one when it is made."""

    mode = "wb"

    def tell(self) -> int:
        return 0


def _head(info: tarfile.TarInfo, *, owners: bool = False) -> bytes:
    if not owners:
        info.uid = info.gid = 0
    info.uname = info.gname = ""
    info.mtime = int(info.mtime)
    # The format whose long names busybox knows too.
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


def _padding(info: tarfile.TarInfo) -> bytes:
    return bytes(-info.size % _BLOCK)


def _contents(path: Path, size: int) -> Iterator[bytes]:
    """The first `size` bytes of a file; it may grow while it is read."""
    with path.open("rb") as file:
        while size:
            chunk = file.read(min(size, _CHUNK))
            if not chunk:
                raise Failed(f"{path} became shorter while it was read.")
            size -= len(chunk)
            yield chunk


class Unpacking:
    """Unpacks an archive that comes in chunks, in a thread of its own; a context manager.

    After the block all is unpacked, or `failure` is set.

    Args:
        place: Unpacks it; called in the thread.

    Attributes:
        failure: Why it could not be unpacked.
    """

    def __init__(self, place: Callable[[tarfile.TarFile], None]) -> None:
        self.failure: Exception | None = None
        self._place = place
        self._source, self._sink = os.pipe()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Unpacking:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        os.close(self._sink)
        self._thread.join()

    def write(self, data: bytes) -> None:
        """Take the next chunk."""
        while data:
            data = data[os.write(self._sink, data) :]

    def _run(self) -> None:
        with os.fdopen(self._source, "rb") as file:
            try:
                with tarfile.open(fileobj=file, mode="r|") as archive:
                    self._place(archive)
            except (OSError, tarfile.TarError, Failed) as error:
                self.failure = error
            # Who writes is not to be held up by what follows the archive, or its failure.
            while file.read(_CHUNK):
                pass


def extract(archive: tarfile.TarFile, target: Path) -> None:
    """Unpack an archive into a directory: nothing outside, all its caller's own.

    Devices, pipes and sockets are left out.

    Raises:
        Failed: a name in it leads out of the directory.
        OSError: the directory can't be written.
    """
    root = target.resolve()
    # Newer versions of Python would otherwise refuse links and take rights away.
    archive.extraction_filter = lambda member, path: member

    def members() -> Iterator[tarfile.TarInfo]:
        for member in archive:
            if not (member.isreg() or member.isdir() or member.issym() or member.islnk()):
                continue
            path = _within(root, member.name)
            if member.islnk():
                _within(root, member.linkname)
            # Nothing is written through a link, or into a file of several names.
            if path.is_symlink() or (path.exists() and not path.is_dir()):
                path.unlink()
            mine(member)
            yield member

    archive.extractall(root, members())


def mine(member: tarfile.TarInfo) -> None:
    """Make an entry the caller's own."""
    member.uid, member.gid = os.geteuid(), os.getegid()
    member.uname = member.gname = ""


def write(archive: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    """Write the one file of an archive, with its mode and time."""
    source: IO[bytes] | None = archive.extractfile(member)
    if source is None:
        raise Failed(f"{member.name} is no file.")
    with target.open("wb") as file:
        while chunk := source.read(_CHUNK):
            file.write(chunk)
    target.chmod(member.mode)
    os.utime(target, (member.mtime, member.mtime))


def _within(root: Path, name: str) -> Path:
    """The path of an entry below `root`.

    Raises:
        Failed: it is outside, by its own name or by a link that was unpacked before.
    """
    inner = PurePosixPath(name)
    path = root / inner
    parent = path if path == root else path.parent.resolve()
    if inner.is_absolute() or ".." in inner.parts or not parent.is_relative_to(root):
        raise Failed(f"The name {name!r} leads out of {root}.")
    return path
