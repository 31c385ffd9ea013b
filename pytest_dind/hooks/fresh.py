"""The fixture dind_fresh: a pool of daemons, filled for the tests that are still to ask for one."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

import pytest

from ..errors import DindError, SettingsError
from ..options import FRESH, REQUIREMENTS, SETTINGS
from . import live, markers, matrix
from .markers import Copied

if TYPE_CHECKING:
    from ..daemon.handle import Daemon
    from ..runs.pool import Loan, Pool
    from ..settings import Settings
    from ..store.snapshots import Snapshot
    from .reports import Reports

_FIXTURES = frozenset({FRESH})
_NOT_CERTAIN = (*REQUIREMENTS, "skip", "skipif")
_EMPTY = Copied()


class Fresh:
    """The pools of a process, and the tests that they are for; a pytest plugin.

    There is one of empty daemons, and one of copies of each snapshot that tests have had a copy of.
    xdist hands out tests as workers get done: a worker knows the test that it runs and the next
    one. Elsewhere all that are to come are known.

    Args:
        config: pytest's configuration.
        begin: Makes a pool of daemons with these settings, which are copies of a snapshot or empty;
            `starts`: whether the containers run again that ran in it.
        reports: Attends to daemons.
        find: Finds a snapshot by its name.
    """

    def __init__(
        self,
        config: pytest.Config,
        begin: Callable[..., Pool],
        reports: Reports,
        find: Callable[[Settings, str], Snapshot],
    ) -> None:
        self._config = config
        self._begin = begin
        self._reports = reports
        self._find = find
        self._settings: Settings | None = None
        self._pools: dict[Copied, Pool] = {}
        # By the daemon: its pool.
        self._owners: dict[int, Pool] = {}
        # The image that the parameter of the pool's tests names.
        self._image = ""
        # The tests of this run, by their place in it: all, and those that ask, by their image and
        # what they have a copy of.
        self._places: dict[pytest.Item, int] = {}
        self._asking: dict[tuple[str, Copied], list[int]] = {}
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
                asked = matrix.image_of(item), markers.copied(item)
                self._asking.setdefault(asked, []).append(place)
        self._fill_ahead(session.items)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> None:
        """Fill the pools for this test and those after it."""
        self._near = (item, nextitem)
        if not self._pools and self._is_worker:
            self._fill_ahead([one for one in self._near if one is not None])
        else:
            for copied, pool in self._pools.items():
                pool.fill(self._needed(item, copied, taken=False))

    @property
    def _is_worker(self) -> bool:
        return hasattr(self._config, "workerinput")

    def _fill_ahead(self, items: Iterable[pytest.Item]) -> None:
        """Make the pool before a test asks, where its settings are those of the options."""
        settings = self._config.stash[SETTINGS]
        images = ("", settings.image)
        # Snapshots are taken by fixtures, which have not run yet.
        found = [
            item
            for item in items
            if _asks(item) and matrix.image_of(item) in images and not markers.copied(item).name
        ]
        if not found or not settings.spares or settings.mode == "socket":
            return
        if not markers.needs_daemon(found, _FIXTURES):
            return
        # What it fails on, the first test that asks says.
        with suppress(DindError):
            self._image, self._settings = matrix.image_of(found[0]), settings
            pool = self._pools[_EMPTY] = self._begin(settings, None, starts=False)
            pool.fill(self._needed(self._near[0], _EMPTY, taken=False))

    def _needed(self, item: pytest.Item | None, copied: Copied, *, taken: bool) -> int:
        """Return how many tests, from this one on, are certain to ask a pool for a daemon.

        Args:
            item: The test that runs; None before the first.
            copied: What the pool's daemons are copies of.
            taken: Whether it has asked.
        """
        if self._is_worker:
            near = self._near[1:] if taken else self._near
            return sum(one is not None and self._asks_pool(one, copied) for one in near)
        places = self._asking.get((self._image, copied), [])
        if item is None:
            return len(places)
        # A test that came later than the collection stands for all of them.
        place = self._places.get(item, 0)
        return len(places) - (bisect_right if taken else bisect_left)(places, place)

    def _asks_pool(self, item: pytest.Item, copied: Copied) -> bool:
        is_same = matrix.image_of(item) == self._image and markers.copied(item) == copied
        return is_same and _asks(item)

    # the fixtures

    def open(self, settings: Settings, image: str) -> None:
        """Have pools of daemons with these settings.

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
        if self._settings not in (None, settings):
            # They began on a guess, before a project's own settings were known.
            self.close()
        self._image, self._settings = image, settings

    def take(self, copied: Copied = _EMPTY) -> Daemon:
        """Return a daemon of the test's own; the next ones start meanwhile.

        Args:
            copied: What it is a copy of.

        Raises:
            DindError: it can't be had.
        """
        pool = self._pool(copied)
        try:
            daemon = pool.take()
        finally:
            pool.fill(self._needed(self._near[0], copied, taken=True))
        self.in_hand.append(daemon)
        self._owners[id(daemon)] = pool
        self._reports.attend(daemon, pool.settings, fixtures=_FIXTURES)
        return daemon

    def _pool(self, copied: Copied) -> Pool:
        """Return the pool of these copies, which is made when there is none.

        Raises:
            DindError: there is no such snapshot.
        """
        assert self._settings is not None
        snapshot = self._find(self._settings, copied.name) if copied.name else None
        pool = self._pools.get(copied)
        if pool is not None and pool.snapshot != snapshot:
            # Another one has been taken under the same name.
            pool.close()
            pool = None
        if pool is None:
            pool = self._pools[copied] = self._begin(self._settings, snapshot, starts=copied.start)
        return pool

    def lend(self, settings: Settings) -> Loan | None:
        """Return a spare of these settings, if there is one; see `Pool.lend`."""
        pool = self._pools.get(_EMPTY)
        return pool.lend(settings) if pool is not None else None

    def give_back(self, daemon: Daemon) -> None:
        """End a test's daemon; does not wait for that."""
        self.in_hand.remove(daemon)
        recorder = self._reports.leave(daemon)
        pool = self._owners.pop(id(daemon))
        # With one that is closed its daemons have ended.
        if pool in self._pools.values():
            pool.end(daemon, recorder.close if recorder is not None else lambda: None)

    def close(self) -> None:
        """End all daemons of the pools."""
        pools, self._pools = self._pools, {}
        self._settings = None
        with ExitStack() as ends:
            for pool in pools.values():
                ends.callback(pool.close)


def _asks(item: pytest.Item) -> bool:
    """Tell whether a test is certain to ask; one that a marker may skip is not."""
    names = getattr(item, "fixturenames", ())
    return FRESH in names and not any(map(item.get_closest_marker, _NOT_CERTAIN))
