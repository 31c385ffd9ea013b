"""What a swarm is asked to be, and what can't be had."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_dind import SettingsError, SwarmFailed
from pytest_dind.engine import meminfo
from pytest_dind.runs import swarms


@pytest.mark.parametrize(
    ("nodes", "managers", "text"),
    [
        (0, 1, "swarm: nodes=0 is not a valid value"),
        (True, 1, "swarm: nodes=True is not a valid value"),
        ("3", 1, "swarm: nodes='3' is not a valid value"),
        (101, 1, "It is from 1 to 100"),
        (3, 0, "swarm: managers=0 is not a valid value"),
        (3, 4, "4 managers are asked for, and 3 nodes"),
    ],
)
def test_numbers(nodes: Any, managers: Any, text: str) -> None:
    """There is one node at the least, one manager at the least, and no more than nodes."""
    with pytest.raises(SettingsError) as caught:
        swarms.demand(nodes, managers, {})
    assert text in str(caught.value)


def test_texts() -> None:
    """An image that is none is told at the call."""
    with pytest.raises(SettingsError, match="swarm: image=3 is not a valid value"):
        swarms.demand(3, 1, {"image": 3})


def test_mode_socket() -> None:
    """The outer engine is one, and none is started."""
    with pytest.raises(SettingsError, match="A swarm can't be had in mode socket") as caught:
        swarms.demand_room(SimpleNamespace(unshared=""), 3, "socket")  # type: ignore[arg-type]
    assert "requires_isolation" in str(caught.value)


def _engine(unshared: str = "", **info: int) -> Any:
    return SimpleNamespace(unshared=unshared, info=lambda: info)


@pytest.fixture
def available(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file in which this machine tells of its memory."""
    monkeypatch.setattr(meminfo, "PATH", tmp_path / "meminfo")
    return meminfo.PATH


def test_memory_of_this_machine(available: Path) -> None:
    """Too little memory is said before anything is started."""
    available.write_text(f"MemAvailable: {240 << 10} kB\n")
    swarms.demand_room(_engine(), 3, "dind")
    available.write_text(f"MemAvailable: {(240 << 10) - 1} kB\n")
    with pytest.raises(SwarmFailed) as caught:
        swarms.demand_room(_engine(), 3, "dind")
    assert caught.value.what == "A swarm of 3 nodes takes more memory than there is."
    assert "240 MB in all; available on this machine: 239 MB" in caught.value.evidence
    assert "--dind-nodes=2" in caught.value.remedy[0]


def test_memory_elsewhere(available: Path) -> None:
    """Of another machine it is known how much there is in all; where not, it is tried."""
    available.write_text("MemAvailable: 1 kB\n")
    swarms.demand_room(_engine("it is elsewhere", MemTotal=240 << 20), 3, "dind")
    swarms.demand_room(_engine("it is elsewhere"), 3, "dind")
    with pytest.raises(SwarmFailed, match="on the engine's machine there are in all: 200 MB"):
        swarms.demand_room(_engine("it is elsewhere", MemTotal=200 << 20), 3, "dind")


def test_memory_that_is_not_told(available: Path) -> None:
    """A machine that does not tell holds up nothing."""
    available.write_text("")
    swarms.demand_room(_engine(), 3, "dind")
