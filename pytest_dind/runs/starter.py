"""The daemons of a run: started, attached to, kept and ended, each in its home."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

from ..backends import records
from ..backends.protocol import Backend, Record
from ..backends.registry import backend
from ..daemon.handle import Daemon
from ..daemon.loss import lost
from ..engine import streams
from ..engine.engine import Engine
from ..errors import SettingsError
from ..lifetime import directories, layout
from ..lifetime.layout import LEASE, Home
from ..settings import Settings
from .modes import Choices
from .sweep import sweep

_SWEPT = "swept"


class Starter:
    """Starts daemons in homes, or attaches to those that are there; who calls it has the lock.

    Args:
        choices: The modes in force.
        shared: The directory in which the processes of a test run tell that it has swept.
        root: The project's root directory.
        engine: Gives the outer engine of settings.
        progress: Where a line on what takes long goes.
    """

    def __init__(
        self,
        choices: Choices,
        shared: Path,
        root: Path,
        engine: Callable[[Settings], Engine],
        progress: streams.Progress,
    ) -> None:
        self._choices = choices
        self._shared = shared
        self._root = root
        self._engine = engine
        self._progress = progress
        self._holding: list[Backend] = []
        self._held: set[str] = set()

    def attached(self, home: Home, settings: Settings) -> Daemon | None:
        """The daemon of this home, if the run has it already.

        Raises:
            SettingsError: it has one with other settings.
            DaemonLost: it had one.
        """
        found = records.read(home)
        if found is None:
            return None
        record, started_with = found
        changes = differences(started_with, settings)
        if changes:
            raise SettingsError(
                f"This run already has a daemon {home.name!r}, with other settings.",
                evidence=changes,
                remedy=[
                    "Let dind_config give the same settings in each xdist worker.",
                    "Give each worker a daemon of its own: --dind-scope worker.",
                ],
            )
        found_by = self.backend(record, settings)
        daemon = Daemon(record, found_by, self._progress)
        error = lost(record, found_by)
        if error is not None and record.certificates:
            # It ended with the processes that used it: a run's lease doesn't hold it.
            return None
        if error is not None:
            raise error
        if daemon.id not in self._held:
            self._holding.append(found_by)
            self._held.add(daemon.id)
            found_by.hold(record)
        return daemon

    def started(self, home: Home, settings: Settings, *, pulled: float = 0) -> Daemon:
        """A new daemon in this home; whatever a start that was cut short left there is removed.

        Args:
            home: The home.
            settings: What is asked for.
            pulled: Seconds that pulls of its images took before.

        Raises:
            DindError: it can't be had; nothing of it is left.
        """
        engine = self._engine(settings)
        if self._is_first():
            sweep(directories.base(), engine)
        chosen = backend(self._choices.choice(settings, proved=False).mode, engine)
        if home.path.exists():
            chosen.stop(home)
            directories.remove(home.path)
        with directories.explained(home.path.parent):
            (home.path.parent / layout.ROOT).write_text(str(self._root))
        directories.make(home.path)
        try:
            # Who ends the daemon in this process's place is told before there is one.
            with directories.explained(home.path):
                (home.path / layout.ENGINE).write_text(engine.url)
            # One FIFO under two names: who holds the run's lease holds the daemon's.
            with directories.explained(home.path / LEASE):
                os.link(home.path.parent / LEASE, home.path / LEASE)
            self._holding.append(chosen)
            record = chosen.start(home, settings, self._progress)
            pulled += record.pulled + self._choices.take_pulled(settings)
            daemon = Daemon(dataclasses.replace(record, pulled=pulled), chosen, self._progress)
            records.write(daemon.record, settings)
        except BaseException as error:
            chosen.release()
            # What failed matters more than a clean-up that fails too: the sweep has another go.
            with contextlib.suppress(Exception):
                chosen.stop(home)
            directories.remove(home.path)
            why = self._choices.obstacle(settings) if isinstance(error, Exception) else None
            if why is not None:
                raise why from None
            raise
        self._choices.settle(settings)
        self._held.add(daemon.id)
        return daemon

    def _is_first(self) -> bool:
        """Whether no other start of this test run, in whatever process, was before this one."""
        mark = self._shared / _SWEPT
        with directories.explained(mark):
            try:
                mark.touch(exist_ok=False)
            except FileExistsError:
                return False
        return True

    def cut_short(self, home: Home, settings: Settings) -> None:
        """Take its container from a daemon that is starting, so that the start ends."""
        with contextlib.suppress(Exception):
            mode = self._choices.choice(settings, proved=False).mode
            backend(mode, self._engine(settings)).stop(home)

    def keep(self, record: Record, settings: Settings) -> None:
        """Have a daemon outlive its users."""
        (record.home.path / layout.KEPT).touch()
        self.backend(record, settings).files(record).write(layout.KEPT, "")

    def end(self, record: Record, settings: Settings) -> None:
        """Remove a daemon with all that is in it."""
        self.backend(record, settings).stop(record.home)
        directories.remove(record.home.path)

    def end_or_keep(self, run: Path, *, failed: bool) -> list[Record]:
        """End the daemons of a run, but for those that stay on purpose, which are returned.

        One that can't be ended now is told of, and left to the lease and the next run's sweep.
        """
        kept = []
        for home in map(Home, sorted(filter(Path.is_dir, run.glob("*")))):
            found = records.read(home)
            if found is None:
                continue
            record, settings = found
            try:
                if stays(settings, failed=failed):
                    self.keep(record, settings)
                    kept.append(record)
                else:
                    self.end(record, settings)
            except Exception as error:
                self._progress(f"{home.label} could not be ended or kept: {error}")
        return kept

    def backend(self, record: Record, settings: Settings) -> Backend:
        """What knows how to deal with a daemon."""
        return backend(record.mode, self._engine(settings))

    def release(self) -> None:
        """Let go of the daemons that are held one by one."""
        for holding in self._holding:
            holding.release()


def differences(before: Settings, after: Settings) -> str:
    """How settings that make another daemon differ; empty when they don't."""
    old, new = before.shape(), after.shape()
    return "; ".join(f"{key}: {old[key]!r} -> {new[key]!r}" for key in new if old[key] != new[key])


def stays(settings: Settings, *, failed: bool) -> bool:
    """Whether a daemon is kept, given whether a test failed."""
    return settings.keep == "always" or (settings.keep == "on-failure" and failed)
