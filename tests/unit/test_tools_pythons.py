"""Pythons for the tests: used where they are, else out of Debian's packages."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

import _console
import _debs
import pythons

NAME = "python9.9"


def _script(path: Path, status: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\nexit {status}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, str]:
    """The programs that this machine has."""
    programs = {"apt-get": "/usr/bin/apt-get", "dpkg-deb": "/usr/bin/dpkg-deb"}
    monkeypatch.setattr(pythons, "program", programs.get)
    return programs


@pytest.fixture
def suites(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was asked of two suites, the second of which has the Python."""
    asked: list[str] = []

    def sources(_scratch: Path) -> Iterator[tuple[str, list[str]]]:
        yield "Debian new", ["new"]
        yield "Debian old", ["old"]

    def fetch(name: str, suite: str, options: Sequence[str], _scratch: Path, target: Path) -> bool:
        asked.append(suite)
        if options == ["old"] and name == NAME:
            _script(target / "usr" / "bin" / name)
            return True
        return False

    monkeypatch.setattr(_debs, "sources", sources)
    monkeypatch.setattr(pythons, "fetch", fetch)
    return asked


def test_a_python_that_works_is_used(
    machine: dict[str, str], suites: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is fetched where the machine has it."""
    machine[NAME] = str(_script(tmp_path / NAME))
    pythons.ensure(NAME, tmp_path / "ours")
    assert suites == []
    assert capsys.readouterr().out == f"{NAME}: there\n"


@pytest.mark.parametrize("broken", [True, False])
def test_a_python_that_is_missing_or_broken_is_fetched_once(
    machine: dict[str, str], suites: list[str], tmp_path: Path, broken: bool
) -> None:
    """The newest suite that has it gives it; afterwards it is there."""
    if broken:
        machine[NAME] = str(_script(tmp_path / NAME, status=1))
    pythons.ensure(NAME, tmp_path / "ours")
    assert suites == ["Debian new", "Debian old"]
    assert pythons.works(str(tmp_path / "ours" / "bin" / NAME))
    pythons.ensure(NAME, tmp_path / "ours")
    assert suites == ["Debian new", "Debian old"]


def test_a_python_that_no_suite_has_is_passed_over(
    machine: dict[str, str], suites: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is no error, and is said."""
    pythons.ensure("python9.8", tmp_path)
    assert suites == ["Debian new", "Debian old"]
    assert capsys.readouterr().out.startswith("python9.8: in no suite of Debian's: ")


def test_a_python_is_passed_over_on_other_systems(
    machine: dict[str, str], suites: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A machine without apt-get runs the tests with the Pythons that it has."""
    machine.clear()
    pythons.ensure(NAME, tmp_path)
    assert suites == []
    assert capsys.readouterr().out.startswith(f"{NAME}: not here, and this is no Debian: ")


def test_a_python_that_does_not_run_here_is_an_error(
    monkeypatch: pytest.MonkeyPatch, machine: dict[str, str], suites: list[str], tmp_path: Path
) -> None:
    """What Debian has must work once it is in its place."""
    monkeypatch.setattr(pythons, "works", lambda _python: False)
    with pytest.raises(_console.Problem) as raised:
        pythons.ensure(NAME, tmp_path)
    link = tmp_path / "bin" / NAME
    assert str(raised.value) == (
        f"{NAME} can't be used\n  seen: `{link}` does not run Python\n  to fix: {pythons.REMEDY}"
    )
