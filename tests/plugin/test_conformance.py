"""What becomes of the conformance suite's tests, and the tables that are made of it."""

from __future__ import annotations

import json

import pytest

from pytest_dind.conformance import examination, outcomes, table
from pytest_dind.conformance.examination import Examined, Outcome

_SUITE = '''
import pytest
from pytest_dind.errors import DindError

@pytest.fixture
def broken():
    raise RuntimeError("nothing to be had\\nmore of it")

def test_passes():
    """This works.

    A long story."""

def test_fails():
    """This does not."""
    raise ValueError("the cause")

def test_no_set_up(broken):
    """This can't be tried."""

def test_skipped():
    """This means nothing."""
    pytest.skip("of no meaning")

def test_no_engine():
    """This has no engine."""
    raise DindError("No engine.", evidence="it is gone\\nsince long", remedy=["Start it."])
'''


def test_outcomes(pytester: pytest.Pytester) -> None:
    """Each test's first line, outcome and cause, in a line, are written to a file."""
    pytester.makepyfile(_SUITE)
    pytester.runpytest("-p", outcomes.__name__, f"--rootdir={pytester.path}", "-p", "no:randomly")
    assert json.loads((pytester.path / outcomes.FILE).read_text()) == [
        {"says": "This works", "outcome": "passed"},
        {"says": "This does not", "outcome": "failed", "cause": "the cause"},
        {"says": "This can't be tried", "outcome": "failed", "cause": "nothing to be had"},
        {"says": "This means nothing", "outcome": "skipped", "cause": "of no meaning"},
        {"says": "This has no engine", "outcome": "failed", "cause": "No engine. it is gone"},
    ]


_FOUND = (
    Examined("Docker 1", "dind", (Outcome("A runs", "passed"), Outcome("B runs", "passed"))),
    Examined(
        "Docker 1", "socket", (Outcome("A runs", "skipped"), Outcome("B runs", "failed", "a|b"))
    ),
)


def test_text() -> None:
    """A terminal gets a line for each test, a column for each mode, and the causes."""
    assert list(table.text(_FOUND)) == [
        "Docker 1",
        "          dind  socket",
        "A runs     yes       -",
        "B runs     yes      NO",
        "mode socket: B runs: a|b",
    ]


def test_markdown() -> None:
    """The documentation gets a row for each engine and mode; a cause of several is told once."""
    outcomes_of = {"A": "x", "B": "y", "C": "x"}
    some = tuple(Outcome(f"{name} runs", "failed", why) for name, why in outcomes_of.items())
    partly = Examined("Docker 3", "dind", (Outcome("D runs", "passed"), *some))
    all_failed = tuple(Outcome(f"{name} runs", "failed", "no engine") for name in "AB")
    assert list(table.markdown([*_FOUND, Examined("Podman 2", "dind", all_failed), partly]))[
        2:
    ] == [
        "| Docker 1 | dind | 2 of 2 |  |",
        "| Docker 1 | socket | 0 of 1 | B runs: a\\|b |",
        "| Podman 2 | dind | 0 of 2 | no engine |",
        "| Docker 3 | dind | 1 of 4 | A runs; C runs: x<br>B runs: y |",
    ]


def test_read() -> None:
    """What was written as JSON is read again."""
    assert tuple(map(Examined.read, examination.data(_FOUND))) == _FOUND
