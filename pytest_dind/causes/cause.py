"""A known cause of failures: a row of the tables beside this module."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..errors import DindError, ModeUnavailable

MOBY = "https://github.com/moby/moby"
RUNC = "https://github.com/opencontainers/runc"
CONTAINERD = "https://github.com/containerd/containerd"
FOR_LINUX = "https://github.com/docker/for-linux"
FOR_MAC = "https://github.com/docker/for-mac"
OFFICIAL_IMAGE = "https://github.com/docker-library/docker"

# Line numbers hold for one state of the source alone.
MOBY_CODE = f"{MOBY}/blob/b985e2313a86"
RUNC_CODE = f"{RUNC}/blob/76d9cf5da568"
CONTAINERD_CODE = f"{CONTAINERD}/blob/301026e58c61"


@dataclass(frozen=True)
class Cause:
    """A known cause of failures.

    Attributes:
        name: The row's name, the only one of its kind.
        pattern: A regular expression of the texts that tell of it; its case does not matter, and
            ^ and $ are the ends of a line.
        meaning: What happened, as a sentence without its full stop.
        remedy: What to do, as alternatives.
        sources: Where such a text was recorded, or the code that writes it, as URLs.
        error: The error for an engine that does not start a daemon's container for it.
        fails: Whether something fails for it; what only works worse for it is never named as the
            cause of a failure.
    """

    name: str
    pattern: str
    meaning: str
    remedy: tuple[str, ...]
    sources: tuple[str, ...]
    error: type[DindError] = ModeUnavailable
    fails: bool = True

    def is_in(self, text: str) -> bool:
        """Tell whether a text tells of this cause."""
        return re.search(self.pattern, text, re.IGNORECASE | re.MULTILINE) is not None
