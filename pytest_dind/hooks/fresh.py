"""The fixture dind_fresh: a pool of daemons, filled for the tests that are still to ask for one."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from ..errors import DindError, SettingsError
from ..options import FRESH, REQUIREMENTS, SETTINGS
from . import live, markers, matrix

if TYPE_CHECKING:
    from ..daemon.handle import Daemon
    from ..runs.pool import Loan, Pool
    from ..settings import Settings
    from .reports import Reports

_FIXTURES = frozenset({FRESH})
_NOT_CERTAIN = (*REQUIREMENTS, "skip", "skipif")


class Fresh:
    """The pool of a process, and the tests that it is for; a pytest plugin.

    xdist hands out tests as workers get done: a worker knows the test that it runs and the next
    one. Elsewhere all that are to come are known.

    Args:
        config: pytest's configuration.
        begin: Makes a pool of daemons with these settings.
        reports: Attends to daemons.
    """

    def __init__(
        self, config: pytest.Config, begin: Callable[[Settings], Pool], reports: Reports
    ) -> None:
        self._config = config
        self._begin = begin
        self._reports = reports
        self._pool: Pool | None = None
        # The image that the parameter of the pool's tests names.
        self._image = ""
        # The tests of this run, by their place in it: all, and those that ask, by their image.
        self._places: dict[pytest.Item, int] = {}
        self._asking: dict[str, list[int]] = {}
        # The test that runs, and the next one.
        self._near: tuple[pytest.Item | None, pytest.Item | None] = (None, None)
        self.in_hand: list[Daemon] = []

    # which tests ask

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> None:
        """Fill the pool before the first test, where it is certain which tests need it."""
        option = self._config.option
        fails = session.testsfailed and not option.continue_on_collection_errors
        if fails or option.collectonly or self._config.getoption("setupplan", False):
            return
        if live.has_workers(self._config) or self._is_worker:
            return
        for place, item in enumerate(session.items):
            self._places[item] = place
            if _asks(item):
                self._asking.setdefault(matrix.image_of(item), []).append(place)
        self._fill_ahead(session.items)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> None:
        """Fill the pool for this test and those after it."""
        self._near = (item, nextitem)
        if self._pool is None and self._is_worker:
            self._fill_ahead([one for one in self._near if one is not None])
        elif self._pool is not None:
            self._pool.fill(self._needed(item, taken=False))

    @property
    def _is_worker(self) -> bool:
        return hasattr(self._config, "workerinput")

    def _fill_ahead(self, items: Iterable[pytest.Item]) -> None:
        """Make the pool before a test asks, where its settings are those of the options."""
        settings = self._config.stash[SETTINGS]
        images = ("", settings.image)
        found = [item for item in items if _asks(item) and matrix.image_of(item) in images]
        if not found or not settings.spares or settings.mode == "socket":
            return
        if not markers.needs_daemon(found, _FIXTURES):
            return
        # What it fails on, the first test that asks says.
        with suppress(DindError):
            self._image = matrix.image_of(found[0])
            self._pool = self._begin(settings)
            self._pool.fill(self._needed(self._near[0], taken=False))

    def _needed(self, item: pytest.Item | None, *, taken: bool) -> int:
        """Return how many tests, from this one on, are certain to ask the pool for a daemon.

        Args:
            item: The test that runs; None before the first.
            taken: Whether it has asked.
        """
        if self._is_worker:
            near = self._near[1:] if taken else self._near
            return sum(one is not None and self._asks_pool(one) for one in near)
        places = self._asking.get(self._image, [])
        if item is None:
            return len(places)
        # A test that came later than the collection stands for all of them.
        place = self._places.get(item, 0)
        return len(places) - (bisect_right if taken else bisect_left)(places, place)

    def _asks_pool(self, item: pytest.Item) -> bool:
        return _asks(item) and matrix.image_of(item) == self._image

    # the fixtures

    def open(self, settings: Settings, image: str) -> None:
        """Have a pool of daemons with these settings.

        Args:
            settings: Their settings.
            image: The image that the tests' parameter names; empty where they have none.

        Raises:
            DindError: none can be had.
        """
        if settings.mode == "socket":
            raise SettingsError(
                f"{FRESH}: a test can't have a daemon of its own in mode socket.",
                evidence="There the tests use the outer engine itself; no daemon is started.",
                remedy=[
                    "Use dind_clean: what the test adds is removed after it.",
                    "Choose another mode: --dind-mode=auto.",
                    "Have the tests skipped in this mode: @pytest.mark.requires_isolation.",
                ],
            )
        if self._pool is not None and self._pool.settings != settings:
            # It began on a guess, before a project's own settings were known.
            self.close()
        self._image = image
        if self._pool is None:
            self._pool = self._begin(settings)

    def take(self) -> Daemon:
        """Return a daemon of the test's own; the next ones start meanwhile.

        Raises:
            DindError: it can't be had.
        """
        assert self._pool is not None
        pool = self._pool
        try:
            daemon = pool.take()
        finally:
            pool.fill(self._needed(self._near[0], taken=True))
        self.in_hand.append(daemon)
        self._reports.attend(daemon, pool.settings, fixtures=_FIXTURES)
        return daemon

    def lend(self, settings: Settings) -> Loan | None:
        """Return a spare of these settings, if there is one; see `Pool.lend`."""
        return self._pool.lend(settings) if self._pool is not None else None

    def give_back(self, daemon: Daemon) -> None:
        """End a test's daemon; does not wait for that."""
        self.in_hand.remove(daemon)
        recorder = self._reports.leave(daemon)
        if self._pool is not None:
            self._pool.end(daemon, recorder.close if recorder is not None else lambda: None)

    def close(self) -> None:
        """End all daemons of the pool, if there is one."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()


def _asks(item: pytest.Item) -> bool:
    """Tell whether a test is certain to ask; one that a marker may skip is not."""
    names = getattr(item, "fixturenames", ())
    return FRESH in names and not any(map(item.get_closest_marker, _NOT_CERTAIN))
