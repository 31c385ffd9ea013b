"""The memory that a Linux machine has to spare, as its /proc/meminfo tells."""

from __future__ import annotations

import re
from pathlib import Path

PATH = Path("/proc/meminfo")


def available(meminfo: str) -> int | None:
    """The bytes that are available, by the text of the file; None where it does not tell."""
    found = re.search(r"^MemAvailable:\s*(\d+) kB$", meminfo, re.MULTILINE)
    return int(found[1]) << 10 if found else None
