"""Daemons that outlive runs under a name, for the next run that asks for it."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ..backends import file_copies, mounts, records
from ..daemon.handle import Daemon
from ..daemon.loss import lost
from ..engine import http, images
from ..engine.engine import answering
from ..lifetime import directories, labels, layout, reaper
from ..lifetime.layout import LEASE, Home
from ..lifetime.lease import is_held
from ..settings import MAIN, Settings
from ..store.loaded import LoadedImages
from .context import Context, Holdings
from .starter import Starter, differences

if TYPE_CHECKING:
    from ..store.seeding import Origin


class Start(Protocol):
    """Starts a daemon."""

    def __call__(self, name: str, origin: Origin | None = None) -> Daemon:
        """Start the daemon of this name.

        Args:
            name: Its name.
            origin: What it starts from; None for an empty one.

        Raises:
            DindError: it can't be had; its start has left nothing behind.
        """


class Contents(Protocol):
    """Daemons that are reused together, and what they are to have in them besides images."""

    @property
    def names(self) -> Sequence[str]:
        """Their names; the first is that of no others that are reused under the same name."""

    @property
    def shape(self) -> Sequence[Any]:
        """What JSON can have: with another one they are other daemons."""

    @property
    def parts(self) -> str:
        """What may be another one in others with the same settings."""

    def resume(self, daemons: Sequence[Daemon], *, alone: bool) -> str:
        """Take up what is in daemons; gives why that can't be, empty where it can.

        Args:
            daemons: All of them, in the order of their names.
            alone: Whether nobody else uses them.
        """

    def make(self, start: Start) -> None:
        """Start the daemons, and make it in them; several may be started at once.

        Raises:
            DindError: it can't be had.
        """


@dataclasses.dataclass(frozen=True)
class Alone:
    """A daemon with nothing in it: a `Contents` of it."""

    names: Sequence[str] = (MAIN,)
    shape: Sequence[Any] = ()
    parts: str = "image"

    def resume(self, daemons: Sequence[Daemon], *, alone: bool) -> str:
        """Take it up as it is."""
        return ""

    def make(self, start: Start) -> None:
        """Start it."""
        start(self.names[0])


class InUse(Exception):
    """Daemons are no good for this run, but others use them."""


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

    def daemons(self, settings: Settings, contents: Contents) -> list[Daemon]:
        """Return the daemons of this name, settings and image; they start where there are none.

        Args:
            settings: The settings of each.
            contents: Which they are, and what they are to have in them.

        Raises:
            InUse: some are gone, or what is in them is no good, and others use them.
            DindError: they can't be had.
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
        known = [made.shape(), image, labels.owner(), str(base), *contents.shape]
        digest = hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()
        path = directories.reused(base, settings.reuse, digest)
        homes = [Home(path / name) for name in contents.names]
        with directories.locked(base, directories.reuse_lock(settings.reuse, homes[0].name)):
            marks = [home.path / layout.KEPT for home in homes]
            # A start that was cut short may have marked some of them.
            kept = all(mark.exists() for mark in marks)
            used = is_held(path / LEASE)
            self._holdings.take(path, starts=not kept)
            daemons = self._resumed(homes, settings, supply, contents, used=used)
            if not daemons:
                if kept:
                    self._holdings.take(path, starts=True)
                for mark in marks:
                    mark.unlink(missing_ok=True)
                found = directories.all_reused(base, settings.reuse)
                others = [one for one in found if one != path and (one / homes[0].name).exists()]
                self._retire(others, made, contents.parts)
                daemons = self._made(path, settings, supply, contents)
            return daemons

    def _resumed(
        self,
        homes: Sequence[Home],
        settings: Settings,
        supply: images.ImageSource,
        contents: Contents,
        *,
        used: bool,
    ) -> list[Daemon]:
        """Return the daemons of these homes, taken up; none where they are to be made anew.

        Raises:
            InUse: some are gone, or what is in them is no good, and others use them.
        """
        looks = [self._look(home, settings, supply) for home in homes]
        daemons = [one for one in looks if isinstance(one, Daemon)]
        lacks = [one for one in looks if isinstance(one, str)]
        if not daemons and not any(lacks):
            return []
        if lacks:
            why = next(filter(None, lacks), "its start was cut short")
        else:
            why = contents.resume(daemons, alone=not used)
        if why:
            self._context.progress(f"reuse: {homes[0].run} can't be used: {why}")
            # Daemons that are all gone nobody uses, whoever has them.
            if used and daemons:
                raise InUse
            return []
        if not used:
            client = self._context.engine(settings).client
            for home, daemon in zip(homes, daemons, strict=True):
                copies = mounts.of(settings, home).to_copy()
                file_copies.provide(client, daemon.id, copies, self._context.progress)
        return daemons

    def _made(
        self, path: Path, settings: Settings, supply: images.ImageSource, contents: Contents
    ) -> list[Daemon]:
        """Make the daemons anew, with what they are to have in them; without, they go."""
        made: list[Daemon] = []

        def start(name: str, origin: Origin | None = None) -> Daemon:
            home = Home(path / name)
            made.append(self._starter.start(home, settings, pulled=supply.pulled, origin=origin))
            return made[-1]

        try:
            contents.make(start)
        except BaseException:
            for daemon in made:
                # What failed matters more; what can't be removed now, the lease ends.
                with contextlib.suppress(Exception):
                    self._starter.end(daemon.record, settings)
            raise
        for daemon in made:
            self._starter.keep(daemon.record, settings)
        return sorted(made, key=lambda daemon: contents.names.index(daemon.name))

    def _look(self, home: Home, settings: Settings, supply: images.ImageSource) -> Daemon | str:
        """Return the daemon of this home, with the images to load, if it is in good health.

        Else why it can't be used; empty where there was none.
        """
        found = records.read(home)
        if found is None:
            return ""
        record, _ = found
        daemon = self._starter.daemon(record, settings)
        gone = mounts.replaced(home)
        if gone:
            return f"{' and '.join(gone)}, which it has mounted, was made anew"
        if (
            lost(record, daemon._backend) is not None
            or http.ping(record.host, record.certificates) is None
        ):
            return f"{home.name} is gone or unhealthy"
        with contextlib.closing(daemon.client()) as client:
            LoadedImages(client, daemon._files).bring(supply, settings.load)
        self._starter.forward(daemon, settings)
        # Reported is what this run had to wait for.
        record = dataclasses.replace(record, seconds=supply.seconds, pulled=supply.pulled)
        return dataclasses.replace(daemon, record=record)

    def _retire(self, paths: Iterable[Path], settings: Settings, parts: str) -> None:
        """Remove the daemons of the same name that nobody uses; say how their settings differ.

        Args:
            paths: The directories of the daemons.
            settings: The settings of the daemons that replace them.
            parts: What else may be another one in these.
        """
        for path in paths:
            homes = [Home(one) for one in sorted(path.iterdir()) if one.is_dir()]
            there = [found for found in map(records.read, homes) if found is not None]
            if not there:
                continue
            record, started_with = there[0]
            before = started_with.replace(mode=record.mode)
            changes = differences(before, settings) or f"its {parts} is another one now"
            in_use = is_held(path / LEASE)
            rest = "stays while another run uses it" if in_use else "is removed"
            more = f" and {len(there) - 1} more" if len(there) > 1 else ""
            self._context.progress(
                f"reuse: settings changed ({changes}); the daemon {record.home.label}{more} {rest}"
            )
            if not in_use:
                for one, settings_of_one in there:
                    self._starter.end(one, settings_of_one)
                # Their network goes, too.
                reaper.finish(path)
