"""The daemons of a run: started, attached to, kept and ended, each in its home."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from functools import partial
from typing import TYPE_CHECKING

from ..backends import records
from ..backends.protocol import Backend, Record
from ..backends.registry import backend
from ..daemon.handle import Daemon
from ..daemon.loss import STOPPED, lost
from ..errors import DindError, SettingsError
from ..forwarder import launch
from ..lifetime import directories, layout
from ..lifetime.layout import LEASE, Home
from ..settings import AUTO, Settings
from .context import Context
from .modes import Modes
from .sweep import sweep

if TYPE_CHECKING:
    from ..store.seeding import Origin


class Starter:
    """Starts daemons in homes, or attaches to those that are there; the caller holds the lock.

    Args:
        context: What the parts of a run work with.
        modes: The modes in force.
    """

    def __init__(self, context: Context, modes: Modes) -> None:
        self._context = context
        self._modes = modes
        # Those that hold a daemon where the run's lease does not, and the ids of all daemons.
        self._holding: list[Backend] = []
        self._held: set[str] = set()

    def attach(self, home: Home, settings: Settings) -> Daemon | None:
        """Return the daemon of this home, if the run has it already.

        Raises:
            SettingsError: the run has one with other settings.
            DaemonLost: the run had one that is gone.
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
        holder = self._backend(record, settings)
        daemon = self._handle(record, holder)
        error = lost(record, holder)
        if error is not None and record.is_unshared:
            # It ended with the processes that used it: a run's lease doesn't hold it.
            return None
        if error is not None:
            raise error
        if daemon.id not in self._held:
            self._holding.append(holder)
            self._held.add(daemon.id)
            holder.hold(record)
        return daemon

    def start(
        self,
        home: Home,
        settings: Settings,
        *,
        pulled: float = 0,
        origin: Origin | None = None,
    ) -> Daemon:
        """Start a daemon in this home; what a start that was cut short left there is removed.

        Args:
            home: The home.
            settings: The daemon's settings.
            pulled: Seconds that pulls of its images took before.
            origin: What it starts from; None for an empty one.

        Raises:
            DindError: the daemon can't be had; the start has left nothing behind.
        """
        if self._is_first():
            sweep(directories.base(), self._context.engine(settings))
        choice = self._modes.choice(settings, proved=False)
        try:
            return self._started(home, settings, choice.mode, pulled, origin)
        except DindError:
            # By now what an earlier run had proved, and `auto` relied on, has been tried anew.
            now = self._modes.choice(settings, proved=False)
            if not choice.remembered or now.mode == choice.mode:
                raise
        self._context.progress(f"mode {choice.mode} works no more: {now.because}")
        return self._started(home, settings, now.mode, pulled, origin)

    def _started(
        self, home: Home, settings: Settings, mode: str, pulled: float, origin: Origin | None
    ) -> Daemon:
        context = self._context
        engine = context.engine(settings)
        starting = backend(mode, engine)
        if home.path.exists():
            starting.stop(home)
            directories.remove(home.path)
        directories.make(home.path)
        try:
            # Who ends the daemon in this process's place is told before there is one.
            with directories.explained(home.path):
                (home.path / layout.ENGINE).write_text(engine.url)
            # One FIFO under two names: who holds the run's lease holds the daemon's.
            with directories.explained(home.path / LEASE):
                os.link(home.path.parent / LEASE, home.path / LEASE)
            self._holding.append(starting)
            record = starting.start(home, settings, context.progress, context.shaper, origin)
            pulled += record.pulled + self._modes.take_pulled(settings)
            record = dataclasses.replace(record, pulled=pulled)
            records.write(record, settings)
        except BaseException as error:
            starting.release()
            # What failed matters more than a clean-up that fails too: the sweep has another go.
            with contextlib.suppress(Exception):
                starting.stop(home)
            directories.remove(home.path)
            why = self._modes.obstacle(settings) if isinstance(error, Exception) else None
            if why is not None:
                raise why from None
            raise
        self._modes.confirm(settings)
        self._held.add(record.id)
        daemon = self._handle(record, starting)
        self.forward(daemon, settings)
        return daemon

    def resolved(self, settings: Settings) -> Settings:
        """Return the settings with the mode in force in place of `auto`.

        Raises:
            DindError: no mode can be had.
        """
        if settings.mode != AUTO:
            return settings
        return settings.replace(mode=self._modes.choice(settings, proved=False).mode)

    def forward(self, daemon: Daemon, settings: Settings) -> None:
        """Have a daemon's published ports opened on this machine, unless that is off."""
        if settings.forward == "off":
            return
        self._holding.append(daemon._backend)
        daemon._backend.forward(daemon.record)

    def _is_first(self) -> bool:
        """Tell whether this is the first start of the test run, of all its processes."""
        mark = self._context.shared / layout.SWEPT
        with directories.explained(mark):
            try:
                mark.touch(exist_ok=False)
            except FileExistsError:
                return False
        return True

    def abort(self, home: Home, settings: Settings) -> None:
        """Remove the container of a daemon that is starting, so that the start ends."""
        with contextlib.suppress(Exception):
            mode = self._modes.choice(settings, proved=False).mode
            backend(mode, self._context.engine(settings)).stop(home)

    def daemon(self, record: Record, settings: Settings) -> Daemon:
        """Return the handle of a daemon that was started before, by whatever process."""
        return self._handle(record, self._backend(record, settings))

    def _handle(self, record: Record, backend: Backend) -> Daemon:
        """Return the handle of a daemon."""
        context = self._context
        return Daemon(record, backend, context.progress, _shared=context.shared)

    def keep(self, record: Record, settings: Settings) -> None:
        """Let a daemon outlive its users."""
        (record.home.path / layout.KEPT).touch()
        self._backend(record, settings).files(record).write(layout.KEPT, "")

    def end(self, record: Record, settings: Settings) -> None:
        """Remove a daemon with all that is in it."""
        self._backend(record, settings).stop(record.home)
        directories.remove(record.home.path)

    def end_or_keep_all(self, *, failed: bool) -> list[Record]:
        """End the daemons of the run, but for those that stay on purpose, which are returned.

        A daemon that can't be ended now is told of, and left to the lease and the next run's sweep;
        one on an engine that doesn't answer, to the reaper too.

        Args:
            failed: Whether a test failed.
        """
        context, kept = self._context, list[Record]()
        for path in sorted(self._context.directory.glob("*")):
            found = records.read(Home(path)) if path.is_dir() else None
            if found is None:
                continue
            record, settings = found
            for port, why in launch.told(path).get("taken", {}).items():
                context.progress(
                    f"{record.home.label}: its port {port} was not opened on this machine's "
                    f"loopback: {why} (--dind-forward)"
                )
            if launch.is_on(path) and not launch.is_alive(path):
                context.progress(
                    f"{record.home.label}: its forwarder ended before the run; ports published "
                    f"after that were not opened on this machine's loopback (--dind-forward)"
                )
            try:
                stays = is_kept(settings, failed=failed) and record.id not in STOPPED
                if self._end_or_keep(record, settings, stays=stays):
                    kept += [record] if stays else []
                else:
                    context.progress(
                        f"{record.home.label} is left to its lease, the reaper and the next run's "
                        f"sweep: the engine at {context.engine(settings).url} does not answer"
                    )
            except Exception as error:
                label = record.home.label
                context.progress(f"{label} could not be ended or kept: {error}")
        return kept

    def _end_or_keep(self, record: Record, settings: Settings, *, stays: bool) -> bool:
        """End or keep a daemon; tell whether its engine answered."""
        if stays and not record.is_unshared:
            # Without a word to the engine.
            self.keep(record, settings)
            return True
        engine = self._context.engine(settings)
        return self._context.patience.within(
            partial(self.keep if stays else self.end, record, settings),
            answered=lambda: engine.answered,
        )

    def _backend(self, record: Record, settings: Settings) -> Backend:
        """Return the backend that started a daemon."""
        return backend(record.mode, self._context.engine(settings))

    def release(self) -> None:
        """Release the daemons that a backend holds where the run's lease does not."""
        for holder in self._holding:
            holder.release()


def differences(before: Settings, after: Settings) -> str:
    """Return how two settings make different daemons; an empty text when they don't."""
    old, new = before.shape(), after.shape()
    return "; ".join(f"{key}: {old[key]!r} -> {new[key]!r}" for key in new if old[key] != new[key])


def is_kept(settings: Settings, *, failed: bool) -> bool:
    """Tell whether a daemon outlives the run, given whether a test failed."""
    return settings.keep == "always" or (settings.keep == "on-failure" and failed)
