"""The skip of tests for which no daemon can be had, with `--dind-unavailable=skip`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from ..errors import DindError, SettingsError
from ..settings import Settings


class Unavailable(pytest.skip.Exception):  # type: ignore[misc, name-defined]
    """The skip of a test for which no daemon can be had, with `--dind-unavailable=skip`.

    Args:
        reason: Why no daemon can be had.
        require: The requirements of `--dind-require`: a test that has one of their markers fails.
    """

    def __init__(self, reason: str, require: Sequence[str]) -> None:
        super().__init__(reason)
        self.require = require


@contextmanager
def unavailable(settings: Settings) -> Iterator[None]:
    """Skip the test when no daemon can be had in this context, if `--dind-unavailable` is skip.

    Raises:
        SettingsError: the settings are none: an override of `dind_config` gives something else.
    """
    if not isinstance(settings, Settings):
        raise SettingsError(
            f"The fixture dind_config gives {settings!r} instead of settings.",
            evidence=f"Its type is {type(settings).__name__}.",
            remedy=["Have its override return dind_config.replace(...), or dind_config."],
        )
    try:
        yield
    except SettingsError:
        raise
    except DindError as error:
        if settings.unavailable == "skip":
            raise Unavailable(error.line(), settings.require) from error
        raise
