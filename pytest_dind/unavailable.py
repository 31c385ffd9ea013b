"""What becomes of a test when no daemon can be had."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from .errors import DindError, SettingsError

if TYPE_CHECKING:
    from .settings import Settings


class Unavailable(pytest.skip.Exception):  # type: ignore[misc, name-defined]
    """A test is skipped, since no daemon can be had; not if it has a marker that is required."""

    def __init__(self, reason: str, require: Sequence[str]) -> None:
        super().__init__(reason)
        self.require = require


@contextmanager
def unavailable(chosen: Settings) -> Iterator[None]:
    """Skip instead of failing where no daemon can be had, if that is asked for."""
    try:
        yield
    except SettingsError:
        raise
    except DindError as error:
        if chosen.unavailable == "skip":
            raise Unavailable(error.line(), chosen.require) from error
        raise
