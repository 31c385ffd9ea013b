"""One run at a time, for what two at once would spoil."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from _console import step
from filelock import FileLock, Timeout


@contextlib.contextmanager
def lock(directory: Path, name: str) -> Iterator[None]:
    """Let one run at a time do this."""
    directory.mkdir(parents=True, exist_ok=True)
    file = FileLock(directory / f"{name}.lock")
    try:
        file.acquire(timeout=0)
    except Timeout:
        with step("waiting for another run of this command"):
            file.acquire()
    try:
        yield
    finally:
        file.release()
