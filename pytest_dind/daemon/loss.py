"""A daemon that was ready and is gone: noticed, and explained."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from ..backends import readiness, records
from ..engine import http
from ..errors import DaemonLost
from ..lifetime.layout import RESTARTING
from .handle import Daemon

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
    served = http.is_served(record.host, record.certificates, asks=asks)
    # A look at the code takes the outer engine some milliseconds where it is not in a directory.
    if served and (record.certificates or readiness.exit_code(files) is None):
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
        found = records.read(daemon.record.home)
        if found is not None and found[1].memory:
            limit = found[1].memory
            ended += f" Its container's limit is {limit} (--dind-memory)."
            remedy.insert(0, f"Raise the limit: --dind-memory, above {limit}.")
    return DaemonLost(
        f"The daemon {daemon.name!r} (mode {daemon.mode}) is gone; tests that need it fail.",
        evidence=f"{ended}\n{readiness.log(files)}",
        remedy=remedy,
    )


def lost_behind(error: BaseException, daemons: Iterable[Daemon]) -> DaemonLost | None:
    """The error for the daemon whose loss made a call of a docker client fail, if that did.

    Args:
        error: What failed; the client is found in its traceback.
        daemons: Those that may be gone.
    """
    hosts = _hosts(error)
    found = (lost(daemon, asks=True) for daemon in daemons if daemon.host in hosts)
    return next(filter(None, found), None)


def _hosts(error: BaseException | None) -> set[str]:
    """The URLs of the daemons that docker clients called, by the tracebacks of chained errors."""
    from docker import APIClient

    found: set[str] = set()
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        for frame, _ in traceback.walk_tb(error.__traceback__):
            api: Any = frame.f_locals.get("self")
            if isinstance(api, APIClient):
                path = getattr(api.get_adapter(api.base_url), "socket_path", "")
                found.add(f"unix://{path}" if path else f"tcp://{urlsplit(api.base_url).netloc}")
        error = error.__cause__ or error.__context__
    return found
