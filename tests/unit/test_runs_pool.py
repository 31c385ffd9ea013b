"""The pool of spare daemons: how many there are, who gets them, and that none stays."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_dind import DindError, Settings
from pytest_dind.lifetime import directories, layout
from pytest_dind.runs import pool as pool_module
from pytest_dind.runs.ending import Patience
from pytest_dind.runs.pool import Pool

from ..support import until


class Run:
    """A run whose daemons are none; each start waits for the gate."""

    def __init__(self, path: Path) -> None:
        self.shared = self.path = path
        self.patience = Patience()
        self.gate = threading.Event()
        self.gate.set()
        self.fails = False
        self.started: list[str] = []
        self.ended: list[str] = []
        self.at_once = self.most_at_once = 0
        self.daemons: list[Any] = []
        self.told: list[str] = []
        self.is_closed = False
        self._lock = threading.Lock()

    def start(self, name: str, settings: Settings, *given: object) -> Any:
        """Start one, or fail."""
        with self._lock:
            self.started.append(name)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        assert self.gate.wait(30)
        with self._lock:
            self.at_once -= 1
        if self.fails:
            raise DindError("It does not start.", remedy=["None."])
        home = layout.Home(self.path / name)
        home.path.mkdir()
        daemon = SimpleNamespace(
            name=name, settings=settings, record=SimpleNamespace(home=home), _backend=None
        )
        self.daemons.append(daemon)
        return daemon

    def end(self, daemon: Any) -> None:
        """End one."""
        self.daemons.remove(daemon)
        self.ended.append(daemon.name)

    def engine(self, settings: Settings) -> Any:
        """An engine that has no proxies."""
        return SimpleNamespace(info=dict)

    def finish(self, start: Any, name: str) -> None:
        """Wait for a start, which nothing holds up any more."""
        self.gate.set()
        assert start.wait(30)

    def progress(self, text: str) -> None:
        """Note a line."""
        self.told.append(text)

    def close(self) -> None:
        """End all."""
        self.is_closed = True
        self.daemons.clear()


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """The pool's run."""
    monkeypatch.setattr(pool_module, "lost", lambda record, backend: None)
    run = Run(tmp_path)
    yield run
    run.gate.set()


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def _pool(run: Any, spares: int = 1, **how: Any) -> Pool:
    return Pool(run, Settings(spares=spares), **how)


def _are_ready(run: Run, count: int) -> None:
    until(lambda: len(list(run.path.glob(f"*/{layout.SPARE}"))) == count, 10, "they are ready")


def test_take_and_end(run: Run) -> None:
    """Each test gets another daemon, which ends in the background after it."""
    pool = _pool(run)
    pool.fill(2)
    _are_ready(run, 1)
    one = pool.take()
    assert not (one.record.home.path / layout.SPARE).exists()
    pool.fill(1)
    two = pool.take()
    first: list[str] = []
    for daemon in (one, two):
        pool.end(daemon, lambda: first.append("recorder"))
    pool.close()

    assert run.started == [one.name, two.name] == ["fresh-1", "fresh-2"]
    assert sorted(run.ended) == ["fresh-1", "fresh-2"]
    assert first == ["recorder"] * 2
    assert run.is_closed


def test_settings_of_a_shared_daemon(run: Run) -> None:
    """What only one daemon can have, or what would have it stay, the pool's have not."""
    settings = Settings(publish=["80"], reuse="mine", keep="always", arg=["--debug"])
    daemon: Any = Pool(run, settings).take()  # type: ignore[arg-type]

    assert daemon.settings == settings.replace(publish=[], reuse="", keep="never")


@pytest.mark.parametrize(
    ("spares", "needed", "started"), [(1, 5, 1), (3, 2, 2), (3, 5, 3), (0, 5, 0), (2, 0, 0)]
)
def test_no_more_than_needed(run: Run, spares: int, needed: int, started: int) -> None:
    """There are as many spares as the option says, and never more than the run still needs."""
    pool = _pool(run, spares)
    pool.fill(needed)
    _are_ready(run, started)
    pool.close()

    assert len(run.started) == started


def test_fewer_are_needed(run: Run) -> None:
    """A spare that nobody is going to ask for any more ends, while the run goes on."""
    pool = _pool(run, 2)
    pool.fill(2)
    _are_ready(run, 2)
    pool.fill(1)
    until(lambda: len(run.ended) == 1, 10, "one has ended")
    assert pool.spares == 1
    pool.fill(0)
    until(lambda: len(run.ended) == 2, 10, "both have ended")
    pool.close()


def test_empty_pool(run: Run) -> None:
    """Where nothing is started ahead, a test's daemon starts as it asks."""
    pool = _pool(run, 0)
    pool.fill(3)
    assert not run.started
    pool.take()
    assert run.started == ["fresh-1"]
    pool.close()


