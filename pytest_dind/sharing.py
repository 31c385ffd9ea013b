"""A run and its daemons: who starts one, who attaches to it, and how all of them end."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import hashlib
import json
import os
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from uuid import uuid4

from . import images, reaper, state, transport, workspace
from .ahead import Ahead
from .backends import Choice, Probe, backend, choose
from .backends.protocol import Backend, Home, Record
from .backends.remote import because
from .daemon import Daemon
from .engine import Engine
from .errors import DaemonLost, ModeUnavailable, SettingsError
from .lease import LEASE, Lease, is_held
from .lost import lost
from .settings import Settings
from .sweep import sweep

MAIN = "main"
"""The name of the daemon that the fixtures give."""

_REUSE = "reuse-"

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
        say: images.Say,
        beside: Path | None = None,
        root: Path | None = None,
    ) -> None:
        self.path = path
        self._root = root or Path.cwd()
        self._modes = beside or path
        self._say = say
        self._leases: list[Lease] = []
        self._hold(path)
        self._reapers: list[subprocess.Popen[bytes]] = []
        self._engines: dict[str, Engine] = {}
        self._daemons: dict[str, Daemon] = {}
        self._choices: dict[str, Choice] = {}
        self._holding: list[Backend] = []
        self._ahead: tuple[Settings, Ahead] | None = None
        self._loss: DaemonLost | None = None
        self._swept = False
        # A forked child has the run too, but must not end it.
        self._ends_in = os.getpid() if begins else None

    @classmethod
    def begin(cls, say: images.Say, beside: Path | None = None, root: Path | None = None) -> Run:
        """Begin a run; what it starts lives until `close`, or until its processes are gone.

        Args:
            say: Where a line on what takes long goes.
            beside: Another run, with which it shares what is found out about modes.
            root: The project's root directory; by default the current one.
        """
        base = workspace.base()
        path = base / uuid4().hex[:8]
        # A directory whose lease nobody holds is swept, so both are made under the lock.
        with reaper.watching(path) as process, workspace.locked(base):
            run = cls(workspace.make(path), begins=True, say=say, beside=beside, root=root)
        run._reapers.append(process)
        return run

    @classmethod
    def join(cls, path: Path, say: images.Say, root: Path | None = None) -> Run:
        """Take part in a run that another process began."""
        return cls(path, begins=False, say=say, root=root)

    @property
    def choices(self) -> list[Choice]:
        """The modes that this process found to be in force."""
        return [choice for choice in self._choices.values() if choice.obstacle is None]

    @property
    def records(self) -> list[Record]:
        """The daemons that this process has used."""
        return [daemon.record for daemon in self._daemons.values()]

    def start_ahead(self, settings: Settings) -> None:
        """Start the daemon of these settings in the background, for `daemon` to hand over."""
        # Its import adds a warnings filter. In the other thread, pytest, which sets the filters
        # for each test here, could take it away before it has had its effect.
        import requests  # noqa: F401

        self._ahead = settings, Ahead(lambda: self._made(settings))

    def daemon(self, settings: Settings) -> Daemon:
        """The daemon of these settings: whoever asks first starts it, the others attach to it.

        Raises:
            DindError: it can't be had; nothing of it is left.
        """
        asked, ahead = self._ahead or (None, None)
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
        with workspace.locked(self.path, home.name):
            if state.read(home) is not None:
                raise SettingsError(
                    f"There is a daemon {name!r} already.",
                    evidence=f"It is in {home.path}.",
                    remedy=["Give each daemon a name of its own, or none."],
                )
            daemon = self._started(home, settings)
        self._daemons[daemon.id] = daemon
        return daemon

    def engine(self, settings: Settings) -> Engine:
        """The outer engine of these settings."""
        return self._engine(settings)

    def _made(self, settings: Settings) -> Daemon:
        if settings.reuse:
            daemon = self._reused(settings)
        else:
            home = Home(self.path / MAIN)
            with workspace.locked(self.path, home.name):
                daemon = self._attached(home, settings) or self._started(home, settings)
        self._daemons[daemon.id] = daemon
        return daemon

    def choice(self, settings: Settings) -> Choice:
        """The mode in force; found out once for all processes of the run.

        Raises:
            ModeUnavailable: the mode asked for can't be had here.
        """
        key = _key(settings)
        with workspace.locked(self._modes, "modes"):
            if key not in self._choices:
                self._choices |= state.read_choices(self._modes)
            if key not in self._choices:
                engine = self._engine(settings)
                probe = Probe(engine, settings.image, self.path, self._say)
                choice = choose(settings.mode, engine, probe)
                self._choices[key] = dataclasses.replace(choice, way=because(engine))
                state.write_choices(self._modes, self._choices)
        choice = self._choices[key]
        if choice.obstacle is not None:
            raise ModeUnavailable(
                f"Mode {choice.mode} is not available: {choice.obstacle.cause}.",
                evidence=choice.obstacle.evidence,
                remedy=choice.obstacle.remedy,
            )
        return choice

    def settle(self, settings: Settings) -> None:
        """Take it as found out that the mode of these settings, not `auto`, can be had."""
        self._choices[_key(settings)] = Choice(settings.mode)

    def lost(self) -> DaemonLost | None:
        """The error for a daemon that this process used and that is gone, if one is."""
        if self._loss is None:
            self._loss = next(filter(None, map(lost, self._daemons.values())), None)
        # A new one each time: one that is raised again and again gathers all the tracebacks.
        return copy.copy(self._loss)

    def close(self, *, failed: bool = False) -> list[Record]:
        """Leave the run; the process that began it ends its daemons too.

        Args:
            failed: Whether a test failed, which keeps a daemon with `keep="on-failure"`.

        Returns:
            The daemons that stay on purpose, of those that this process ended or used.
        """
        kept = [record for record in self.records if _is_kept(record.home)]
        self._settle()
        try:
            if self._ends_in == os.getpid():
                kept += self._end(failed=failed)
                for holding in self._holding:
                    holding.release()
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
        return kept

    def _settle(self) -> None:
        """Wait for a start that is under way; cut it short where nobody else may wait for it."""
        settings, ahead = self._ahead or (None, None)
        if settings is None or ahead is None:
            return
        home = Home(self.path / MAIN)
        deadline = time.monotonic() + _SETTLE_SECONDS
        while not ahead.wait(_CUT_SECONDS) and time.monotonic() < deadline:
            if self._ends_in == os.getpid():
                with contextlib.suppress(Exception):
                    backend(self.choice(settings).mode, self._engine(settings)).stop(home)

    def _end(self, *, failed: bool) -> list[Record]:
        kept = []
        for home in map(Home, sorted(filter(Path.is_dir, self.path.glob("*")))):
            found = state.read(home)
            if found is None:
                continue
            record, settings = found
            if _stays(settings, failed=failed):
                self._keep(record, settings)
                kept.append(record)
            else:
                backend(record.mode, self._engine(settings)).stop(home)
                workspace.remove(home.path)
        # What a process of the run that was killed left is not a daemon's, or not yet.
        reaper.finish(self.path)
        return kept

    def _mark_kept(self, *, failed: bool) -> None:
        """Have daemons that nobody may hold any more when the run ends stay, if they are to."""
        for record in self.records:
            found = state.read(record.home)
            if record.certificates and found and _stays(found[1], failed=failed):
                self._keep(record, found[1])

    def _keep(self, record: Record, settings: Settings) -> None:
        """Have a daemon outlive its users."""
        (record.home.path / reaper.KEPT).touch()
        backend(record.mode, self._engine(settings)).files(record).write(reaper.KEPT, "")

    def _hold(self, path: Path) -> None:
        """Take the lease in a run's directory, until `close`."""
        with workspace.explained(path / LEASE):
            self._leases.append(Lease(path / LEASE))

    def _engine(self, settings: Settings) -> Engine:
        return self._engines.setdefault(settings.host, Engine(settings.host))

    def _attached(self, home: Home, settings: Settings) -> Daemon | None:
        """The daemon of this home, if this run has it already."""
        found = state.read(home)
        if found is None:
            return None
        record, started_with = found
        changes = _changes(started_with, settings)
        if changes:
            raise SettingsError(
                f"This run already has a daemon {home.name!r}, with other settings.",
                evidence=changes,
                remedy=[
                    "Let dind_config give the same settings in each xdist worker.",
                    "Give each worker a daemon of its own: --dind-scope worker.",
                ],
            )
        found_by = backend(record.mode, self._engine(settings))
        daemon = Daemon(record, found_by, self._say)
        error = lost(daemon)
        if error is not None and record.certificates:
            # It ended with the processes that used it: a run's lease doesn't hold it.
            return None
        if error is not None:
            raise error
        if daemon.id not in self._daemons:
            self._holding.append(found_by)
            found_by.hold(record)
        return daemon

    def _started(self, home: Home, settings: Settings) -> Daemon:
        """A new daemon in this home; whatever a start that was cut short left there is removed."""
        engine = self._engine(settings)
        if not self._swept:
            sweep(workspace.base(), engine)
            self._swept = True
        chosen = backend(self.choice(settings).mode, engine)
        if home.path.exists():
            chosen.stop(home)
            workspace.remove(home.path)
        with workspace.explained(home.path.parent):
            (home.path.parent / reaper.ENGINE).write_text(engine.url)
            (home.path.parent / workspace.ROOT).write_text(str(self._root))
        workspace.make(home.path)
        try:
            # One FIFO under two names: who holds the run's lease holds the daemon's.
            with workspace.explained(home.path / LEASE):
                os.link(home.path.parent / LEASE, home.path / LEASE)
            self._holding.append(chosen)
            daemon = Daemon(chosen.start(home, settings, self._say), chosen, self._say)
            state.write(daemon.record, settings)
        except BaseException:
            chosen.release()
            # What failed matters more than a clean-up that fails too: the sweep has another go.
            with contextlib.suppress(Exception):
                chosen.stop(home)
            workspace.remove(home.path)
            raise
        return daemon

    def _reused(self, settings: Settings) -> Daemon:
        """The daemon that outlives runs under this name; made anew when it isn't the same."""
        began = time.monotonic()
        base = workspace.base()
        engine = self._engine(settings)
        image = images.ensure(engine.client, settings.image, self._say)["Id"]
        shape = json.dumps([settings.shape(), image], sort_keys=True)
        digest = hashlib.sha256(shape.encode()).hexdigest()[:8]
        prefix = f"{_REUSE}{settings.reuse}-"
        path = base / f"{prefix}{digest}"
        with workspace.locked(base, f"{_REUSE}{settings.reuse}"):
            with reaper.watching(path) as process, workspace.locked(base):
                workspace.make(path)
                self._hold(path)
            self._reapers.append(process)
            home = Home(path / MAIN)
            daemon = self._healthy(home, settings, began)
            if daemon is None:
                (home.path / reaper.KEPT).unlink(missing_ok=True)
                others = [
                    other for other in base.glob(f"{prefix}*") if other.is_dir() and other != path
                ]
                self._retire(others, settings)
                daemon = self._started(home, settings)
                self._keep(daemon.record, settings)
            return daemon

    def _healthy(self, home: Home, settings: Settings, began: float) -> Daemon | None:
        """The daemon of this home, if it is in good health, with the images to load."""
        found = state.read(home)
        if found is None:
            return None
        record, _ = found
        engine = self._engine(settings)
        daemon = Daemon(record, backend(record.mode, engine), self._say)
        if lost(daemon) is not None or transport.ping(record.host, record.certificates) is None:
            self._say(f"reuse: {home.run} is gone or unhealthy; starting it anew")
            return None
        with contextlib.closing(daemon.client()) as client:
            images.bring(engine.client, client, settings.load, daemon._files, self._say)
        # What is reported is what this run had to wait.
        record = dataclasses.replace(record, seconds=time.monotonic() - began)
        return dataclasses.replace(daemon, record=record)

    def _retire(self, paths: Iterable[Path], settings: Settings) -> None:
        """Say what changed since these daemons of the same name; remove those nobody uses."""
        for path in paths:
            home = Home(path / MAIN)
            found = state.read(home)
            if found is None:
                continue
            record, started_with = found
            changes = _changes(started_with, settings) or "its image is another one now"
            in_use = is_held(path / LEASE)
            rest = "stays while another run uses it" if in_use else "is removed"
            self._say(f"reuse: settings changed ({changes}); the daemon {home.label} {rest}")
            if not in_use:
                backend(record.mode, self._engine(started_with)).stop(home)
                workspace.remove(path)


def _key(settings: Settings) -> str:
    """What a choice depends on."""
    return json.dumps([settings.mode, settings.host, settings.image])


def _changes(before: Settings, after: Settings) -> str:
    """How settings that make another daemon differ; empty when they don't."""
    old, new = before.shape(), after.shape()
    return "; ".join(f"{key}: {old[key]!r} -> {new[key]!r}" for key in new if old[key] != new[key])


def _stays(settings: Settings, *, failed: bool) -> bool:
    return settings.keep == "always" or (settings.keep == "on-failure" and failed)


def _is_kept(home: Home) -> bool:
    return (home.path / reaper.KEPT).exists()
