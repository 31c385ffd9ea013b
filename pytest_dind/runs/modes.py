"""Which modes are in force in a run, found out once for all of its processes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

from ..backends import records
from ..backends.registry import Choice, Probe, choose, proved_by_start
from ..backends.tls_connection import because
from ..engine import streams
from ..engine.engine import Engine, answering
from ..errors import DindError, ImageUnavailable, ModeUnavailable
from ..lifetime import directories
from ..settings import Settings


class Choices:
    """The modes that a run's processes found to be in force, or not to be had.

    Args:
        shared: The directory in which the processes tell each other of them.
        run: The directory of the run on whose behalf containers are looked into.
        engine: Gives the outer engine of settings.
        progress: Where a line on what takes long goes.
    """

    def __init__(
        self,
        shared: Path,
        run: Path,
        engine: Callable[[Settings], Engine],
        progress: streams.Progress,
    ) -> None:
        self._shared = shared
        self._run = run
        self._engine = engine
        self._progress = progress
        self._made: dict[str, Choice] = {}
        self._unproved: dict[str, Choice] = {}
        self._pulled: dict[str, float] = {}

    @property
    def in_force(self) -> list[Choice]:
        """The modes that this process found to be in force."""
        return [choice for choice in self._made.values() if choice.obstacle is None]

    def choice(self, settings: Settings, *, proved: bool = True) -> Choice:
        """The mode in force.

        Args:
            settings: What is asked for.
            proved: Whether that the mode works must be known, where a daemon's start shows it too.

        Raises:
            ModeUnavailable: the mode asked for can't be had here.
            EngineUnavailable: the engine can't be had, or gives no answer.
        """
        key = _key(settings)
        with directories.locked(self._shared, "modes"):
            if key not in self._made:
                self._made |= records.read_choices(self._shared)
            if key not in self._made:
                # Asked again at the start, which follows soon.
                if not proved and key in self._unproved:
                    return self._unproved[key]
                engine = self._engine(settings)
                with answering(engine):
                    if not proved and proved_by_start(settings.mode, engine):
                        self._unproved[key] = Choice(settings.mode, connection=because(engine))
                        return self._unproved[key]
                    probe = Probe(engine, settings.image, self._run, self._progress)
                    choice = choose(settings.mode, engine, probe)
                self._pulled[key] = probe.pulled
                self._made[key] = dataclasses.replace(choice, connection=because(engine))
                records.write_choices(self._shared, self._made)
        choice = self._made[key]
        if choice.obstacle is not None:
            raise choice.obstacle.error(choice.mode)
        return choice

    def take_pulled(self, settings: Settings) -> float:
        """Seconds that a choice took to pull the image; the first that asks is told, then it is 0.

        The image is pulled for the daemon, though the look into a container comes first.
        """
        return self._pulled.pop(_key(settings), 0)

    def settle(self, settings: Settings) -> None:
        """Take it as found out that the mode of these settings, not `auto`, can be had."""
        if _key(settings) in self._made:
            return
        with directories.locked(self._shared, "modes"):
            choice = Choice(settings.mode, connection=because(self._engine(settings)))
            self._made = {_key(settings): choice} | self._made | records.read_choices(self._shared)
            records.write_choices(self._shared, self._made)

    def obstacle(self, settings: Settings) -> DindError | None:
        """Why a daemon did not start, if that is because its mode does not work here at all."""
        try:
            self.choice(settings)
        except (ModeUnavailable, ImageUnavailable) as error:
            return error
        except DindError:
            # What is known of the start says more.
            pass
        return None


def _key(settings: Settings) -> str:
    """What a choice depends on."""
    return json.dumps([settings.mode, settings.host, settings.image])
