"""What a snapshot that is prepared once is asked for with."""

from __future__ import annotations

import functools
from typing import Any

import pytest

from pytest_dind import SettingsError
from pytest_dind.runs import preparing


def _prepare(daemon: object) -> None:
    """Stand for what a suite prepares."""


@pytest.mark.parametrize(
    ("key", "text"), [(None, None), ("", '""'), ({"b": 1, "a": 2}, '{"a": 2, "b": 1}')]
)
def test_key(key: object, text: str | None) -> None:
    """A key is what JSON has, in whatever order; without one the snapshot is for one run."""
    assert preparing.wanted("db", _prepare, key).key == text


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("No", _prepare, None), "is not a valid name of a snapshot"),
        (("db", "prepare", None), "prepare='prepare' is not a valid value"),
        (("db", _prepare, {1, 2}), "key={1, 2} is not a valid value"),
    ],
)
def test_bad_arguments(arguments: Any, what: str) -> None:
    """What it can't be asked for with is an error that says so."""
    with pytest.raises(SettingsError) as raised:
        preparing.wanted(*arguments)
    assert what in raised.value.what


def test_source() -> None:
    """Its source is part of the key; what has none can't be told from what it was before."""
    assert "Stand for what a suite prepares" in preparing.source_of(_prepare)
    with pytest.raises(SettingsError, match="can't be had"):
        preparing.source_of(functools.partial(_prepare))
