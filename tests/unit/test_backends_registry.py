"""The backends: one method set, found by their mode's name."""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import Any
from unittest.mock import Mock

import pytest

from pytest_dind.backends.protocol import Backend
from pytest_dind.backends.registry import AUTO_ORDER, backend, choose, isolates
from pytest_dind.settings import AUTO, MODES

_METHODS = {name for name in vars(Backend) if not name.startswith("_")}


@pytest.mark.parametrize("mode", MODES)
def test_one_method_set(mode: str) -> None:
    """Every mode's backend has the protocol's methods, with its signatures, and no others."""
    made: Any = backend(mode, Mock())
    public = {name for name in dir(made) if not name.startswith("_")}

    assert public == _METHODS
    for name in _METHODS:
        ours = inspect.signature(getattr(type(made), name))
        assert list(ours.parameters) == list(inspect.signature(getattr(Backend, name)).parameters)


def test_auto_gives_no_isolation_away() -> None:
    """`auto` tries each mode that isolates, and no other."""
    assert set(AUTO_ORDER) == {mode for mode in MODES if isolates(mode)}
    assert not isolates("socket")


@pytest.mark.parametrize("mode", MODES)
def test_names_of_modes(mode: str) -> None:
    """A mode's module names its mode as the settings do."""
    module = import_module(f"pytest_dind.backends.{mode}")

    assert (module._MODE if mode == "socket" else module.make(Mock())._mode.name) == mode


def test_auto_picks_a_mode() -> None:
    """`auto` picks a mode, and says why; an engine without Sysbox gets mode dind."""
    engine = Mock()
    engine.client.info.return_value = {"Runtimes": {"runc": {}}}
    choice = choose(AUTO, engine, Mock())

    assert (choice.mode, choice.obstacle) == ("dind", None)
    assert "sysbox-runc" in choice.because


def test_mode_that_is_asked_for() -> None:
    """A mode that is asked for is that mode; nothing else is tried."""
    engine = Mock()
    choice = choose("dind", engine, Mock())

    assert (choice.mode, choice.because, choice.obstacle) == ("dind", "", None)
    assert not engine.mock_calls
