"""Snapshots that are prepared once: for all processes of a run, and with a key for later runs."""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..daemon import snapshots
from ..daemon.arguments import bad
from ..engine.engine import answering
from ..engine.images import ImageSource
from ..errors import SettingsError
from ..lifetime import directories, layout
from ..store.contents import Cache
from ..store.snapshots import Wanted, demand_name, for_one_run, key_for

if TYPE_CHECKING:
    from ..daemon.handle import Daemon
    from ..settings import Settings
    from .run import Run

_CALL = "dind_factory.snapshot"


@dataclass(frozen=True)
class Preparing:
    """A snapshot that is to be there.

    Attributes:
        name: Its name.
        prepare: Prepares a daemon, of which it is taken.
        key: What else its contents depend on, as JSON; None where it is for one run.
    """

    name: str
    prepare: Callable[[Daemon], object]
    key: str | None


def wanted(name: object, prepare: object, key: object) -> Preparing:
    """Check the arguments of `Factory.snapshot`.

    Raises:
        SettingsError: one has a value that it can't have.
    """
    valid = demand_name(_CALL, name)
    if not callable(prepare):
        raise bad(_CALL, "prepare", prepare, "a function that takes the daemon")
    try:
        text = None if key is None else json.dumps(key, sort_keys=True)
    except (TypeError, ValueError) as error:
        valid_key = "what JSON can have, such as a text or a list of texts, or None"
        raise bad(_CALL, "key", key, valid_key, note=str(error)) from None
    return Preparing(valid, prepare, text)


def source_of(prepare: Callable[..., object]) -> str:
    """The source of a function.

    Raises:
        SettingsError: it can't be had, so that nobody can tell whether it has changed.
    """
    try:
        return inspect.getsource(prepare)
    except (OSError, TypeError) as error:
        raise SettingsError(
            f"{_CALL}: the source of prepare={prepare!r} can't be had.",
            evidence=f"{error}. With a key, a snapshot of an earlier run is used only where that "
            "is the same.",
            remedy=["Give a function that is written in a file.", "Leave key out."],
        ) from error


@dataclass(frozen=True)
class Preparation:
    """Has snapshots made where there are none.

    Attributes:
        run: The factory's run.
        settings: The settings of the daemons that are prepared.
        start: Starts one.
    """

    run: Run
    settings: Settings
    start: Callable[[], Daemon]

    def have(self, asked: Preparing) -> None:
        """Have a snapshot, by whichever process and run.

        Raises:
            DindError: it can't be had.
        """
        shared = self.run.shared
        # xdist's workers all come by here.
        with directories.locked(shared, f"{layout.SNAPSHOT}{asked.name}"):
            key = None if asked.key is None else self._key(asked, asked.key)
            known = [one for one in snapshots.known(shared) if one.name == asked.name]
            if known and (key is None or known[-1].key == key):
                return
            if key is not None and self._is_in_store(key):
                return
            daemon = self.start()
            try:
                asked.prepare(daemon)
                wanted = Wanted(asked.name, key, once=False) if key else for_one_run(asked.name)
                daemon._freeze(wanted)
            finally:
                daemon.stop()

    def _key(self, asked: Preparing, extra: str) -> str:
        """The key of the snapshot in the store."""
        engine = self.run.engine(self.settings)
        source = ImageSource(engine.client, self.run.progress)
        with answering(engine):
            image = source.ensure(self.settings.image)["Id"]
            images = [source.ensure(name)["Id"] for name in self.settings.load]
        mode = self.run.choice(self.settings, proved=False).mode
        written = source_of(asked.prepare)
        return key_for(asked.name, mode, image, self.settings, images, written, extra)

    def _is_in_store(self, key: str) -> bool:
        """Whether an earlier run has made it; the run knows of it then."""
        engine = self.run.engine(self.settings)
        with answering(engine):
            found = Cache(engine, self.settings.image, self.run.path).snapshot(key)
        if found is None:
            return False
        snapshots.note(self.run.shared, dataclasses.replace(found, engine=engine.url))
        return True
