"""A test run and its daemons: begun by one process, joined by others, and ended."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import os
import threading
import time
from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from ..backends import records
from ..backends.protocol import Record, Shaper
from ..backends.registry import Choice
from ..daemon.handle import Daemon
from ..daemon.loss import lost
from ..engine import streams
from ..engine.engine import Engine
from ..errors import DaemonLost, DindError, SettingsError
from ..lifetime import directories, layout, reaper
from ..lifetime.layout import Home
from ..settings import MAIN, Settings
from .background import BackgroundStart
from .context import Context, Holdings
from .ending import Patience
from .modes import Modes
from .places import Places
from .reuse import Alone, Contents, Reuse
from .starter import Starter, is_kept

if TYPE_CHECKING:
    from ..store.seeding import Origin
    from ..store.snapshots import Snapshot

# A start whose container is removed ends at its next look at it. A start that pulls an image may
# take longer; what it makes after the run's end goes with the lease.
_ABORT_SECONDS = 0.2
_FINISH_SECONDS = 10


class Run:
    """One test run, xdist's workers included, and the daemons that it uses.

    The process that began the run ends its daemons; the others just leave. Should none of them
    come to that, the lease that each holds ends the daemons.

    Args:
        context: What the parts of the run work with.
        holdings: The leases that this process holds, the one in the run's directory among them.
        begins: Whether this process begins the run.
    """

    def __init__(self, context: Context, holdings: Holdings, *, begins: bool) -> None:
        self._context = context
        self._holdings = holdings
        self._modes = Modes(context)
        self._starter = Starter(context, self._modes)
        self._reuse = Reuse(context, holdings, self._starter)
        self._daemons: dict[str, Daemon] = {}
        self._background: BackgroundStart[Daemon] | None = None
        self._asked = False
        self._undoing: threading.Thread | None = None
        # Those that ended before the run's end, where memory was short.
        self._ended: list[Record] = []
        # By the id of the daemon.
        self._losses: dict[str, DaemonLost] = {}
        # A forked child has the run too, but must not end it.
        self._ends_in = os.getpid() if begins else None

    @classmethod
    def begin(
        cls,
        progress: streams.Progress,
        beside: Path | None = None,
        places: Places | None = None,
        shaper: Shaper | None = None,
        patience: Patience | None = None,
    ) -> Run:
        """Begin a run; what it starts lives until `close`, or until its processes are gone.

        Args:
            progress: Where a line on what takes long goes.
            beside: The directory of another run of the same tests: what one of the two found out
                about modes, and that it has swept, holds for both.
            places: What the words of `--dind-mount` stand for; by default nothing.
            shaper: The hook that may change the containers of daemons.
            patience: How long the ends of this and of other runs wait for engines that don't
                answer; by default this run's alone.
        """
        places = places or Places()
        directory = directories.base() / uuid4().hex[:8]
        context = Context(directory, beside or directory, places, progress, shaper)
        if patience is not None:
            context = dataclasses.replace(context, patience=patience)
        holdings = Holdings()
        try:
            holdings.take(directory, starts=True)
            places.write(directory)
        except BaseException:
            # Such as a full disk: the reaper, which takes the directory, is waited for.
            holdings.release()
            raise
        return cls(context, holdings, begins=True)

    @classmethod
    def join(cls, directory: Path, progress: streams.Progress, shaper: Shaper | None = None) -> Run:
        """Take part in a run that another process began."""
        holdings = Holdings()
        holdings.join(directory)
        context = Context(directory, directory, Places.read(directory), progress, shaper)
        return cls(context, holdings, begins=False)

    @property
    def path(self) -> Path:
        """The run's directory."""
        return self._context.directory

    @property
    def shared(self) -> Path:
        """The directory that all runs of the same tests have in common; see `Context`."""
        return self._context.shared

    @property
    def is_starting(self) -> bool:
        """Whether the start in the background is under way."""
        background = self._start_under_way()
        return background is not None and not background.wait(0)

    @property
    def progress(self) -> streams.Progress:
        """Where a line on what takes long goes."""
        return self._context.progress

    @property
    def is_ended_here(self) -> bool:
        """Whether this process has begun the run, so that its daemons end with it."""
        return self._ends_in == os.getpid()

    @property
    def patience(self) -> Patience:
        """How long the end waits for engines that don't answer."""
        return self._context.patience

    @property
    def choices(self) -> list[Choice]:
        """The modes that this process found to be in force."""
        return self._modes.in_force

    @property
    def daemons(self) -> list[Daemon]:
        """The daemons that this process has used."""
        return list(self._daemons.values())

    @property
    def records(self) -> list[Record]:
        """The records of the daemons that this process has used, but for those that `end` ended."""
        return [daemon.record for daemon in self.daemons]

    @property
    def ended(self) -> list[Record]:
        """The records of the daemons that `end` ended."""
        return list(self._ended)

    def engine(self, settings: Settings) -> Engine:
        """Return the outer engine of these settings; see `Context.engine`."""
        return self._context.engine(settings)

    def outer_apis(self) -> dict[str, str]:
        """Return the newest API of each outer engine; see `Engines.api_versions`."""
        return self._context.engines.api_versions()

    def choice(self, settings: Settings, *, proved: bool = True) -> Choice:
        """Return the mode in force; see `Modes.choice`."""
        return self._modes.choice(settings, proved=proved)

    def confirm(self, settings: Settings) -> None:
        """Note that the mode of these settings, not `auto`, can be had; see `Modes.confirm`."""
        self._modes.confirm(settings)

    def start_in_background(self, settings: Settings) -> None:
        """Start the daemon in a background thread; `daemon` returns it."""
        # Its import adds a warnings filter. In the other thread, pytest, which sets the filters
        # for each test here, could take it away before it has had its effect.
        import requests  # noqa: F401

        self._background = BackgroundStart(settings, self._daemon)

    def undo_start(self) -> None:
        """Undo the start in the background, which nobody has asked for: in the background too.

        A daemon of `--dind-reuse` stays, as after any run.
        """
        background = self._start_under_way()
        if background is not None and self.is_ended_here and not background.settings.reuse:
            self._background = None
            self._undoing = threading.Thread(target=self._undo, args=(background,), daemon=True)
            self._undoing.start()

    def _undo(self, background: BackgroundStart[Daemon]) -> None:
        self.finish(background)
        # What failed has left nothing; what can't be ended now, the lease ends.
        with contextlib.suppress(Exception):
            if background.wait(0):
                daemon = background.result()
                del self._daemons[daemon.id]
                self._starter.end(daemon.record, background.settings)

    def daemon(self, settings: Settings, name: str = MAIN) -> Daemon:
        """Return the daemon of these settings: the first who asks starts it, others attach to it.

        Args:
            settings: The daemon's settings.
            name: Its name; for `reuse` the settings have another.

        Raises:
            DindError: the daemon can't be had; a start that failed has left nothing behind.
        """
        background = self._start_under_way()
        if background is not None and name == MAIN:
            if background.settings == settings:
                self._asked = True
                daemon = background.result(self.progress)
                if daemon.id in self._daemons:
                    return daemon
            elif not self._asked:
                # It began on a guess, before a project's own settings were known.
                self.undo_start()
        if self._undoing is not None:
            self._undoing.join()
        return self._daemon(settings, name)

    def _daemon(self, settings: Settings, name: str = MAIN) -> Daemon:
        settings = self._resolved(settings)
        if settings.reuse:
            [daemon] = self._reuse.daemons(settings, Alone())
        else:
            home = Home(self.path / name)
            with directories.locked(self.path, home.name):
                attached = self._starter.attach(home, settings)
                daemon = attached or self._starter.start(home, settings)
        self._daemons[daemon.id] = daemon
        return daemon

    def start(self, name: str, settings: Settings, origin: Origin | None = None) -> Daemon:
        """Start a further daemon, of this name.

        Args:
            name: Its name.
            settings: Its settings.
            origin: What it starts from; None for an empty one.

        Raises:
            DindError: the daemon can't be had, or the run had one of this name already.
        """
        settings = self._resolved(settings)
        home = Home(self.path / name)
        with directories.locked(self.path, home.name):
            if records.read(home) is not None:
                raise SettingsError(
                    f"There is a daemon {name!r} already.",
                    evidence=f"It is in {home.path}.",
                    remedy=["Give each daemon a name of its own, or none."],
                )
            daemon = self._starter.start(home, settings, origin=origin)
        self._daemons[daemon.id] = daemon
        return daemon

    def reused(self, settings: Settings, contents: Contents) -> None:
        """Have daemons of a name that outlive runs, with these contents; see `Reuse.daemons`.

        Raises:
            InUse: some are gone, or what is in them is no good, and others use them.
            DindError: they can't be had.
        """
        for daemon in self._reuse.daemons(self._resolved(settings), contents):
            self._daemons[daemon.id] = daemon

    def end(self, daemon: Daemon) -> None:
        """End a daemon before the run's end; who asks for it then gets a new one.

        One that is to stay stays, and one that can't be ended now is left to the run's end.
        """
        home = daemon.record.home
        found = records.read(home)
        if found is None or found[1].reuse or found[1].keep != "never":
            return
        with directories.locked(self.path, home.name):
            try:
                self._starter.end(*found)
            except Exception as error:
                self.progress(f"{home.label} could not be ended: {error}")
                return
        del self._daemons[daemon.id]
        self._ended.append(daemon.record)

    def _resolved(self, settings: Settings) -> Settings:
        return self._context.places.resolve(settings, self._context.progress)

    def lost(self, *, asks: bool = False, but: Collection[str] = ()) -> DaemonLost | None:
        """Return the error for a daemon that this process used and that is gone, if one is.

        Args:
            asks: Whether a daemon may have been killed just now; see `loss.lost`.
            but: The ids of daemons that do not matter.
        """
        for daemon in self.daemons:
            if daemon.id in but:
                continue
            loss = self._losses.get(daemon.id) or lost(daemon.record, daemon._backend, asks=asks)
            if loss is not None:
                self._losses[daemon.id] = loss
                # A copy each time: an error that is raised again and again gathers all tracebacks.
                return copy.copy(loss)
        return None

    def close(self, *, failed: bool = False) -> list[Record]:
        """Leave the run; the process that began it ends its daemons too.

        Args:
            failed: Whether a test failed, which keeps a daemon with `keep="on-failure"`.

        It waits no longer than `ending.SECONDS` in all for engines that don't answer, and says what
        it has left to the reaper then.

        Returns:
            The daemons that stay on purpose, of those that this process ended or used.
        """
        kept = [record for record in self.records if (record.home.path / layout.KEPT).exists()]
        self._finish_start()
        late: list[tuple[str, str]] = []
        try:
            if self.is_ended_here:
                kept += self._starter.end_or_keep_all(failed=failed)
                # What a process of the run that was killed left is not a daemon's, or not yet.
                # The reaper itself does it in this one's place, once nobody holds the lease.
                taken = self._snapshots()
                self.patience.within(lambda: late.extend(reaper.remove_daemons(self.path)))
                self._starter.release()
                # By now nobody holds them; the reaper still knows of what removes them.
                if taken:
                    self.patience.within(partial(self._remove_snapshots, taken))
                self.patience.within(lambda: late.extend(reaper.finish(self.path)))
            else:
                # Another process may not have asked for them yet: they are held to this one's end.
                self._mark_kept(failed=failed)
        finally:
            try:
                self._context.engines.close(waits=not self.patience.is_out)
            finally:
                self._holdings.release()
        if late:
            self.patience.within(lambda: reaper.remove_late(self.path, late))
        return kept

    def _snapshots(self) -> list[Snapshot]:
        """Return the snapshots that are for this run alone."""
        # They are of the run that others are beside.
        if self.shared != self.path or not any(self.path.glob(f"{layout.SNAPSHOT}*.json")):
            return []
        from ..daemon import snapshots

        return [one for one in snapshots.known(self.path) if one.once]

    def _remove_snapshots(self, taken: Sequence[Snapshot]) -> None:
        """Remove snapshots from the warm stores; what can't be is left to the store's limit."""
        from docker.errors import DockerException
        from requests.exceptions import RequestException

        from ..store.contents import Cache

        for url in {one.engine for one in taken}:
            here = [one for one in taken if one.engine == url]
            keys = [one.key for one in here]
            # A suite may have removed an image of its own by now.
            for image in dict.fromkeys([*(one.image_id for one in here), ""]):
                with contextlib.suppress(DindError, DockerException, RequestException):
                    Cache(self._context.engines.get(url), image, self.path).remove(keys)
                    break

    def _start_under_way(self) -> BackgroundStart[Daemon] | None:
        """Return the start in the background; a forked child has none."""
        background = self._background
        return background if background is not None and background.is_in_this_process else None

    def _finish_start(self) -> None:
        """Wait for a start in the background; abort it where nobody else may wait for it."""
        background = self._start_under_way()
        if background is not None:
            self.finish(background)
        if self._undoing is not None:
            self._undoing.join(_FINISH_SECONDS)

    def finish(self, background: BackgroundStart[Any], name: str = MAIN) -> None:
        """Wait for a start in the background; abort it where nobody else may wait for it.

        Args:
            background: The start.
            name: The daemon's name.
        """
        home = Home(self.path / name)
        deadline = time.monotonic() + _FINISH_SECONDS
        while not background.wait(_ABORT_SECONDS) and time.monotonic() < deadline:
            if self.is_ended_here:
                abort = partial(self._starter.abort, home, background.settings)
                if not self.patience.within(abort):
                    break

    def _mark_kept(self, *, failed: bool) -> None:
        """Keep, if they are to stay, the daemons that nobody may hold any more at the run's end."""
        for record in self.records:
            found = records.read(record.home)
            if record.is_unshared and found and is_kept(found[1], failed=failed):
                self._starter.keep(record, found[1])
