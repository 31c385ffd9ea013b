"""Fixtures of all tests."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .support import remove_tree


@pytest.fixture(scope="session", autouse=True)
def ctrl_c() -> None:
    """Ctrl-C for what tests start: the background jobs of a shell ignore it, and hand that on."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A directory whose path is short enough for a unix socket; `tmp_path` often is not."""
    path = Path(tempfile.mkdtemp(prefix="dt", dir="/tmp"))
    yield path
    remove_tree(path)
