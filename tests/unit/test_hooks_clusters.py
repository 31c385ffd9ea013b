"""Which clusters begin to start before a test asks for one, and which of them are undone."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pytest_dind import Settings
from pytest_dind.hooks import ahead, live, markers
from pytest_dind.hooks.clusters import Clusters
from pytest_dind.options import AHEAD, SETTINGS

_KUBERNETES, _SWARM = "dind_kubernetes", "dind_swarm"


class _Factory:
    """A factory that notes what is done with it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.begun: list[tuple[str, int]] = []
        self.closed = threading.Event()

    def _begin(self, kind: str, nodes: int) -> None:
        self.begun.append((kind, nodes))

    def _given(self, kind: str, nodes: int) -> str:
        return f"{kind} of {nodes}"

    def close(self) -> None:
        """End it."""
        self.closed.set()


class _Made:
    """The factories of a process, and what it has in hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **config: Any) -> None:
        self.settings = Settings(nodes=2)
        stash = pytest.Stash()
        stash[SETTINGS] = self.settings
        monkeypatch.setattr(live, "has_workers", lambda config: False)
        monkeypatch.setattr(markers, "overrides", lambda item, *names: False)
        self.factories: list[Any] = []
        self.clusters = Clusters(
            cast(Any, SimpleNamespace(stash=stash, **config)), self.make, self.factories.remove
        )

    def make(self, settings: Settings) -> Any:
        """Make one more."""
        self.factories.append(_Factory(settings))
        return self.factories[-1]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> _Made:
    """A process without xdist."""
    return _Made(monkeypatch)


def _item(*fixtures: str, mark: str = "") -> Any:
    return SimpleNamespace(
        fixturenames=[*fixtures], get_closest_marker=lambda name: name == mark or None
    )


def test_right_guess(made: _Made) -> None:
    """What was begun on a guess is what the fixtures give."""
    made.clusters.begin({_KUBERNETES})
    made.clusters.review([_item(_KUBERNETES, mark="requires_isolation")], certain=True)
    factory = made.clusters.factory(made.settings)
    assert made.clusters.given(factory, _KUBERNETES, 2) == "kubernetes of 2"
    assert made.clusters.used == {_KUBERNETES}
    made.clusters.close()
    (one,) = made.factories
    assert one.begun == [("kubernetes", 2)]
    assert not one.closed.is_set()


@pytest.mark.parametrize("certain", [True, False])
def test_wrong_guess(made: _Made, certain: bool) -> None:
    """It is undone where no test asks for it, or none runs; nobody knows of it then."""
    made.clusters.begin({_KUBERNETES})
    (one,) = made.factories
    items = [_item("dind_client")] if certain else [_item(_KUBERNETES)]
    made.clusters.review(items, certain=certain)
    assert one.closed.wait(10)
    assert made.factories == []
    made.clusters.factory(made.settings)
    assert made.factories != [one]


def test_other_settings(made: _Made) -> None:
    """What was begun with other settings than the fixtures have is undone."""
    made.clusters.begin({_SWARM})
    (one,) = made.factories
    factory = made.clusters.factory(made.settings.replace(arg=["--debug"]))
    assert one.closed.wait(10)
    assert made.factories == [factory]


def test_nobody_asks(made: _Made) -> None:
    """What no test has asked for goes with the session's end."""
    made.clusters.begin({_SWARM})
    (one,) = made.factories
    made.clusters.close()
    assert one.closed.is_set()


@pytest.mark.parametrize(
    ("item", "begun"),
    [
        (_item(_KUBERNETES, "dind_factory"), [("kubernetes", 2)]),
        (_item(_KUBERNETES, mark="requires_isolation"), []),
        (_item("dind_factory"), []),
    ],
)
def test_without_a_guess(made: _Made, item: Any, begun: list[Any]) -> None:
    """It begins when the tests are collected, where one is certain to need it."""
    made.clusters.review([item], certain=True)
    assert [start for factory in made.factories for start in factory.begun] == begun


def test_own_fixture(made: _Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a project has a fixture of its own, what that asks for is not known."""
    monkeypatch.setattr(markers, "overrides", lambda item, *names: True)
    made.clusters.review([_item(_KUBERNETES)], certain=True)
    assert made.factories == []


def test_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker of xdist's begins none: another one may have the tests that ask."""
    made = _Made(monkeypatch, workerinput={})
    made.clusters.review([_item(_KUBERNETES)], certain=True)
    made.clusters.begin({_SWARM})
    assert made.factories == []


def test_own_factory(made: _Made) -> None:
    """A project's own dind_factory gives its own clusters."""
    own: Any = SimpleNamespace(swarm=lambda nodes: f"mine of {nodes}")
    assert made.clusters.given(own, _SWARM, 3) == "mine of 3"


class _Cache(dict[str, Any]):
    """pytest's cache."""

    def set(self, name: str, value: Any) -> None:
        """Remember something."""
        self[name] = value


def _config(*words: str, cache: Any) -> Any:
    stash = pytest.Stash()
    stash[SETTINGS] = Settings()
    option = SimpleNamespace(collectonly=False)
    return SimpleNamespace(
        option=option,
        stash=stash,
        cache=cache,
        getoption=lambda name, default: default,
        pluginmanager=SimpleNamespace(hasplugin=lambda name: False),
        invocation_params=SimpleNamespace(dir="/", args=words),
    )


def test_what_is_remembered() -> None:
    """A run expects what the last one with its command line needed, and nothing else."""
    cache = _Cache()
    ahead.note(_config("a", cache=cache), {_KUBERNETES, ahead.DAEMON})
    ahead.note(_config("b", cache=cache), {ahead.DAEMON})
    assert ahead.expected(_config("a", cache=cache)) == {_KUBERNETES, ahead.DAEMON}
    assert ahead.expected(_config("b", cache=cache)) == {ahead.DAEMON}
    assert ahead.expected(_config("c", cache=cache)) == frozenset()
    ahead.note(_config("a", cache=cache), set())
    assert ahead.expected(_config("a", cache=cache)) == frozenset()
    for n in range(40):
        ahead.note(_config(str(n), cache=cache), {ahead.DAEMON})
    assert len(cache[AHEAD]) == 32
    # As an earlier version has left it.
    cache[AHEAD] = ["0123"]
    assert ahead.expected(_config("a", cache=cache)) == frozenset()
