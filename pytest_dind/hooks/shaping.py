"""The hook pytest_dind_create_container, as the backends call it."""

from __future__ import annotations

import traceback
from functools import partial
from types import FunctionType
from typing import Any

import pytest

from ..backends.protocol import Shaper
from ..backends.shaping import HOOK
from ..errors import SettingsError


def shaper(config: pytest.Config) -> Shaper:
    """Return the hook of a run's plugins and conftest.py files."""
    return Shaper(partial(_authors, config), partial(_call, config))


def _implementations(config: pytest.Config) -> list[Any]:
    return list(getattr(config.hook, HOOK).get_hookimpls())


def _authors(config: pytest.Config) -> list[str]:
    """Return the names of those who implement it; a conftest.py has its path as name."""
    return [impl.plugin_name for impl in _implementations(config)]


def _call(config: pytest.Config, daemon: str, mode: str, create: dict[str, Any]) -> None:
    """Call it.

    Raises:
        SettingsError: it fails.
    """
    try:
        getattr(config.hook, HOOK)(config=config, daemon=daemon, mode=mode, create=create)
    except Exception as error:
        raise SettingsError(
            f"The hook {HOOK} of {_author(config, error)} fails for the daemon {daemon!r} "
            f"(mode {mode}).",
            evidence="".join(traceback.format_exception_only(error)) + _place(error),
            remedy=["Mend the hook.", "Leave the hook out."],
        ) from error


def _author(config: pytest.Config, error: Exception) -> str:
    """Return whose hook an error comes from, as far as its traceback tells."""
    codes = {frame.f_code for frame, _ in traceback.walk_tb(error.__traceback__)}
    implementations = _implementations(config)
    names = [
        impl.plugin_name
        for impl in implementations
        if isinstance(function := getattr(impl.function, "__func__", impl.function), FunctionType)
        and function.__code__ in codes
    ]
    return ", ".join(names or [impl.plugin_name for impl in implementations])


def _place(error: Exception) -> str:
    """Return where an error was raised."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{last.filename}:{last.lineno}: {last.line}"