def test_starts_at_once(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not more start at once than there are processors, of two pools together either."""
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    run.gate.clear()
    pools = [_pool(run, 3), _pool(run, 3)]
    pools[1]._numbers = iter(range(4, 9))  # type: ignore[assignment]
    for pool in pools:
        pool.fill(3)
    until(lambda: run.at_once == 2, 10, "two start")
    run.gate.set()
    _are_ready(run, 6)
    for pool in pools:
        pool.close()

    assert run.most_at_once == 2


def test_test_waits_for_no_slot(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start that waits for others begins at once when a test asks for it."""
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    busy = threading.Event()
    busy.set()
    pool = _pool(run, is_busy=busy.is_set)
    with_slot = directories.slot(run.path, "spare", 1)
    assert with_slot is not None
    pool.fill(1)
    assert pool.spares == 1
    assert not run.started

    assert pool.take().name == "fresh-1"
    with_slot.release()
    pool.close()


def test_failed_start(run: Run) -> None:
    """The test that asks has the error of the start; the next one has a start of its own."""
    run.fails = True
    pool = _pool(run)
    pool.fill(1)
    with pytest.raises(DindError, match="It does not start"):
        pool.take()
    run.fails = False
    assert pool.take().name == "fresh-2"
    pool.close()


def test_spare_that_is_gone(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A spare that was killed as it waited is not handed out."""
    gone = ["fresh-1"]

    def lost(record: Any, backend: object) -> DindError | None:
        return DindError("Gone.", remedy=["None."]) if record.home.name in gone else None

    monkeypatch.setattr(pool_module, "lost", lost)
    pool = _pool(run)
    pool.fill(1)
    assert pool.take().name == "fresh-2"
    pool.close()
    assert run.ended == ["fresh-1"]


def test_short_of_memory(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without memory the pool shrinks, and says so once; a test has its daemon all the same."""
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    short = threading.Event()
    short.set()
    looks: list[Any] = []

    def is_short(daemon: Any) -> bool:
        looks.append(daemon)
        return short.is_set()

    pool = _pool(run, 3, is_short_of_memory=is_short)
    # The first takes no more than its test would.
    one = pool.take()
    for _ in range(2):
        pool.fill(3)
        until(lambda: pool.spares == 0 and not pool._starting, 10, "none is started")
    assert len(looks) == 2
    pool.take()
    assert len(run.started) == 2
    assert run.told == [
        "the machine is short of memory: as long as it is, no more daemons are started ahead, "
        "though --dind-spares is 3"
    ]
    short.clear()
    pool.fill(1)
    _are_ready(run, 1)
    pool.end(one)
    pool.close()


def test_close_while_it_starts(run: Run) -> None:
    """The end of the pool ends a start that is under way, and begins none any more."""
    run.gate.clear()
    pool = _pool(run, 2)
    pool.fill(2)
    until(lambda: run.started, 10, "one starts")
    pool.close()
    pool.fill(2)

    assert pool.spares == 0
    assert run.at_once == 0
    assert run.is_closed


def test_forked_child(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A forked child, which has none of the threads, starts and ends nothing."""
    pool = _pool(run)
    with monkeypatch.context() as child:
        child.setattr(os, "getpid", lambda: -1)
        pool.fill(1)
        pool.close()
    assert not run.started
    assert not run.is_closed
    pool.close()


def test_lend(run: Run) -> None:
    """A spare is lent to who wants its settings; tests have as many spares as before."""
    pool = _pool(run)
    pool.fill(1)
    _are_ready(run, 1)
    loan = pool.lend(pool.settings)
    assert loan is not None
    daemon, end = loan
    assert daemon.name == "fresh-1"
    assert not (daemon.record.home.path / layout.SPARE).exists()
    _are_ready(run, 1)
    assert pool.take().name == "fresh-2"
    end()
    assert run.ended == ["fresh-1"]
    assert not run.is_closed
    pool.close()
    assert run.is_closed


def test_nothing_to_lend(run: Run) -> None:
    """Nothing is lent where there is no spare, nor where spares have other settings."""
    pool = _pool(run)
    assert pool.lend(pool.settings) is None
    pool.fill(1)
    _are_ready(run, 1)
    assert pool.lend(pool.settings.replace(arg=["--debug"])) is None
    assert pool.spares == 1
    pool.close()
    assert pool.lend(pool.settings) is None
    assert run.started == ["fresh-1"]


def test_no_loan_behind_a_proxy(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is reached without a proxy goes by names that a spare does not know: none is lent."""
    pool = _pool(run)
    pool.fill(1)
    _are_ready(run, 1)
    with monkeypatch.context() as behind:
        behind.setenv("https_proxy", "http://proxy:3128")
        assert pool.lend(pool.settings) is None
    assert pool.lend(pool.settings) is not None
    pool.close()


def test_loan_outlives_the_pool(run: Run) -> None:
    """The pool's end leaves what is lent, and the run with it; the end of the last loan ends it."""
    pool = _pool(run)
    loans = []
    for _ in range(2):
        pool.fill(1)
        loans.append(pool.lend(pool.settings))
    (one, end_one), (two, end_two) = filter(None, loans)
    _are_ready(run, 1)
    pool.close()
    assert run.ended == ["fresh-3"]
    assert not run.is_closed
    end_one()
    assert not run.is_closed
    assert run.ended == ["fresh-3", one.name]
    end_two()
    assert run.is_closed
    assert run.ended[-1] == two.name


def test_loan_that_fails(run: Run) -> None:
    """A spare whose start fails is the error of who asks, and no loan that the end waits for."""
    run.fails = True
    pool = _pool(run)
    pool.fill(1)
    with pytest.raises(DindError, match="It does not start"):
        pool.lend(pool.settings)
    pool.close()
    assert run.is_closed
