"""How many daemons of the pool the rest of a run needs, known test by test."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pytest_dind import DindError, Settings, SettingsError
from pytest_dind.hooks import markers
from pytest_dind.hooks.fresh import Fresh
from pytest_dind.options import FRESH, IMAGE_FIXTURE, SETTINGS


class _Item:
    """A test."""

    def __init__(self, *fixtures: str, marks: tuple[str, ...] = (), image: str = "") -> None:
        self.fixturenames = fixtures
        self._marks = marks
        self.callspec = SimpleNamespace(params={IMAGE_FIXTURE: image})

    def get_closest_marker(self, name: str) -> Any:
        found = [mark for mark in self._marks if mark.partition("=")[0] == name]
        arguments = (found[0].partition("=")[2],) if found else ()
        return SimpleNamespace(args=arguments, kwargs={}) if found else None


class _Pool:
    """A pool that notes how many daemons it was asked to have ready."""

    def __init__(self, settings: Settings, snapshot: Any) -> None:
        self.settings = settings
        self.snapshot = snapshot
        self.needed: list[int] = []
        self.is_closed = self.fails = False
        self.ended: list[tuple[Any, Any]] = []

    def fill(self, needed: int) -> None:
        self.needed.append(needed)

    def take(self) -> Any:
        if self.fails:
            raise DindError("It can't be had.", remedy=["None."])
        return SimpleNamespace()

    def end(self, daemon: Any, first: Any) -> None:
        self.ended.append((daemon, first))

    def close(self) -> None:
        self.is_closed = True


class _Reports:
    """Reports that note which daemons they attend to."""

    def __init__(self) -> None:
        self.attended: list[Any] = []

    def attend(self, daemon: Any, settings: Settings, *, fixtures: frozenset[str]) -> None:
        assert fixtures == {FRESH}
        self.attended.append(daemon)

    def leave(self, daemon: Any) -> Any:
        self.attended.remove(daemon)
        return SimpleNamespace(close="its recorder's end")


class _Process:
    """A process of a run, with its pools."""

    def __init__(self, *, worker: bool = False, **settings: Any) -> None:
        self.settings = Settings(**settings)
        self.pools: list[_Pool] = []
        self.reports = _Reports()
        config: Any = SimpleNamespace(
            stash={SETTINGS: self.settings},
            option=SimpleNamespace(collectonly=False, continue_on_collection_errors=False),
            getoption=lambda name, default: default,
            pluginmanager=SimpleNamespace(hasplugin=lambda name: False),
        )
        if worker:
            config.workerinput = {}
        reports: Any = self.reports
        # The snapshots, by their names.
        self.snapshots: dict[str, object] = {}
        self.fresh = Fresh(config, self._begin, reports, lambda _, name: self._snapshot(name))

    def _snapshot(self, name: str) -> Any:
        return self.snapshots[name]

    def _begin(self, settings: Settings, snapshot: Any, *, starts: bool) -> Any:
        self.pools.append(_Pool(settings, snapshot))
        return self.pools[-1]

    def begin(self, *items: _Item) -> None:
        session: Any = SimpleNamespace(items=items, testsfailed=0)
        self.fresh.pytest_runtestloop(session)

    def run(self, item: Any, nextitem: Any) -> None:
        """Run a test that asks if it has the fixture."""
        self.fresh.pytest_runtest_protocol(item, nextitem)
        if FRESH in item.fixturenames:
            self.fresh.open(self.settings, item.callspec.params[IMAGE_FIXTURE])
            self.fresh.give_back(self.fresh.take(markers.copied(item)))


@pytest.fixture(autouse=True)
def _known(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test has settings of its own."""
    monkeypatch.setattr(markers, "overrides", lambda *of: False)


def test_counted_down() -> None:
    """Before the first test all that ask count; a test that has its daemon counts no more."""
    process = _Process()
    items = [_Item(), _Item(FRESH), _Item(), _Item(FRESH)]
    process.begin(*items)
    [pool] = process.pools
    for item, nextitem in zip(items, [*items[1:], None], strict=True):
        process.run(item, nextitem)

    # At the beginning; then as each test begins, and once it has its daemon.
    assert pool.needed == [2, 2, 2, 1, 1, 1, 0]
    assert len(pool.ended) == 2
    assert process.reports.attended == []


