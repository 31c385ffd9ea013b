"""What a run's user reads of the daemons: progress while it starts, a summary at the end."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable
from contextlib import nullcontext
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import pytest

    from ..backends.protocol import Record
    from ..backends.registry import Choice

_waiting: deque[str] = deque()


def progress(config: pytest.Config, text: str) -> None:
    """Print a line on what takes long, past pytest's capturing."""
    if threading.current_thread() is not threading.main_thread():
        # Capturing is not to be touched while a test runs: the next line takes this one with it.
        _waiting.append(text)
        return
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    capture = config.pluginmanager.get_plugin("capturemanager")
    if reporter is None:
        return
    with capture.global_and_fixture_disabled() if capture else nullcontext():
        while _waiting:
            reporter.write_line(f"dind: {_waiting.popleft()}")
        reporter.write_line(f"dind: {text}")


def choice(made: Choice) -> list[str]:
    """Lines on the mode in force, and why `auto` picked it; on the way to it, if unusual."""
    why = f"auto: {made.mode}, because {made.because}" if made.because else f"mode {made.mode}"
    return [f"dind: {text}" for text in (why, made.connection) if text]


def said() -> list[str]:
    """The lines that nobody has printed yet."""
    lines = [f"dind: {text}" for text in _waiting]
    _waiting.clear()
    return lines


Told = tuple[str, str]
"""A daemon's id, or nothing, and a line on it: what several workers say of one is said once."""


class Summary(NamedTuple):
    """What the run's end says.

    Attributes:
        told: Of the daemons.
        left: What was left behind in them.
    """

    told: list[Told]
    left: list[str]


def summary(
    choices: Iterable[Choice], used: Iterable[Record], kept: Iterable[Record]
) -> list[Told]:
    """Why each mode, a line for each daemon, and for each that stays how to use and remove it."""
    used = list(used)
    lines = said() + [line for made in choices if made.because for line in choice(made)]
    lines += [f"dind: {record.because}" for record in used if record.because]
    told = [("", line) for line in lines] + [(record.id, _ready(record)) for record in used]
    return told + [(record.id, line) for record in kept for line in _kept(record)]


def _ready(record: Record) -> str:
    pulled = f"pulled in {record.pulled:.2f} s, " if record.pulled else ""
    return (
        f"dind: daemon {record.home.name!r} {pulled}ready in {record.seconds:.2f} s "
        f"(mode {record.mode}, Docker {record.version}, {record.driver})"
    )


def _kept(record: Record) -> list[str]:
    return [
        f"dind: kept {record.home.label}; to use it, and to remove it:",
        *(f"  export {name}={value}" for name, value in record.variables().items()),
        f"  python -m pytest_dind rm {record.home.label}",
    ]
