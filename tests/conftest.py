"""Fixtures of all tests, and how they run beside one another."""

from __future__ import annotations

import fcntl
import functools
import os
import re
import signal
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

from .support import remove_tree


class _Turns:
    """Lets a test that is marked `alone` run while no other of xdist's workers runs one.

    The kernel ends the locks of a worker that crashes.

    Args:
        place: A directory that the workers of this run have in common.
    """

    def __init__(self, place: Path) -> None:
        flags = os.O_RDWR | os.O_CREAT
        # All pass the door, one by one, so that who waits for the others' end lets no more in.
        self._door, self._room = (os.open(place / name, flags) for name in ("door", "room"))
        self._alone = False

    def begin(self, *, alone: bool) -> None:
        """Wait for this test's turn."""
        if self._alone and alone:
            return
        fcntl.flock(self._door, fcntl.LOCK_EX)
        fcntl.flock(self._room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        if not alone:
            fcntl.flock(self._door, fcntl.LOCK_UN)
        self._alone = alone

    def end(self, *, next_alone: bool) -> None:
        """Give way, unless this worker goes on alone: the others' tests have to end for that."""
        if self._alone and next_alone:
            return
        self._alone = False
        fcntl.flock(self._room, fcntl.LOCK_UN)
        fcntl.flock(self._door, fcntl.LOCK_UN)


_TURNS = pytest.StashKey[_Turns]()


def pytest_configure(config: pytest.Config) -> None:
    """In a worker of xdist's, take part in the turns."""
    if hasattr(config, "workerinput"):
        # xdist has given each worker a directory below that of the run.
        config.stash[_TURNS] = _Turns(Path(config.getoption("basetemp")).parent)


def _is_alone(item: pytest.Item | None) -> bool:
    return item is not None and item.get_closest_marker("alone") is not None


# First, since what a test has waited for others does not count for its time-out.
@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(
    item: pytest.Item, nextitem: pytest.Item | None
) -> Generator[None, object, object]:
    """Run the tests that are marked `alone` one at a time, with no other beside them."""
    turns = item.config.stash.get(_TURNS, None)
    if turns is None:
        return (yield)
    turns.begin(alone=_is_alone(item))
    try:
        return (yield)
    finally:
        turns.end(next_alone=_is_alone(nextitem))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with those that no worker is to wait for in the end, and those that all wait for."""

    def rank(item: pytest.Item) -> int:
        return 0 if item.get_closest_marker("long") else 1 if _is_alone(item) else 2

    items.sort(key=rank)


class _Scheduler(LoadScopeScheduling):  # type: ignore[misc]
    """What `--dist loadgroup` is meant to be: a worker has all tests of a group.

    xdist itself loses the groups with pytest 9.2 (pytest-dev/pytest-xdist#1386). Here it is whole
    files that have the mark.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return _group(self.config.rootpath / file) or nodeid


@functools.cache
def _group(file: Path) -> str:
    found = re.search(r'pytest\.mark\.xdist_group\("(\w+)"\)', file.read_text())
    return found[1] if found else ""


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> _Scheduler | None:
    """Keep groups together."""
    return _Scheduler(config, log) if config.getoption("dist") == "loadgroup" else None


@pytest.fixture(scope="session", autouse=True)
def ctrl_c() -> None:
    """Ctrl-C for what tests start: the background jobs of a shell ignore it, and hand that on."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def of_no_worker() -> None:
    """Keep from the runs that tests start that this one may be a worker of xdist's."""
    for name in [name for name in os.environ if name.startswith("PYTEST_XDIST_")]:
        del os.environ[name]


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A directory whose path is short enough for a unix socket; `tmp_path` often is not."""
    path = Path(tempfile.mkdtemp(prefix="dt", dir="/tmp"))
    yield path
    remove_tree(path)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show why the tests that ran once more had failed, which pytest-rerunfailures keeps silent."""
    for report in terminalreporter.getreports("rerun"):
        terminalreporter.section(f"first failure of {report.nodeid}")
        terminalreporter.write_line(report.longreprtext)
