"""Fixtures of all tests, and how they run beside one another."""

from __future__ import annotations

import fcntl
import os
import signal
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from .support import remove_tree

_TESTS = Path(__file__).parent


class _Turns:
    """Lets a test that is marked `alone` run while no other test of this checkout does.

    That goes for all processes, xdist's workers and other runs: what they lock are directories,
    which are there already, and the kernel ends the locks of a process that is killed.
    """

    def __init__(self) -> None:
        # All pass the door, one by one, so that who waits for the others' end lets no more in.
        self._door = os.open(_TESTS, os.O_RDONLY)
        self._room = os.open(_TESTS / "unit", os.O_RDONLY)
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
        """Give way, unless this process goes on alone: the others' tests have to end for that."""
        if self._alone and next_alone:
            return
        self._alone = False
        fcntl.flock(self._room, fcntl.LOCK_UN)
        fcntl.flock(self._door, fcntl.LOCK_UN)


_turns = _Turns()


def _is_alone(item: pytest.Item | None) -> bool:
    return item is not None and item.get_closest_marker("alone") is not None


# First, since what a test has waited for others does not count for its time-out.
@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(
    item: pytest.Item, nextitem: pytest.Item | None
) -> Generator[None, object, object]:
    """Run the tests that are marked `alone` one at a time, with no other beside them."""
    _turns.begin(alone=_is_alone(item))
    try:
        return (yield)
    finally:
        _turns.end(next_alone=_is_alone(nextitem))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give the tests that run alone to one worker, so that the others wait for them once."""
    for item in items:
        if _is_alone(item):
            item.add_marker(pytest.mark.xdist_group("alone"))


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
