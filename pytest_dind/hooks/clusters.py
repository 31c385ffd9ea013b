"""Clusters that start before a test asks for one: on a guess, or since a test is certain to."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ..errors import DindError
from ..options import CLUSTER_FIXTURES, SETTINGS
from . import live, markers

if TYPE_CHECKING:
    import pytest

    from ..runs.factory import Factory
    from ..settings import Settings

_RESTS_ON = ("dind_config", "dind_factory")
# As long as the end of a run waits for a daemon that is starting.
_UNDO_SECONDS = 10


class Clusters:
    """The clusters of `dind_kubernetes` and `dind_swarm` in one process.

    xdist's workers have each a cluster of their own, and which of them need one is not known: there
    none starts ahead.

    Args:
        config: pytest's configuration.
        make: Makes a factory of daemons with these settings.
        forget: Is told of a factory that is undone.
    """

    def __init__(
        self,
        config: pytest.Config,
        make: Callable[[Settings], Factory],
        forget: Callable[[Factory], object],
    ) -> None:
        self._config = config
        self._make = make
        self._forget = forget
        # The factory of those that were begun, until dind_factory is asked for.
        self._ahead: Factory | None = None
        # What was given, or begun, by the names of fixtures.
        self._factory: Factory | None = None
        self._begun: set[str] = set()
        self._undoing: threading.Thread | None = None
        self.used: set[str] = set()

    def begin(self, fixtures: Collection[str]) -> None:
        """Begin the start of the clusters of these fixtures, with the settings of the options."""
        settings = self._config.stash[SETTINGS]
        if live.has_workers(self._config) or hasattr(self._config, "workerinput"):
            return
        # What it fails on, the first test that asks for the cluster says.
        with suppress(DindError):
            self._ahead = self._ahead or self._make(settings)
            for fixture in sorted(fixtures):
                self._ahead._begin(_kind(fixture), int(settings.nodes))
                self._begun.add(fixture)

    def review(self, items: Sequence[pytest.Item], *, certain: bool) -> None:
        """Undo a guess that was wrong, by the tests there are; begin what they are certain to need.

        Args:
            items: The tests.
            certain: Whether they run.
        """
        wanted = {name for one in items for name in getattr(one, "fixturenames", ())}
        if self._ahead is not None:
            if not certain or self._begun.isdisjoint(wanted):
                self.undo()
        elif certain:
            needed = {one for one in CLUSTER_FIXTURES & wanted if _is_certain(items, one)}
            if needed:
                self.begin(needed)

    def factory(self, settings: Settings) -> Factory:
        """Return what `dind_factory` gives: the factory of what was begun, if the settings fit."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None and ahead._settings != settings:
            self._undo(ahead)
            ahead = None
        self._factory = ahead or self._make(settings)
        return self._factory

    def given(self, factory: Factory, fixture: str, nodes: int) -> Any:
        """Return the cluster of a fixture: the one that was begun, or a new one.

        Raises:
            DindError: it can't be had.
        """
        self.used.add(fixture)
        if factory is self._factory:
            return factory._given(_kind(fixture), nodes)
        # A project's own, which may be anything that can do the same.
        return getattr(factory, _kind(fixture))(nodes=nodes)

    def undo(self) -> None:
        """Undo, in the background, what was begun and nobody has asked for."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            self._undo(ahead)

    def _undo(self, factory: Factory) -> None:
        self._forget(factory)

        def close() -> None:
            # What can't be ended now, the lease ends.
            with suppress(Exception):
                factory.close()

        self._undoing = threading.Thread(target=close, name="pytest-dind undo", daemon=True)
        self._undoing.start()

    def close(self) -> None:
        """Undo what is left, and wait for that."""
        self.undo()
        if self._undoing is not None:
            self._undoing.join(_UNDO_SECONDS)


def _kind(fixture: str) -> str:
    return fixture.removeprefix("dind_")


def _is_certain(items: Iterable[pytest.Item], fixture: str) -> bool:
    """Tell whether one of these tests is certain to need the cluster of the options."""
    using = [item for item in items if fixture in getattr(item, "fixturenames", ())]
    if any(markers.overrides(item, fixture, *_RESTS_ON) for item in using):
        return False
    return markers.needs_daemon(using, frozenset({fixture}))
