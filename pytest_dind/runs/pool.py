"""The pool of the fixture dind_fresh: daemons that start before the test that gets one asks.

dind_factory takes them too, where they are what it would start.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from ..backends import environment
from ..daemon.loss import lost
from ..lifetime import directories, layout
from .background import BackgroundStart

if TYPE_CHECKING:
    from ..daemon.handle import Daemon
    from ..settings import Settings
    from ..store.snapshots import Snapshot
    from .run import Run

Loan = tuple["Daemon", Callable[[], None]]
"""A daemon that outlives the pool if need be, and what ends it."""
PREFIX = "fresh-"
"""How the names of the daemons begin."""
_SLOT = "spare"
_POLL_SECONDS = 0.02


class Prepared(NamedTuple):
    """What daemons are copies of.

    Attributes:
        snapshot: The snapshot.
        starts: Whether the containers run again in them that ran in it.
    """

    snapshot: Snapshot
    starts: bool


class _NotStarted(Exception):
    """A daemon was not started ahead: it is not needed any more, or there is no memory for it."""


class _Spare:
    """A daemon that starts, or is ready, and that no test has yet.

    Attributes:
        name: Its name in the run.
        start: Its start.
        is_urgent: Set once nothing else is waited for before its start.
        is_given_up: Whether nobody is going to ask for it.
    """

    def __init__(
        self, name: str, settings: Settings, start: Callable[[_Spare, Settings], Daemon]
    ) -> None:
        self.name = name
        self.is_urgent = threading.Event()
        self.is_given_up = False
        self.start = BackgroundStart(settings, partial(start, self))

    def give_up(self) -> None:
        """Have a start that has not begun yet end at once."""
        self.is_given_up = True
        self.is_urgent.set()


class Pool:
    """Daemons for tests that have one each: started ahead, and ended after the test, by threads.

    Its methods but `lend` and those of the threads are called from one thread, pytest's.

    Args:
        run: A run of the pool's own; closing the pool ends it, or the end of the last loan does.
        settings: The settings of all its daemons.
        prepared: What they are copies of; None for empty ones.
        is_short_of_memory: Tells whether the machine of a daemon has no room for another.
        is_busy: Tells whether something more urgent starts, which is waited for.
    """

    def __init__(
        self,
        run: Run,
        settings: Settings,
        *,
        prepared: Prepared | None = None,
        is_short_of_memory: Callable[[Daemon], bool] = lambda daemon: False,
        is_busy: Callable[[], bool] = lambda: False,
    ) -> None:
        self.settings = settings
        self._prepared = prepared
        # Two daemons can't have the same port of the engine's machine.
        self._chosen = settings.replace(publish=[], reuse="", keep="never")
        self._run = run
        self._is_short_of_memory = is_short_of_memory
        self._is_busy = is_busy
        self._numbers = itertools.count(1)
        self._lock = threading.RLock()
        # All below is changed under the lock.
        self._spares: list[_Spare] = []
        self._starting = self._needed = self._lent = 0
        self._is_short = self._has_told = self._is_closed = False
        self._ends: list[threading.Thread] = []
        # A forked child has none of the threads.
        self._process = os.getpid()

    @property
    def snapshot(self) -> Snapshot | None:
        """What its daemons are copies of; None for empty ones."""
        return self._prepared and self._prepared.snapshot

    @property
    def spares(self) -> int:
        """How many daemons start, or are ready, that no test has yet."""
        return len(self._spares)

    def fill(self, needed: int) -> None:
        """Start daemons in the background, up to `--dind-spares`; end those that are too many.

        Args:
            needed: How many tests are still to ask for one.
        """
        if os.getpid() != self._process:
            return
        with self._lock:
            self._needed, self._is_short = needed, False
            self._fill()

    def _fill(self) -> None:
        """Do so; the caller has the lock."""
        most = 0 if self._is_closed else min(int(self.settings.spares), self._needed)
        while len(self._spares) > most:
            self._in_background(partial(self._undo, self._spares.pop()))
        # More at once would take each of them longer.
        while len(self._spares) < most and self._starting < _cores() and not self._is_short:
            self._starting += 1
            self._spares.append(_Spare(self._name(), self._chosen, self._start))

    def _name(self) -> str:
        return f"{PREFIX}{next(self._numbers)}"

    def _start(self, spare: _Spare, settings: Settings) -> Daemon:
        """Start a daemon ahead; runs in a thread of its own."""
        try:
            with self._turn(spare):
                has_memory = spare.is_urgent.is_set() or self._has_memory(spare)
                if spare.is_given_up or not has_memory:
                    raise _NotStarted
                daemon = self._begun(spare.name)
            # For `pytest-dind ps`. It may be gone again by now, where nobody asks for it.
            with contextlib.suppress(OSError):
                (daemon.record.home.path / layout.SPARE).touch()
            return daemon
        finally:
            with self._lock:
                self._starting -= 1
                self._fill()

    @contextlib.contextmanager
    def _turn(self, spare: _Spare) -> Iterator[None]:
        """Wait until a start takes nobody's processor; one that a test waits for does not wait.

        All workers of xdist together start no more at once than there are processors.
        """
        with contextlib.ExitStack() as stack:
            while not spare.is_urgent.is_set():
                if not self._is_busy():
                    slot = directories.slot(self._run.shared, _SLOT, _cores())
                    if slot is not None:
                        stack.callback(slot.release)
                        break
                spare.is_urgent.wait(_POLL_SECONDS)
            yield

    def _has_memory(self, spare: _Spare) -> bool:
        """Tell whether there is room for one more daemon; if there is none, it is no spare more."""
        others = self._run.daemons
        if not others or not self._is_short_of_memory(others[-1]):
            return True
        with self._lock:
            self._is_short = True
            told, self._has_told = self._has_told, True
            self._spares = [one for one in self._spares if one is not spare]
        if not told:
            self._run.progress(
                "the machine is short of memory: as long as it is, no more daemons are started "
                f"ahead, though --dind-spares is {self.settings.spares:g}"
            )
        return False

    def take(self) -> Daemon:
        """Return a daemon that nobody else has: a ready one, one that is starting, or a new one.

        Raises:
            DindError: the daemon can't be had; its start has left nothing behind.
        """
        with self._lock:
            self._needed = max(0, self._needed - 1)
        return self._taken() or self._begun(self._name())

    def _begun(self, name: str) -> Daemon:
        """Start a daemon.

        Raises:
            DindError: it can't be had; its start has left nothing behind.
        """
        prepared = self._prepared
        daemon = self._run.start(name, self._chosen, prepared and prepared.snapshot)
        if prepared is not None and prepared.starts:
            try:
                daemon._start_again(prepared.snapshot)
            except BaseException:
                self._run.end(daemon)
                raise
        return daemon

    def _taken(self) -> Daemon | None:
        """Take a spare, a ready one or one that is starting, and wait for it; None: there is none.

        Raises:
            DindError: its start failed.
        """
        while True:
            with self._lock:
                ready = (spare for spare in self._spares if spare.start.wait(0))
                spare = next(ready, next(iter(self._spares), None))
                if spare is None:
                    return None
                self._spares.remove(spare)
            spare.is_urgent.set()
            try:
                daemon = spare.start.result()
            except _NotStarted:
                continue
            finally:
                if not spare.start.wait(0):
                    # Ctrl-C. It is ended with the others.
                    with self._lock:
                        self._spares.append(spare)
            (daemon.record.home.path / layout.SPARE).unlink(missing_ok=True)
            # It may have waited for long.
            if lost(daemon.record, daemon._backend) is None:
                return daemon
            self.end(daemon)

    def lend(self, settings: Settings) -> Loan | None:
        """Return a spare for another use than a test of dind_fresh; the next one starts meanwhile.

        Behind a proxy none is lent: a daemon's NO_PROXY has the names of those that its run had
        before, and spares know none of the factory's.

        Args:
            settings: The settings that it is to have.

        Returns:
            None where there is none, or where spares are not what would be started.

        Raises:
            DindError: its start failed.
        """
        if settings != self._chosen or not self._spares or os.getpid() != self._process:
            return None
        if environment.may_be_proxied(settings, self._run.engine(settings).info()):
            return None
        with self._lock:
            self._lent += 1
        daemon = None
        try:
            daemon = self._taken()
        finally:
            if daemon is None:
                self._end_loan()
            with self._lock:
                self._fill()
        return None if daemon is None else (daemon, partial(self._end_lent, daemon))

    def _end_lent(self, daemon: Daemon) -> None:
        try:
            self._run.patience.within(partial(self._run.end, daemon))
        finally:
            self._end_loan()

    def _end_loan(self) -> None:
        with self._lock:
            self._lent -= 1
            is_over = self._is_closed and not self._lent
        if is_over:
            self._run.close()

    def end(self, daemon: Daemon, first: Callable[[], object] = lambda: None) -> None:
        """End a daemon in the background.

        Args:
            daemon: The daemon.
            first: Is called before, in the background too.
        """

        def end() -> None:
            try:
                first()
            finally:
                self._run.end(daemon)

        self._in_background(end)

    def _undo(self, spare: _Spare) -> None:
        """End a daemon that starts, or is ready, and that nobody is going to ask for."""
        spare.give_up()
        self._run.finish(spare.start, spare.name)
        # What failed has left nothing; what can't be ended now, the run's end ends.
        with contextlib.suppress(Exception):
            if spare.start.wait(0):
                self._run.end(spare.start.result())

    def _in_background(self, call: Callable[[], object]) -> None:
        thread = threading.Thread(target=call, name="pytest-dind end", daemon=True)
        with self._lock:
            self._ends = [end for end in self._ends if end.is_alive()]
            # Started under the lock: `close` joins what has begun.
            thread.start()
            self._ends.append(thread)

    def close(self) -> None:
        """End all its daemons that are not lent; wait for that within the bound of a run's end."""
        if os.getpid() != self._process:
            return
        with self._lock:
            # Until this has ended them, the end of a loan is not the end of the run.
            self._lent += 1
            self._is_closed = True
            spares, self._spares = self._spares, []
        try:
            for spare in spares:
                self._in_background(partial(self._undo, spare))
            for end in self._ends:
                self._run.patience.within(end.join)
        finally:
            self._end_loan()


def _cores() -> int:
    return os.cpu_count() or 1
