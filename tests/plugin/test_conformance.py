"""What becomes of the conformance suite's tests."""

from __future__ import annotations

import json

import pytest

from pytest_dind.conformance import outcomes

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
