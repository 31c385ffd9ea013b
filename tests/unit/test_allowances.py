"""What can be allowed: one list in the code, one in the documentation."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pytest_dind import allowances

_PAGE = Path(__file__).parents[2] / "docs" / "guard.md"


def test_documented() -> None:
    """The documentation names all that can be allowed, and nothing else."""
    table = _PAGE.read_text().partition("| value | allows |")[2].partition("\n\n")[0]
    named = [
        name
        for row in table.splitlines()[2:]
        for name in re.findall(r"`([^`]+)`", row.split("|")[1])
    ]
    assert {name.partition(":")[0] for name in named} == {*allowances.EXACT, *allowances.WITH_VALUE}
    assert all(map(allowances.is_known, named))


@pytest.mark.parametrize("text", ["", "all", "bind", "bind:", "bind:x", "cap", "pull:x", ":x"])
def test_unknown(text: str) -> None:
    """What is not known, lacks its value, or has one too many, can't be allowed."""
    assert not allowances.is_known(text)
