"""A look into a daemon that is there, or was: its log, and a command in its container."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..engine import containers, session
from ..errors import DaemonLost, ModeUnavailable
from ..lifetime import layout
from ..lifetime.layout import Home

if TYPE_CHECKING:
    from ..engine.engine import Engine
    from .sweep import Entry

SHELL = ("sh",)
"""The command of a person who names none."""

_LOG = f"{layout.IN_CONTAINER}/{layout.LOG}"
_ALL = "+1"
# Ends with its stdin, since an engine lets a command run on whose client is gone.
_FOLLOW = 'tail -n "$0" -f "$1" & cat >/dev/null; kill $!'


def shell(engine: Engine, entry: Entry, command: Sequence[str]) -> int:
    """Run a command, or a shell, in a daemon's container; gives its exit code.

    Raises:
        ModeUnavailable: the daemon has no container.
        DaemonLost: its container does not run.
    """
    details = _container(engine, entry)
    state = details["State"]
    if not state["Running"] or state.get("Paused"):
        status = state.get("Status", "")
        raise DaemonLost(
            f"Nothing can be run in the daemon {entry.name!r}: its container does not run.",
            evidence=f"Its container is {status}, with exit code {state.get('ExitCode')}.",
            remedy=[
                f"See what it said last: pytest-dind logs {entry.name}",
                f"Let it run on if it is paused (docker unpause {entry.name}); remove it if it "
                f"has ended (pytest-dind rm {entry.name}).",
            ],
        )
    return session.run(engine.client, details["Id"], command or SHELL)


def show_log(engine: Engine, entry: Entry, *, tail: int | None, follow: bool) -> None:
    """Write a daemon's log to stdout.

    Args:
        engine: The outer engine.
        entry: The daemon.
        tail: The number of its last lines that are written; None for all.
        follow: Whether what it logs from now on is written too, until it ends.

    Raises:
        ModeUnavailable: the daemon has no container.
    """
    details = _container(engine, entry)
    lines = _ALL if tail is None else str(tail)
    in_container = details["State"]["Running"] and _is_supervised(details)
    if follow and in_container:
        session.follow(engine.client, details["Id"], ["sh", "-c", _FOLLOW, lines, _LOG])
    elif entry.local and (entry.home / layout.LOG).is_file():
        show_file(entry.home / layout.LOG, tail)
    elif in_container:
        session.follow(engine.client, details["Id"], ["tail", "-n", lines, _LOG])
    else:
        # Of an image without a shell, whose dockerd writes to the engine's own log.
        api: Any = engine.client.api
        wanted = "all" if tail is None else tail
        _write(api.logs(details["Id"], stream=True, follow=follow, tail=wanted))


def show_file(path: Path, tail: int | None) -> None:
    """Write the last lines of a log's file to stdout, or all of them."""
    with path.open("rb") as file:
        _write(deque(file, maxlen=tail))


def logs_of_gone(base: Path, name: str) -> Path | None:
    """The log of a daemon whose container is gone while its directory is there still.

    Args:
        base: The directory of all runs.
        name: The name of the daemon's container.
    """
    found = (log for log in base.glob(f"*/*/{layout.LOG}") if Home(log.parent).label == name)
    return next(found, None)


def _write(chunks: Iterable[bytes]) -> None:
    for chunk in chunks:
        sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()


def _is_supervised(details: Mapping[str, Any]) -> bool:
    """Tell whether supervise.sh is a container's first process, which writes the log's file."""
    return list(details["Config"].get("Entrypoint") or [])[:2] == ["sh", "-c"]


def _container(engine: Engine, entry: Entry) -> Mapping[str, Any]:
    """A daemon's container, as the engine's inspect has it."""
    if entry.guarded:
        raise ModeUnavailable(
            f"The daemon {entry.name!r} has no container: in mode socket it is the engine itself.",
            evidence=f"Its guard is a process, with its files in {entry.home}.",
            remedy=[
                "Ask the engine: docker ps; its log is journalctl -u docker.",
                "Use a mode with a daemon of its own: --dind-mode auto.",
            ],
        )
    details = containers.inspect(engine.client, entry.name)
    if details is None:
        raise DaemonLost(
            f"The daemon {entry.name!r} is gone.",
            evidence="It was there a moment ago; its container has been removed since.",
            remedy=["See what is there: pytest-dind ps"],
        )
    return details
