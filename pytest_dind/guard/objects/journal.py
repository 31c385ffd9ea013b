"""The journal of a daemon's guards: which images and names are the run's, in a file of the home.

The engine can't tell that again. A guard that is restarted in the home reads the journal, and so
does the cleaner of a guard that was killed.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from ...lifetime.layout import JOURNAL

# Each line of the file has a kind, and then an image or a time, and a name.
SINCE = "since"
"""When the first guard of the home began, in seconds since 1970."""
GAVE = "gave"
"""An image that stays, and the name that a test gave it, which is removed in the end."""
BROUGHT = "brought"
"""An image that was there before, and the name under which the run pulled it, which stays."""
IMAGE = "image"
"""An image that the run pulled or loaded."""
GONE = "gone"
"""An image that was removed: if it comes again, it is no longer the run's."""
SWARM = "swarm"
"""A node of a swarm that the engine became, and a network that came with it, if any."""
LABELLED = "labelled"
"""Services, secrets or configs were made, which have the run's labels."""


class Journal:
    """The journal of the guards of a home."""

    def __init__(self, home: Path) -> None:
        self._path = home / JOURNAL

    def write(self, kind: str, *words: str) -> None:
        """Add a line."""
        with self._path.open("a", encoding="utf-8") as lines:
            lines.write(" ".join([kind, *words]) + "\n")

    def read(self) -> Iterator[tuple[str, str, str]]:
        """Read the lines in their order: the kind, the first word, and the second one if any."""
        # The home may come from a label, which anybody can write.
        with contextlib.suppress(OSError):
            for line in self._path.read_text(encoding="utf-8", errors="replace").splitlines():
                kind, _, words = line.partition(" ")
                first, _, second = words.partition(" ")
                yield kind, first, second

    def since(self) -> float | None:
        """The time when the first guard of the home began; None if none has."""
        for kind, text, _ in self.read():
            if kind == SINCE:
                with contextlib.suppress(ValueError):
                    return float(text)
        return None

    def begin(self) -> float:
        """The time when the first guard of the home began; notes the present if none has."""
        since = self.since()
        if since is None:
            since = time.time()
            self.write(SINCE, repr(since))
        return since
