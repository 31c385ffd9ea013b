"""What a guard has learned and the engine can't tell it again, in a file of the daemon's home.

A guard that is started anew in the home reads it, and so does who cleans up after one that was
killed.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

JOURNAL = "journal"
"""The file, in a daemon's home: a line each, its kind and then what it is about."""

SINCE = "since"
"""When the first guard of the home began, in seconds since 1970."""
GAVE = "gave"
"""An image that stays, and a name that a test gave it: to be taken back in the end."""
BROUGHT = "brought"
"""An image that was there already, and a name under which the run brought it: it keeps that."""
IMAGE = "image"
"""An image that the run brought."""
GONE = "gone"
"""An image that is gone: whoever brings it again, it is another one."""


class Journal:
    """The journal of the guards of a home."""

    def __init__(self, home: Path) -> None:
        self._path = home / JOURNAL

    def write(self, kind: str, *words: str) -> None:
        """Add a line."""
        with self._path.open("a", encoding="utf-8") as lines:
            lines.write(" ".join([kind, *words]) + "\n")

    def read(self) -> Iterator[tuple[str, str, str]]:
        """The lines in their order: each one's kind, its first word, and its second or nothing."""
        # The home may be one that a label leads to, which anybody can write.
        with contextlib.suppress(OSError):
            for line in self._path.read_text(encoding="utf-8", errors="replace").splitlines():
                kind, _, words = line.partition(" ")
                first, _, second = words.partition(" ")
                yield kind, first, second

    def since(self) -> float | None:
        """When the first guard of the home began, None where none has."""
        for kind, text, _ in self.read():
            if kind == SINCE:
                with contextlib.suppress(ValueError):
                    return float(text)
        return None

    def begin(self) -> float:
        """When the first guard of the home began: now, where none has."""
        since = self.since()
        if since is None:
            since = time.time()
            self.write(SINCE, repr(since))
        return since
