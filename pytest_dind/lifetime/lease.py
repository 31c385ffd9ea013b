"""The lease of a run: a FIFO whose write end each process that uses the run holds open.

The first process in the daemon's container reads the FIFO, and so does the reaper. The kernel
gives them end-of-file when the last user is gone, however it died; nothing has to poll.
"""

from __future__ import annotations

import os
from pathlib import Path
from weakref import WeakSet

_held: WeakSet[Held] = WeakSet()


class Held:
    """A descriptor that keeps a daemon alive for as long as this process has it open.

    The descriptor is close-on-exec, as every one that Python opens. It outlives this object.
    """

    def __init__(self, fd: int) -> None:
        self._fd: int | None = fd
        _held.add(self)

    def release(self) -> None:
        """Close the descriptor; idempotent."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)


class Lease(Held):
    """This process's hold on the lease at `path`, which is made when it is missing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.exists():
            os.mkfifo(path, mode=0o600)
        # Read and write: opening a FIFO for writing alone fails until somebody reads it.
        super().__init__(os.open(path, os.O_RDWR | os.O_NONBLOCK))


def is_held(path: Path) -> bool:
    """Whether any process holds the lease at `path`; false when there is no such file."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        return False
    try:
        return os.read(fd, 1) != b""
    except BlockingIOError:
        # Nothing to read yet, but somebody could still write.
        return True
    finally:
        os.close(fd)


def _release_all() -> None:
    for lease in tuple(_held):
        lease.release()


# A forked child is no user of its own: it must neither keep the daemon nor end it.
os.register_at_fork(after_in_child=_release_all)
