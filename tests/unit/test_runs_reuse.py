"""Daemons that are reused together: all of them are taken up, or none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_dind import Settings
from pytest_dind.daemon.handle import Daemon
from pytest_dind.lifetime.layout import Home
from pytest_dind.runs.reuse import Alone, InUse, Reuse

_NOTHING: Any = None
_GONE = "node2 is gone or unhealthy"


class _Looks(Reuse):
    """Finds what it is told to, and notes the lines on it."""

    def __init__(self, *looks: str) -> None:
        self.lines: list[str] = []
        context: Any = SimpleNamespace(progress=self.lines.append)
        super().__init__(context, context, context)
        self.looks = [*looks]

    def _look(self, home: Home, settings: Settings, supply: Any) -> Daemon | str:
        look = self.looks.pop(0)
        record: Any = SimpleNamespace(home=home)
        return Daemon(record, _NOTHING) if look == "there" else look


class _No(Alone):
    """What is in the daemons is no good."""

    def resume(self, daemons: Sequence[Daemon], *, alone: bool) -> str:
        return "its leader is gone"


def _resumed(reuse: _Looks, *, used: bool, contents: Alone | None = None) -> list[str]:
    homes = [Home(Path("/h/reuse-mine-0123abcd") / f"node{n + 1}") for n in range(len(reuse.looks))]
    found = reuse._resumed(homes, Settings(), _NOTHING, contents or Alone(), used=used)
    return [one.name for one in found]


def test_all_there() -> None:
    """They are given in the order of their names, without a word."""
    reuse = _Looks("there", "there")
    assert _resumed(reuse, used=True) == ["node1", "node2"]
    assert not reuse.lines


def test_none_there() -> None:
    """Where there never were any, none is missed."""
    reuse = _Looks("", "")
    assert _resumed(reuse, used=False) == []
    assert not reuse.lines


@pytest.mark.parametrize(
    ("looks", "why"), [(("there", _GONE), _GONE), (("there", ""), "its start was cut short")]
)
def test_one_is_gone(looks: tuple[str, ...], why: str) -> None:
    """The others are not taken up without it; they are left to others who use them."""
    reuse = _Looks(*looks)
    assert _resumed(reuse, used=False) == []
    assert reuse.lines == [f"reuse: reuse-mine-0123abcd can't be used: {why}"]
    with pytest.raises(InUse):
        _resumed(_Looks(*looks), used=True)


def test_all_are_gone() -> None:
    """What nobody can use is made anew, whoever has it; it is told once."""
    reuse = _Looks("node1 is gone or unhealthy", _GONE)
    assert _resumed(reuse, used=True) == []
    assert reuse.lines == ["reuse: reuse-mine-0123abcd can't be used: node1 is gone or unhealthy"]


def test_contents_are_no_good() -> None:
    """Daemons in good health are not taken up if what is in them is no good."""
    reuse = _Looks("there")
    assert _resumed(reuse, used=False, contents=_No()) == []
    assert reuse.lines == ["reuse: reuse-mine-0123abcd can't be used: its leader is gone"]
    with pytest.raises(InUse):
        _resumed(_Looks("there"), used=True, contents=_No())
