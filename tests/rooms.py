"""Where tests on the real engine work: the engine, a room of each test's own, and its traces.

A conftest.py that has these fixtures gives them names; what runs in a room is the directory's own.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_dind.engine.engine import Engine

from .integration.traces import Traces
from .support import remove_tree


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """The outer engine. Without one, the tests that need it fail."""
    with contextlib.closing(Engine()) as engine:
        yield engine


@pytest.fixture
def room() -> Iterator[Path]:
    """A directory that other users may enter, with a path short enough for sockets."""
    path = Path(tempfile.mkdtemp(prefix="di", dir="/tmp"))
    path.chmod(0o755)
    yield path
    remove_tree(path)


@pytest.fixture
def traces(engine: Engine, room: Path) -> Iterator[Traces]:
    """What the test leaves; in the end that is nothing."""
    traces = Traces(engine.client, room)
    yield traces
    traces.assert_nothing_left()
