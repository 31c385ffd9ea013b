"""Who still uses a daemon: a FIFO whose write end each user holds open.

The first process in the daemon's container reads the FIFO. The kernel gives it end-of-file when
the last holder is gone, however it died, and it ends the container; nothing has to poll.
"""

from __future__ import annotations

import os
from pathlib import Path
from weakref import WeakSet

LEASE = "lease"
"""The FIFO's name in the daemon's home."""

_held: WeakSet[Lease] = WeakSet()


class Lease:
    """This process's hold on what reads the FIFO at `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        # Read and write: opening a FIFO for writing alone fails until somebody reads it.
        # The descriptor is close-on-exec, as every one that Python opens.
        self._fd: int | None = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        _held.add(self)

    @classmethod
    def create(cls, path: Path) -> Lease:
        """Make the FIFO and hold it."""
        os.mkfifo(path, mode=0o600)
        return cls(path)

    def release(self) -> None:
        """Let go; idempotent."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)


def _release_all() -> None:
    for lease in tuple(_held):
        lease.release()


# A forked child is no user of its own: it must neither keep the daemon nor end it.
os.register_at_fork(after_in_child=_release_all)
