"""The start and the end of a forwarder's process, and what it tells."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

from ..lifetime import labels, light
from ..lifetime.layout import FORWARDED, FORWARDER
from .config import ForwarderConfig


def start(config: ForwarderConfig) -> subprocess.Popen[bytes]:
    """Start a forwarder's process; one that finds another in its place ends at once.

    The process that is returned ends at once in any case; wait for it.

    Raises:
        OSError: it could not be started.
    """
    (Path(config.home) / FORWARDER).touch(mode=0o600)
    return subprocess.Popen(
        light.command(f"{__package__}.process", config.dump()),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        start_new_session=True,
    )


def is_on(home: Path) -> bool:
    """Whether a forwarder was started for the daemon of a home."""
    return (home / FORWARDER).exists()


def is_alive(home: Path) -> bool:
    """Whether the forwarder of a home runs, or is about to; true where that can't be known."""
    try:
        written = (home / FORWARDER).read_text()
    except OSError:
        return False
    return not labels.is_gone(written)


def told(home: Path) -> dict[str, Any]:
    """Return what the forwarder of a home has told; empty before it has told anything.

    `direct` is whether it reaches the daemon's address; `opened` has the port of this machine by
    each published port (`80/tcp`), and `taken` why one could not be opened.
    """
    with contextlib.suppress(OSError, ValueError):
        found = json.loads((home / FORWARDED).read_text())
        if isinstance(found, dict):
            return found
    return {}


def end(home: Path) -> None:
    """End the forwarder of a home, if there is one; it is none then that ended by itself."""
    with contextlib.suppress(OSError):
        written = (home / FORWARDER).read_text()
        # Without /proc there is nothing to know it by.
        if written.isdecimal() and not labels.process():
            os.kill(int(written), signal.SIGTERM)
        elif (found := labels.pid(written)) is not None:
            os.kill(found, signal.SIGTERM)
        # Nor does one begin that is about to.
        (home / FORWARDER).unlink()
