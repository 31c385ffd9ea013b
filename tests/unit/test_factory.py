"""The end of a factory."""

from __future__ import annotations

import contextlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pytest_dind import Settings
from pytest_dind.factory import Factory


def test_daemon_that_cannot_be_removed(tmp_path: Path) -> None:
    """A daemon that can't be removed keeps the factory's run from nothing but saying so."""
    ended: list[str] = []

    def fail() -> None:
        raise ConnectionError("the engine is gone")

    run: Any = SimpleNamespace(
        path=tmp_path,
        others=[SimpleNamespace(stop=fail)],
        close=lambda: ended.append("the run"),
    )
    factory = Factory(cast(Any, run), Settings(), lambda settings: contextlib.nullcontext())
    with pytest.raises(ConnectionError):
        factory.close()
    assert ended == ["the run"]
