"""A daemon that was ready and is gone: noticed, and explained."""

from __future__ import annotations

import contextlib

from . import health, state, transport
from .daemon import RESTARTING, Daemon
from .errors import DaemonLost

# 128 + SIGKILL, as a shell and the engine count it.
_KILLED = 137


def lost(daemon: Daemon, *, asks: bool = False) -> DaemonLost | None:
    """The error for a daemon that is gone; None for one that serves, busy or not.

    Args:
        daemon: The daemon.
        asks: Whether it may have been killed just now, which takes a moment more to find out.
    """
    record, files = daemon.record, daemon._files
    if (record.home.path / RESTARTING).exists():
        return None
    served = transport.is_served(record.host, record.certificates, asks=asks)
    # A look at the code takes the outer engine some milliseconds where it is not in a directory.
    if served and (record.certificates or health.exit_code(files) is None):
        return None
    code = None
    # The loss matters more than what the engine, which may be lost too, knows of it.
    with contextlib.suppress(Exception):
        code = daemon.exit_code()
    remedy = [
        "Look in its last log lines for what ended it.",
        "A test that stops or kills the daemon needs a run of its own.",
    ]
    ended = "It left no exit code." if code is None else f"It ended with exit code {code}."
    if code == _KILLED:
        ended = (
            f"Exit code {code}: it was killed (SIGKILL), most often by the out-of-memory killer."
        )
        remedy.insert(0, "Give the machine more memory, or run fewer tests at once.")
        found = state.read(daemon.record.home)
        if found is not None and found[1].memory:
            limit = found[1].memory
            ended += f" Its container's limit is {limit} (--dind-memory)."
            remedy.insert(0, f"Raise the limit: --dind-memory, above {limit}.")
    return DaemonLost(
        f"The daemon {daemon.name!r} (mode {daemon.mode}) is gone; tests that need it fail.",
        evidence=f"{ended}\n{health.log(files)}",
        remedy=remedy,
    )
