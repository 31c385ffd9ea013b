"""The list of what is public."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import pytest_dind
from pytest_dind import options

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))
import public


def test_nothing_has_changed() -> None:
    """What is public is what docs/public.txt says: a change to it is made there too, on purpose."""
    told = "\n".join(public.changes())
    assert not told, f"`python tools/public.py` writes docs/public.txt anew:\n{told}"


def test_what_goes_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name, a marker, an argument that goes is told of, each by the line that breaks."""
    names = [name for name in pytest_dind.__all__ if name != "StartTimeout"]
    monkeypatch.setattr(pytest_dind, "__all__", names)
    # Not by taking it out of this one: back there, it would be the last.
    markers = {name: text for name, text in options.MARKERS.items() if name != "requires_sysbox"}
    monkeypatch.setattr(options, "MARKERS", markers)
    monkeypatch.setattr(pytest_dind.Daemon, "logs", lambda self: "")
    told = public.changes()
    assert "- pytest_dind.StartTimeout(DindError)" in told
    assert "- marker requires_sysbox" in told
    assert "- pytest_dind.Daemon.logs(self, tail: int | None = None) -> str" in told
    assert public.main(["--check"]) == 1


def test_written_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The list that is written is the one that is compared with."""
    monkeypatch.setattr(public, "LIST", tmp_path / "public.txt")
    assert public.main([]) == 0
    assert public.main(["--check"]) == 0
