"""Daemons that outlive runs under a name, for the next run that asks for it."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ..backends import file_copies, mounts, records
from ..daemon.handle import Daemon
from ..daemon.loss import lost
from ..engine import http, images
from ..engine.engine import answering
from ..lifetime import directories, labels, layout
from ..lifetime.layout import LEASE, Home
from ..lifetime.lease import is_held
from ..settings import MAIN, Settings
from ..store.loaded import LoadedImages
from .context import Context, Holdings
from .starter import Starter, differences

if TYPE_CHECKING:
    from ..store.seeding import Origin


class Contents(Protocol):
    """What a daemon is to have in it besides images."""

    @property
    def name(self) -> str:
        """The name of the daemon, among those that are reused under one name."""

    @property
    def shape(self) -> Any:
        """What JSON can have: a daemon with another one is another daemon."""

    @property
    def parts(self) -> str:
        """What may be another one in another daemon with the same settings."""

    @property
    def origin(self) -> Origin | None:
        """What the daemon starts from; None for an empty one."""

    def resume(self, daemon: Daemon, *, alone: bool) -> str:
        """Take up what is in a daemon; gives why that can't be, empty where it can.

        Args:
            daemon: The daemon.
            alone: Whether nobody else uses it.
        """

    def make(self, daemon: Daemon) -> None:
        """Make it in a daemon that was started just now."""


class InUse(Exception):
    """A daemon is no good for this run, but others use it."""


class Reuse:
    """Takes up daemons of a name, and replaces them when settings, image or health say so.

    Args:
        context: What the parts of a run work with.
        holdings: The leases that this process holds.
        starter: Starts daemons.
    """

    def __init__(self, context: Context, holdings: Holdings, starter: Starter) -> None:
        self._context = context
        self._holdings = holdings
        self._starter = starter

    def daemon(self, settings: Settings, contents: Contents | None = None) -> Daemon:
        """Return the daemon of this name, settings and image; it is started where there is none.

        Args:
            settings: Its settings.
            contents: What it is to have in it besides images; None for nothing.

        Raises:
            InUse: what is in it is no good, and others use it.
            DindError: the daemon can't be had.
        """
        base = directories.base()
        engine = self._context.engine(settings)
        supply = images.ImageSource(engine.client, self._context.progress)
        with answering(engine):
            image = supply.ensure(settings.image)["Id"]
            for name in settings.load:
                supply.ensure(name)
        # Containers are named after the directory: another user's, or another temp dir's, daemon
        # of the same name and settings has another name on the engine.
        made = self._starter.resolved(settings)
        more = [] if contents is None else [contents.shape]
        shape = json.dumps([made.shape(), image, labels.owner(), str(base), *more], sort_keys=True)
        digest = hashlib.sha256(shape.encode()).hexdigest()
        path = directories.reused(base, settings.reuse, digest)
        name = MAIN if contents is None else contents.name
        with directories.locked(base, directories.reuse_lock(settings.reuse, name)):
            home = Home(path / name)
            kept = (home.path / layout.KEPT).exists()
            used = is_held(path / LEASE)
            self._holdings.take(path, starts=not kept)
            daemon = self._healthy(home, settings, supply)
            if daemon is not None and contents is not None:
                why = contents.resume(daemon, alone=not used)
                if why:
                    self._context.progress(f"reuse: {home.run} can't be used: {why}")
                    daemon = None
                if why and used:
                    raise InUse
            if daemon is not None and not used:
                copies = mounts.of(settings, home).to_copy()
                file_copies.provide(engine.client, daemon.id, copies, self._context.progress)
            if daemon is None:
                if kept:
                    self._holdings.take(path, starts=True)
                (home.path / layout.KEPT).unlink(missing_ok=True)
                found = directories.all_reused(base, settings.reuse)
                others = [other / name for other in found if other != path]
                self._retire(others, made, contents.parts if contents is not None else "image")
                origin = contents.origin if contents is not None else None
                daemon = self._starter.start(home, settings, pulled=supply.pulled, origin=origin)
                if contents is not None:
                    self._fill(daemon, settings, contents)
                self._starter.keep(daemon.record, settings)
            return daemon

    def _fill(self, daemon: Daemon, settings: Settings, contents: Contents) -> None:
        """Make what a daemon is to have in it; without, it goes."""
        try:
            contents.make(daemon)
        except BaseException:
            # What failed matters more; what can't be removed now, the lease ends.
            with contextlib.suppress(Exception):
                self._starter.end(daemon.record, settings)
            raise

    def _healthy(self, home: Home, settings: Settings, supply: images.ImageSource) -> Daemon | None:
        """Return the daemon of this home, with the images to load, if it is in good health."""
        found = records.read(home)
        if found is None:
            return None
        record, _ = found
        daemon = self._starter.daemon(record, settings)
        gone = mounts.replaced(home)
        if gone:
            replaced = f"{' and '.join(gone)}, which it has mounted, was made anew"
            self._context.progress(f"reuse: {replaced}; starting {home.run} anew")
            return None
        if (
            lost(record, daemon._backend) is not None
            or http.ping(record.host, record.certificates) is None
        ):
            self._context.progress(f"reuse: {home.run} is gone or unhealthy; starting it anew")
            return None
        with contextlib.closing(daemon.client()) as client:
            LoadedImages(client, daemon._files).bring(supply, settings.load)
        self._starter.forward(daemon, settings)
        # Reported is what this run had to wait for.
        record = dataclasses.replace(record, seconds=supply.seconds, pulled=supply.pulled)
        return dataclasses.replace(daemon, record=record)

    def _retire(self, paths: Iterable[Path], settings: Settings, parts: str) -> None:
        """Remove the daemons of the same name that nobody uses; say how their settings differ.

        Args:
            paths: The homes of the daemons.
            settings: The settings of the daemon that replaces them.
            parts: What else may be another one in that.
        """
        for path in paths:
            home = Home(path)
            found = records.read(home)
            if found is None:
                continue
            record, started_with = found
            before = started_with.replace(mode=record.mode)
            changes = differences(before, settings) or f"its {parts} is another one now"
            in_use = is_held(path.parent / LEASE)
            rest = "stays while another run uses it" if in_use else "is removed"
            self._context.progress(
                f"reuse: settings changed ({changes}); the daemon {home.label} {rest}"
            )
            if not in_use:
                self._starter.end(record, started_with)
                directories.remove(path.parent)
