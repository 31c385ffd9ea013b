"""Fixtures of all tests."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A directory whose path is short enough for a unix socket; `tmp_path` often is not."""
    path = Path(tempfile.mkdtemp(prefix="dt", dir="/tmp"))
    yield path
    shutil.rmtree(path)
