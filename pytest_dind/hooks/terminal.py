"""The lines on daemons in pytest's terminal: progress, the mode in force, and the summary."""

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


class Progress:
    """A printer of lines on what takes long, past pytest's capturing.

    Args:
        config: pytest's configuration.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._pending: deque[str] = deque()

    def __call__(self, text: str) -> None:
        """Print a line; one of another thread is printed with the next of the main thread."""
        if threading.current_thread() is not threading.main_thread():
            # Capturing is not to be touched while a test runs.
            self._pending.append(text)
            return
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        capture = self._config.pluginmanager.get_plugin("capturemanager")
        if reporter is None:
            return
        with capture.global_and_fixture_disabled() if capture else nullcontext():
            while self._pending:
                reporter.write_line(f"dind: {self._pending.popleft()}")
            reporter.write_line(f"dind: {text}")

    def pending(self) -> list[str]:
        """Return the lines that have not been printed, as the summary has them."""
        lines = [f"dind: {text}" for text in self._pending]
        self._pending.clear()
        return lines


def choice(made: Choice) -> list[str]:
    """Return the lines on the mode in force: why `auto` picked it, and how the daemon is reached.

    How it is reached is said where that is not by a shared directory.
    """
    why = f"auto: {made.mode}, because {made.because}" if made.because else f"mode {made.mode}"
    return [f"dind: {text}" for text in (why, made.connection) if text]


Told = tuple[str, str]
"""A daemon's id, or an empty text, and a line: what several workers say of one is said once."""


class Summary(NamedTuple):
    """The lines at a run's end.

    Attributes:
        told: The lines on daemons.
        leaks: The lines on what tests left behind in them.
        facts: The properties on daemons in a JUnit report.
    """

    told: list[Told]
    leaks: list[str]
    facts: list[tuple[str, str]]

    def add(
        self,
        told: Iterable[Told],
        leaks: Iterable[str],
        facts: Iterable[tuple[str, str]],
    ) -> None:
        """Add the lines of a process of the run."""
        self.told.extend(told)
        self.leaks.extend(leaks)
        self.facts.extend(facts)


def summary(
    choices: Iterable[Choice], used: Iterable[Record], kept: Iterable[Record]
) -> list[Told]:
    """Return the lines on daemons at a run's end.

    Args:
        choices: The modes in force: told is why `auto` picked one.
        used: The daemons that the run used: told is how long each took.
        kept: The daemons that stay: told is how to use and to remove each.
    """
    used = list(used)
    lines = [line for made in choices if made.because for line in choice(made)]
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
