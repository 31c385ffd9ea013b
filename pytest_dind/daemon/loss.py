"""The loss of a daemon that was ready: noticed, and explained."""

from __future__ import annotations

import contextlib
import signal
import traceback
from collections.abc import Iterable
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from ..backends import readiness, records
from ..backends.protocol import Backend, Record
from ..causes import explained
from ..engine import http
from ..errors import DaemonLost
from ..lifetime import layout

_BY_SIGNAL = 128
_KILLED = _BY_SIGNAL + signal.SIGKILL
STOPPED: set[str] = set()
"""The ids of the daemons that this process has ended on purpose."""


class Ending(NamedTuple):
    """How a daemon ended.

    Attributes:
        text: What is known of it.
        remedy: What to do about it.
    """

    text: str
    remedy: list[str]


def lost(record: Record, backend: Backend, *, asks: bool = False) -> DaemonLost | None:
    """The error for a daemon that is gone; None for one that serves, busy or not.

    Args:
        record: The daemon's record.
        backend: The daemon's backend.
        asks: Whether it may have been killed just now, which takes a moment more to find out.
    """
    ended = ending(record, backend, asks=asks)
    if ended is None:
        return None
    error = DaemonLost(
        f"The daemon {record.home.name!r} (mode {record.mode}) is gone; tests that need it fail.",
        evidence=f"{ended.text}\n{readiness.log(backend.files(record))}",
        remedy=ended.remedy,
    )
    return explained(error)


def ending(record: Record, backend: Backend, *, asks: bool = False) -> Ending | None:
    """How a daemon ended; None for one that serves, busy or not. See `lost`."""
    if (record.home.path / layout.RESTARTING).exists():
        return None
    if record.id and record.id in STOPPED:
        return Ending(
            "The tests ended it: Daemon.stop(), or a call that ends a node.",
            [
                "End it after the last test that needs it.",
                "Have another one for tests that end theirs: dind_factory(), or dind_fresh.",
            ],
        )
    files = backend.files(record)
    served = http.is_served(record.host, record.certificates, asks=asks)
    # The exit code costs the outer engine some milliseconds where it is not in a shared directory.
    if served and (record.certificates or readiness.exit_code(files) is None):
        return None
    code = None
    # The engine may be lost too; the error for the daemon matters more than its exit code.
    with contextlib.suppress(Exception):
        code = backend.post_mortem(record)
    remedy = [
        "Look in its last log lines for what ended it.",
        "A test that stops or kills the daemon needs a run of its own.",
    ]
    ended = "It left no exit code."
    if code is not None:
        ended = f"It ended with exit code {code}{_signal(code)}."
    if not record.home.path.is_dir():
        ended = (
            f"Its directory {record.home.path}, by which it is reached, was removed: by a cleaner "
            "of temporary files, a test, or `pytest-dind rm`."
        )
        remedy = [
            "Set TMPDIR to a directory that nobody clears while tests run.",
            "Have no test remove what is not its own.",
        ]
    if code == _KILLED:
        ended = (
            f"Exit code {code}: it was killed (SIGKILL), most often by the out-of-memory killer."
        )
        remedy.insert(0, "Give the machine more memory, or run fewer tests at once.")
        found = records.read(record.home)
        if found is not None and found[1].memory:
            limit = found[1].memory
            ended += f" Its container's limit is {limit} (--dind-memory)."
            remedy.insert(0, f"Raise the limit: --dind-memory, above {limit}.")
    return Ending(ended, remedy)


def _signal(code: int) -> str:
    """The signal that an exit code of more than 128 stands for, as a shell and the engine count."""
    with contextlib.suppress(ValueError):
        return f" ({signal.Signals(code - _BY_SIGNAL).name})"
    return ""


def lost_behind(
    error: BaseException, daemons: Iterable[tuple[Record, Backend]]
) -> DaemonLost | None:
    """The error for the daemon whose loss made a call of a docker client fail; None for another.

    Args:
        error: The failure; the client is found in its traceback.
        daemons: The record and the backend of each daemon that may be gone.
    """
    hosts = _hosts(error)
    found = (
        lost(record, backend, asks=True) for record, backend in daemons if record.host in hosts
    )
    return next(filter(None, found), None)


def _hosts(error: BaseException | None) -> set[str]:
    """The URLs that docker clients called, found in the tracebacks of an error and its causes."""
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
