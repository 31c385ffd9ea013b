"""A run and its daemons: who has part in it, and how all of it ends."""

from __future__ import annotations

import contextlib
import copy
import os
import subprocess
import threading
import time
from pathlib import Path
from uuid import uuid4

from ..backends import records as records_module
from ..backends.protocol import Record
from ..backends.registry import Choice
from ..daemon.handle import Daemon
from ..daemon.loss import lost
from ..engine import streams
from ..engine.engine import Engine
from ..errors import DaemonLost, SettingsError
from ..lifetime import directories, layout, reaper
from ..lifetime.layout import LEASE, Home
from ..lifetime.lease import Lease
from ..settings import MAIN, Settings
from .background import BackgroundStart
from .modes import Choices
from .reuse import Reuse
from .starter import Starter, stays

# A start that was cut short ends at its next look at the container. One that pulls an image may
# not; what it makes after that goes with the lease.
_CUT_SECONDS = 0.2
_SETTLE_SECONDS = 10


class Run:
    """One test run, xdist's workers included, and the daemons that it uses.

    The process that began the run ends its daemons; the others just leave. Should none of them
    come to that, the lease that each holds ends the daemons.
    """

    def __init__(
        self,
        path: Path,
        *,
        begins: bool,
        progress: streams.Progress,
        beside: Path | None = None,
        root: Path | None = None,
    ) -> None:
        self.path = path
        self._leases: list[Lease] = []
        self._hold(path)
        self._reapers: list[subprocess.Popen[bytes]] = []
        self._engines: dict[str, Engine] = {}
        self._finding = threading.Lock()
        self._daemons: dict[str, Daemon] = {}
        shared = beside or path
        self._choices = Choices(shared, path, self.engine, progress)
        self._starter = Starter(self._choices, shared, root or Path.cwd(), self.engine, progress)
        self._reuse = Reuse(self._starter, self.engine, self._take_up, progress)
        self._ahead: tuple[Settings, BackgroundStart] | None = None
        self._loss: DaemonLost | None = None
        # A forked child has the run too, but must not end it.
        self._ends_in = os.getpid() if begins else None

    @classmethod
    def begin(
        cls, progress: streams.Progress, beside: Path | None = None, root: Path | None = None
    ) -> Run:
        """Begin a run; what it starts lives until `close`, or until its processes are gone.

        Args:
            progress: Where a line on what takes long goes.
            beside: Another run of the same tests: what one of the two found out about modes, and
                that it has swept, is so for both.
            root: The project's root directory; by default the current one.
        """
        base = directories.base()
        path = base / uuid4().hex[:8]
        # A directory whose lease nobody holds is swept, so both are made under the lock.
        with reaper.watching(path) as process, directories.locked(base):
            run = cls(
                directories.make(path), begins=True, progress=progress, beside=beside, root=root
            )
        run._reapers.append(process)
        return run

    @classmethod
    def join(cls, path: Path, progress: streams.Progress, root: Path | None = None) -> Run:
        """Take part in a run that another process began."""
        return cls(path, begins=False, progress=progress, root=root)

    @property
    def choices(self) -> list[Choice]:
        """The modes that this process found to be in force."""
        return self._choices.in_force

    @property
    def records(self) -> list[Record]:
        """The daemons that this process has used."""
        return [daemon.record for daemon in self._daemons.values()]

    def start_ahead(self, settings: Settings) -> None:
        """Start the daemon of these settings in the background, for `daemon` to hand over."""
        # Its import adds a warnings filter. In the other thread, pytest, which sets the filters
        # for each test here, could take it away before it has had its effect.
        import requests  # noqa: F401

        self._ahead = settings, BackgroundStart(lambda: self._made(settings))

    def daemon(self, settings: Settings) -> Daemon:
        """The daemon of these settings: whoever asks first starts it, the others attach to it.

        Raises:
            DindError: it can't be had; nothing of it is left.
        """
        asked, ahead = self._under_way()
        if ahead is not None and asked == settings:
            return ahead.result()
        return self._made(settings)

    @property
    def others(self) -> list[Daemon]:
        """The daemons that this process has used."""
        return list(self._daemons.values())

    def another(self, name: str, settings: Settings) -> Daemon:
        """A new daemon of this name.

        Raises:
            DindError: it can't be had, or there was one of this name.
        """
        home = Home(self.path / name)
        with directories.locked(self.path, home.name):
            if records_module.read(home) is not None:
                raise SettingsError(
                    f"There is a daemon {name!r} already.",
                    evidence=f"It is in {home.path}.",
                    remedy=["Give each daemon a name of its own, or none."],
                )
            daemon = self._starter.started(home, settings)
        self._daemons[daemon.id] = daemon
        return daemon

    def engine(self, settings: Settings) -> Engine:
        """The outer engine of these settings; the same one for each text that leads to it.

        Raises:
            EngineUnavailable: the settings name a context that can't be read.
        """
        # A test may change the environment: what a text meant first, it means to the run's end.
        with self._finding:
            if settings.host not in self._engines:
                new = Engine(settings.host)
                known = (old for old in self._engines.values() if old.place == new.place)
                self._engines[settings.host] = next(known, new)
            return self._engines[settings.host]

    def _made(self, settings: Settings) -> Daemon:
        if settings.reuse:
            daemon = self._reuse.daemon(settings)
        else:
            home = Home(self.path / MAIN)
            with directories.locked(self.path, home.name):
                attached = self._starter.attached(home, settings)
                daemon = attached or self._starter.started(home, settings)
        self._daemons[daemon.id] = daemon
        return daemon

    def choice(self, settings: Settings, *, proved: bool = True) -> Choice:
        """The mode in force; see `Choices.choice`."""
        return self._choices.choice(settings, proved=proved)

    def settle(self, settings: Settings) -> None:
        """Take it as found out that the mode of these settings, not `auto`, can be had."""
        self._choices.settle(settings)

    def lost(self, *, asks: bool = False) -> DaemonLost | None:
        """The error for a daemon that this process used and that is gone, if one is.

        Args:
            asks: See `lost`.
        """
        if self._loss is None:
            found = (
                lost(daemon.record, daemon._backend, asks=asks) for daemon in self._daemons.values()
            )
            self._loss = next(filter(None, found), None)
        # A new one each time: one that is raised again and again gathers all the tracebacks.
        return copy.copy(self._loss)

    def close(self, *, failed: bool = False) -> list[Record]:
        """Leave the run; the process that began it ends its daemons too.

        Args:
            failed: Whether a test failed, which keeps a daemon with `keep="on-failure"`.

        Returns:
            The daemons that stay on purpose, of those that this process ended or used.
        """
        kept = [record for record in self.records if (record.home.path / layout.KEPT).exists()]
        self._settle()
        late: list[tuple[str, str]] = []
        try:
            if self._ends_in == os.getpid():
                kept += self._starter.end_or_keep(self.path, failed=failed)
                # What a process of the run that was killed left is not a daemon's, or not yet.
                late = reaper.finish(self.path)
                self._starter.release()
            else:
                # Another process may not have asked for them yet: they are held to this one's end.
                self._mark_kept(failed=failed)
        finally:
            for lease in self._leases:
                lease.release()
            for engine in self._engines.values():
                engine.close()
            for process in self._reapers:
                process.wait()
        reaper.remove_late(self.path, late)
        return kept

    def _under_way(self) -> tuple[Settings | None, BackgroundStart | None]:
        """The start in the background; a forked child has none, whose thread stayed behind."""
        return self._ahead if self._ahead and self._ahead[1].is_here else (None, None)

    def _settle(self) -> None:
        """Wait for a start that is under way; cut it short where nobody else may wait for it."""
        settings, ahead = self._under_way()
        if settings is None or ahead is None:
            return
        home = Home(self.path / MAIN)
        deadline = time.monotonic() + _SETTLE_SECONDS
        while not ahead.wait(_CUT_SECONDS) and time.monotonic() < deadline:
            if self._ends_in == os.getpid():
                self._starter.cut_short(home, settings)

    def _mark_kept(self, *, failed: bool) -> None:
        """Have daemons that nobody may hold any more when the run ends stay, if they are to."""
        for record in self.records:
            found = records_module.read(record.home)
            if record.certificates and found and stays(found[1], failed=failed):
                self._starter.keep(record, found[1])

    def _hold(self, path: Path) -> None:
        """Take the lease in a run's directory, until `close`."""
        with directories.explained(path / LEASE):
            self._leases.append(Lease(path / LEASE))

    def _take_up(self, path: Path, *, starts: bool) -> None:
        """Take the lease in the directory of a reused daemon.

        Args:
            path: The directory.
            starts: Whether the daemon is to be started there: it is made then, and has a reaper.
        """
        with contextlib.ExitStack() as stack:
            if starts:
                self._reapers.append(stack.enter_context(reaper.watching(path)))
            stack.enter_context(directories.locked(path.parent))
            directories.make(path)
            self._hold(path)
