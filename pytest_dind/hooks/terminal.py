"""The lines on daemons in pytest's terminal: progress, the mode in force, and the summary."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, NamedTuple

from ..engine import steps
from ..engine.steps import Going
from ..lifetime import layout
from . import live

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from ..backends.protocol import Record
    from ..backends.registry import Choice


_MOST_LINES = 5
"""The most lines of the summary on daemons."""


def verbosity(config: pytest.Config) -> int:
    """Return how often `-v` was given, less how often `-q` was; 0 without pytest's terminal."""
    return int(getattr(config.option, "verbose", 0))


def is_silent(config: pytest.Config) -> bool:
    """Tell whether nothing is to be printed: under `-q -q`."""
    return verbosity(config) < -1


class Progress:
    """A printer of lines on what takes long, past pytest's capturing.

    What goes on has one line that is written over on a terminal, and else a line now and then.

    Args:
        config: pytest's configuration.

    Attributes:
        is_live: Whether there is a line that is written over.
        is_apart: Whether what this process writes has no part in the output of its tests: it is a
            worker of xdist's, or has such.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._pending: deque[str] = deque()
        self._going = self._looked_at = Going()
        self._plain = steps.Plain(self._pending.append)
        self._lock = threading.Lock()
        self._process = os.getpid()
        self.is_apart = live.has_workers(config) or hasattr(config, "workerinput")
        self.is_live = not is_silent(config) and live.fits(config)
        self._live = live.LiveLine()

    def __call__(self, text: str, *, at_once: bool = False) -> None:
        """Print a line; one of another thread is printed with the next of the main thread.

        See `steps` for the lines on what goes on. Those that the main thread waits for are printed
        at once, whichever thread tells them.

        Args:
            text: The line.
            at_once: Whether it is printed at once in any case, where this process is apart.
        """
        if is_silent(self._config):
            return
        is_main = threading.current_thread() is threading.main_thread()
        if isinstance(text, Going):
            self._going = text
            is_main = text.is_waited_for
        is_main = is_main or (at_once and self.is_apart)
        write = live.writer(self._config)
        if self.is_apart and os.getpid() != self._process:
            # A forked child must not write to what leads to the other processes.
            write = None
        if text and not isinstance(text, Going) and (write is not None or not is_main):
            self._pending.append(text)
        # Capturing is not to be touched while a test runs.
        if is_main and write is not None:
            with self._lock:
                self._print(write, goes_on=isinstance(text, Going) or not text)

    def _print(self, write: Callable[[str], object], *, goes_on: bool) -> None:
        going = self._going if goes_on else Going()
        if self.is_live:
            shown = going if going.seconds else Going()
            if not (self._pending or shown or self._live.is_shown):
                return
        else:
            shown = Going()
            # While the main thread waits, it looks at the same again and again.
            if going is not self._looked_at:
                self._looked_at = going
                self._plain(going)
            if not self._pending:
                return
        manager = self._config.pluginmanager
        capture = None if self.is_apart else manager.get_plugin("capturemanager")
        with capture.global_and_fixture_disabled() if capture else nullcontext():
            if self._pending or not shown:
                self._live.erase()
            while self._pending:
                write(f"dind: {self._pending.popleft()}")
            if shown:
                self._live.draw(f"dind: {shown}", self._config)

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
    return told + [(together[0].id, _kept(together)) for together in _together(kept)]


def shortened(told: Iterable[Told], *, verbose: bool) -> list[str]:
    """Return the lines of the summary on daemons, as they are printed.

    These are at most five, unless all are asked for. What was ready when is left out first.
    """
    texts: list[Told] = [*dict.fromkeys((id_, text) for id_, text in told)]
    if verbose or sum(map(_height, texts)) <= _MOST_LINES:
        return [line for _, text in texts for line in text.splitlines()]
    room, shown = _MOST_LINES - 1, []
    for one in sorted(texts, key=_rank):
        if _height(one) > room:
            break
        room -= _height(one)
        shown.append(one)
    lines = [line for one in texts if one in shown for line in one[1].splitlines()]
    return [*lines, f"dind: and {len(texts) - len(shown)} more, -v tells all"]


def _height(told: Told) -> int:
    return told[1].count("\n") + 1


def _rank(told: Told) -> int:
    """Return what is told first: of the run, of a daemon that stays, and of any daemon."""
    return 0 if not told[0] else 1 if "\n" in told[1] else 2


def unread_apis(outer: Mapping[str, str], used: Iterable[Record]) -> list[Told]:
    """Return the lines on engines whose API is newer than the plugin knows; all else is as ever.

    Args:
        outer: The newest API of each outer engine, by its URL.
        used: The daemons that the run used.
    """
    from ..engine import versions

    found = [("", f"the outer engine at {url}", version) for url, version in outer.items()]
    # In mode socket a record has what the guard says, which is never newer.
    found += [(one.id, f"daemon {one.home.name!r}", one.api_version) for one in used]
    return [
        (id_, f"dind: {who}: {versions.unread(version)}")
        for id_, who, version in found
        if versions.unread(version)
    ]


def _ready(record: Record) -> str:
    pulled = f"pulled in {record.pulled:.2f} s, " if record.pulled else ""
    return (
        f"dind: daemon {record.home.name!r} {pulled}ready in {record.seconds:.2f} s "
        f"(mode {record.mode}, Docker {record.version}, {record.driver})"
    )


def _together(kept: Iterable[Record]) -> list[list[Record]]:
    """Return daemons that are used together, and go together: the nodes of a swarm."""
    from ..runs.sweep import cluster_of

    found: dict[Path, list[Record]] = {}
    for record in kept:
        path = record.home.path
        is_node = cluster_of(path) == "swarm"
        found.setdefault(path.parent if is_node else path, []).append(record)
    return [*found.values()]


def _kept(together: Sequence[Record]) -> str:
    record, *others = together
    variables = " ".join(f"{name}={value}" for name, value in record.variables().items())
    what, kubeconfig = "", record.home.path / layout.KUBECONFIG
    if kubeconfig.exists():
        what, variables = ", a Kubernetes cluster", f"KUBECONFIG={kubeconfig}"
    if others:
        what = f" and {len(others)} more, a swarm"
    lines = [
        f"dind: kept {record.home.label}{what}; to use it, and to remove it:",
        f"  export {variables}",
        f"  python -m pytest_dind rm {' '.join(one.home.label for one in together)}",
    ]
    return "\n".join(lines)
