"""Daemons that outlive runs under a name, for the next run that asks for it."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

from ..backends import records
from ..daemon.handle import Daemon
from ..daemon.loss import lost
from ..engine import http, images, streams
from ..engine.engine import Engine, answering
from ..lifetime import directories, layout
from ..lifetime.layout import LEASE, Home
from ..lifetime.lease import is_held
from ..settings import MAIN, Settings
from ..store.loaded import LoadedImages
from .starter import Starter, differences


class TakeUp(Protocol):
    """As `Run` does it."""

    def __call__(self, path: Path, *, starts: bool) -> None:
        """Take the lease in a directory where a daemon is, or is to be started."""


class Reuse:
    """Takes up daemons of a name, and makes them anew when they aren't the same.

    Args:
        starter: Starts them.
        engine: Gives the outer engine of settings.
        take_up: Takes the lease in a directory, for as long as the run lasts.
        progress: Where a line on what becomes of them goes.
    """

    def __init__(
        self,
        starter: Starter,
        engine: Callable[[Settings], Engine],
        take_up: TakeUp,
        progress: streams.Progress,
    ) -> None:
        self._starter = starter
        self._engine = engine
        self._take_up = take_up
        self._progress = progress

    def daemon(self, settings: Settings) -> Daemon:
        """The daemon of this name, settings and image; a new one where there is none.

        Raises:
            DindError: it can't be had.
        """
        base = directories.base()
        engine = self._engine(settings)
        supply = images.ImageSource(engine.client, self._progress)
        with answering(engine):
            image = supply.ensure(settings.image)["Id"]
            for name in settings.load:
                supply.ensure(name)
        shape = json.dumps([settings.shape(), image], sort_keys=True)
        digest = hashlib.sha256(shape.encode()).hexdigest()
        path = directories.reused(base, settings.reuse, digest)
        with directories.locked(base, directories.reuse_lock(settings.reuse)):
            home = Home(path / MAIN)
            kept = (home.path / layout.KEPT).exists()
            self._take_up(path, starts=not kept)
            daemon = self._healthy(home, settings, supply)
            if daemon is None:
                if kept:
                    self._take_up(path, starts=True)
                (home.path / layout.KEPT).unlink(missing_ok=True)
                found = directories.all_reused(base, settings.reuse)
                others = [other for other in found if other != path]
                self._retire(others, settings)
                daemon = self._starter.started(home, settings, pulled=supply.pulled)
                self._starter.keep(daemon.record, settings)
            return daemon

    def _healthy(self, home: Home, settings: Settings, supply: images.ImageSource) -> Daemon | None:
        """The daemon of this home, if it is in good health, with the images to load."""
        found = records.read(home)
        if found is None:
            return None
        record, _ = found
        daemon = Daemon(record, self._starter.backend(record, settings), self._progress)
        if (
            lost(record, daemon._backend) is not None
            or http.ping(record.host, record.certificates) is None
        ):
            self._progress(f"reuse: {home.run} is gone or unhealthy; starting it anew")
            return None
        with contextlib.closing(daemon.client()) as client:
            LoadedImages(client, daemon._files).bring(supply, settings.load)
        # What is reported is what this run had to wait.
        record = dataclasses.replace(record, seconds=supply.seconds, pulled=supply.pulled)
        return dataclasses.replace(daemon, record=record)

    def _retire(self, paths: Iterable[Path], settings: Settings) -> None:
        """Say what changed since these daemons of the same name; remove those nobody uses."""
        for path in paths:
            home = Home(path / MAIN)
            found = records.read(home)
            if found is None:
                continue
            record, started_with = found
            changes = differences(started_with, settings) or "its image is another one now"
            in_use = is_held(path / LEASE)
            rest = "stays while another run uses it" if in_use else "is removed"
            self._progress(f"reuse: settings changed ({changes}); the daemon {home.label} {rest}")
            if not in_use:
                self._starter.end(record, started_with)
                directories.remove(path)
