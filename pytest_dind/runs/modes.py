"""The modes in force in a run, found out once for all of its processes."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from ..backends import records
from ..backends.memory import Memory
from ..backends.registry import AUTO_ORDER, Choice, Obstacle, Probe, choose, proved_by_start
from ..backends.tls_connection import because
from ..engine.engine import Engine, answering
from ..errors import DindError, ImageUnavailable, ModeUnavailable
from ..lifetime import directories, layout
from ..lifetime.layout import Home
from ..settings import AUTO, MAIN, Settings
from .context import Context

_LOCK = "modes"


class Modes:
    """The modes that a run's processes found to be in force, or not to be had.

    Args:
        context: What the parts of a run work with.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        # By what they depend on: see `_key`.
        self._found: dict[str, Choice] = {}
        self._unproved: dict[str, Choice] = {}
        self._pulled: dict[str, float] = {}

    @property
    def in_force(self) -> list[Choice]:
        """The modes that this process found to be in force."""
        return [choice for choice in self._found.values() if choice.obstacle is None]

    def choice(self, settings: Settings, *, proved: bool = True, anew: bool = False) -> Choice:
        """Return the mode in force.

        Args:
            settings: The daemon's settings, with the mode asked for.
            proved: Whether the mode must be proved to work, also where a daemon's start is the
                proof.
            anew: Whether what an earlier run proved does not count.

        Raises:
            ModeUnavailable: the mode asked for can't be had here.
            EngineUnavailable: the engine can't be had, or gives no answer.
        """
        key, shared = _key(settings), self._context.shared
        with directories.locked(shared, _LOCK):
            if key not in self._found:
                self._found |= read(shared)
            if anew and key in self._found and self._found[key].remembered:
                del self._found[key]
            if key not in self._found:
                # The engine is not asked again: the start follows soon.
                if not proved and key in self._unproved:
                    return self._unproved[key]
                engine = self._context.engine(settings)
                with answering(engine):
                    if not proved and proved_by_start(settings.mode, engine):
                        self._unproved[key] = Choice(settings.mode, connection=because(engine))
                        return self._unproved[key]
                    probe = self._probe(engine, settings, anew=anew)
                    choice = self._of_reused(settings, anew=anew) or _told(
                        choose(settings.mode, engine, probe), probe.age
                    )
                self._pulled[key] = probe.pulled
                self._found[key] = dataclasses.replace(choice, connection=because(engine))
                write(shared, self._found)
        choice = self._found[key]
        if choice.obstacle is not None:
            raise choice.obstacle.error(choice.mode)
        return choice

    def _probe(self, engine: Engine, settings: Settings, *, anew: bool) -> Probe:
        context = self._context
        memory = Memory(context.directory.parent / layout.PROVED, anew=anew)
        return Probe(engine, settings.image, context.directory, context.progress, memory)

    def _of_reused(self, settings: Settings, *, anew: bool) -> Choice | None:
        """Return the mode of the daemon that is there already, if these settings reuse one."""
        if settings.mode != AUTO or not settings.reuse or anew:
            return None
        for path in directories.all_reused(self._context.directory.parent, settings.reuse):
            found = records.read(Home(path / MAIN))
            if found is None:
                continue
            record, made = found
            # That `auto` would not take a more isolated mode now is known of that one alone.
            same = (made.host, made.image) == (settings.host, settings.image)
            if same and (record.mode == AUTO_ORDER[0] or made.mode == AUTO):
                because = f"the daemon {record.home.run} is there already"
                return Choice(record.mode, because, remembered=True)
        return None

    def take_pulled(self, settings: Settings) -> float:
        """Return the seconds that the pull of the image for a choice took; to the first who asks.

        The image is pulled for the daemon, though the look into a container comes first.
        """
        return self._pulled.pop(_key(settings), 0)

    def confirm(self, settings: Settings) -> None:
        """Note that the mode of these settings, which is not `auto`, can be had: a daemon is."""
        key, shared = _key(settings), self._context.shared
        if key in self._found:
            return
        with directories.locked(shared, _LOCK):
            choice = Choice(settings.mode, connection=because(self._context.engine(settings)))
            self._found = {key: choice} | self._found | read(shared)
            write(shared, self._found)

    def obstacle(self, settings: Settings) -> DindError | None:
        """Return why a daemon did not start, if its mode or its image cannot be had here at all."""
        try:
            self.choice(settings, anew=True)
        except (ModeUnavailable, ImageUnavailable) as error:
            return error
        except DindError:
            # What is known of the start says more.
            pass
        return None


def _key(settings: Settings) -> str:
    """Return what a choice depends on."""
    reuse = settings.reuse if settings.mode == AUTO else ""
    return json.dumps([settings.mode, settings.host, settings.image, reuse])


def _told(choice: Choice, age: float | None) -> Choice:
    """Return a choice that says whether it was made by what an earlier run had proved."""
    if age is None or choice.obstacle is not None:
        return choice
    because = choice.because and f"{choice.because}, {age / 60:.0f} min ago"
    return dataclasses.replace(choice, because=because, remembered=True)


def read(shared: Path) -> dict[str, Choice]:
    """Read what the processes that share a directory found out; empty where nothing can be read."""
    try:
        found = json.loads((shared / layout.MODES).read_text())
    except (OSError, ValueError):
        return {}
    return {key: _choice(fields) for key, fields in found.items()}


def _choice(fields: dict[str, Any]) -> Choice:
    obstacle = fields.pop("obstacle")
    if obstacle is not None:
        obstacle = Obstacle(**obstacle | {"remedy": tuple(obstacle["remedy"])})
    return Choice(**fields, obstacle=obstacle)


def write(shared: Path, choices: dict[str, Choice]) -> None:
    """Write what was found out, for the other processes that share the directory.

    Raises:
        SettingsError: the directory can't be written.
    """
    content = {key: dataclasses.asdict(choice) for key, choice in choices.items()}
    records.write_json(shared / layout.MODES, content)