def test_worker_knows_the_next_test() -> None:
    """An xdist worker counts the test that runs and the next one; nothing before the first."""
    process = _Process(worker=True)
    one, two, other = _Item(FRESH), _Item(FRESH), _Item()
    process.begin(one, two, other)
    assert not process.pools
    process.run(other, one)
    process.run(one, two)
    process.run(two, None)

    [pool] = process.pools
    assert pool.needed == [1, 2, 1, 1, 0]


@pytest.mark.parametrize("mark", ["skip", "skipif", "requires_isolation", "requires_engine"])
def test_not_certain(mark: str) -> None:
    """A test that a marker may skip has nothing started for it ahead."""
    process = _Process()
    process.begin(_Item(FRESH, marks=(mark,)), _Item())
    assert not process.pools

    process = _Process()
    process.begin(_Item(FRESH, marks=(mark,)), _Item(FRESH))
    assert process.pools[0].needed == [1]


@pytest.mark.parametrize("settings", [{"spares": 0}, {"mode": "socket"}])
def test_turned_off(settings: dict[str, Any]) -> None:
    """Without spares nothing begins before a test asks."""
    process = _Process(**settings)
    process.begin(_Item(FRESH))
    assert not process.pools


def test_own_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """A project's own settings are waited for; a pool with others is closed."""
    process = _Process()
    item = _Item(FRESH)
    process.begin(item)
    process.settings = process.settings.replace(arg=["--debug"])
    process.run(item, None)
    assert [pool.is_closed for pool in process.pools] == [True, False]

    monkeypatch.setattr(markers, "overrides", lambda *of: True)
    process = _Process()
    process.begin(item)
    assert not process.pools
    process.run(item, None)
    assert process.pools[0].needed == [0]


def test_images() -> None:
    """Only the tests of the pool's image count, which the others' pools are made for."""
    process = _Process(image="d:1")
    items = [_Item(FRESH, image="d:1"), _Item(FRESH, image="d:2"), _Item(FRESH, image="d:1")]
    process.begin(*items)
    assert process.pools[0].needed == [2]


def test_snapshots() -> None:
    """Copies of each snapshot have a pool, made once a test asks; empty daemons have their own."""
    process = _Process()
    process.snapshots = {"a": object(), "b": object()}
    marks = ("dind_snapshot=a",)
    items = [_Item(FRESH, marks=marks), _Item(FRESH, marks=("dind_snapshot=b",))]
    items += [_Item(FRESH, marks=marks), _Item(FRESH)]
    process.begin(*items)
    assert [pool.snapshot for pool in process.pools] == [None]
    for item, nextitem in zip(items, [*items[1:], None], strict=True):
        process.run(item, nextitem)

    empty, first, second = process.pools
    assert [first.snapshot, second.snapshot] == [process.snapshots["a"], process.snapshots["b"]]
    assert empty.needed == [1, 1, 1, 1, 1, 0]
    assert first.needed == [1, 1, 1, 0, 0]
    assert second.needed == [0, 0, 0]


def test_snapshot_that_is_taken_anew() -> None:
    """Under the same name there is another one: copies of the former are of no use any more."""
    process = _Process()
    process.snapshots = {"a": object()}
    item = _Item(FRESH, marks=("dind_snapshot=a",))
    process.begin(item, item)
    process.run(item, item)
    process.snapshots = {"a": object()}
    process.run(item, None)

    former, latter = process.pools
    assert former.is_closed
    assert latter.snapshot is process.snapshots["a"]


def test_failed_start() -> None:
    """A daemon that can't be had is given to nobody, and counts as asked for."""
    process = _Process()
    item = _Item(FRESH)
    process.begin(item)
    process.pools[0].fails = True
    with pytest.raises(DindError, match="can't be had"):
        process.run(item, None)
    assert process.pools[0].needed == [1, 1, 0]
    assert process.fresh.in_hand == process.reports.attended == []


def test_mode_socket() -> None:
    """In mode socket it is an error, which names what there is instead."""
    with pytest.raises(SettingsError) as caught:
        _Process().fresh.open(Settings(mode="socket"), "")
    assert "dind_clean" in str(caught.value)
