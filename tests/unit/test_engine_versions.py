"""The table of what changed between versions: how they compare, and that the docs have it too."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_dind.engine import versions

_ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("1.41", (1, 41, 0)),
        ("28.5.2+dfsg4", (28, 5, 2)),
        ("20.10.24-ce", (20, 10, 24)),
        ("29", (29, 0, 0)),
        ("dev", (0, 0, 0)),
        ("", (0, 0, 0)),
    ],
)
def test_numbers(version: str, expected: tuple[int, ...]) -> None:
    """A version's numbers come before a distribution's suffix."""
    assert versions.number(version) == expected


@pytest.mark.parametrize(
    ("change", "before", "since"),
    [
        (versions.BUILDKIT, ["1.24", "1.38"], ["1.39", "1.41", "1.100", "2.0"]),
        (versions.NEEDS_SYSBOX_0_7, ["26.1.5+dfsg1", "28.5.1"], ["28.5.2+dfsg4", "29.0.0"]),
    ],
)
def test_changes(change: versions.Change, before: list[str], since: list[str]) -> None:
    """A change holds from its version on, in any newer one that is not known yet too."""
    assert [change.holds(version) for version in before] == [False] * len(before)
    assert [change.holds(version) for version in since] == [True] * len(since)


def test_newer_api_than_known() -> None:
    """What is told of an API names both; of one that is known nothing is."""
    assert versions.unread("1.24") == versions.unread(versions.dotted(versions.READ_API)) == ""
    assert versions.unread("1.99") == "API 1.99 is newer than the newest that is known, 1.57"


def test_docs_have_the_table() -> None:
    """docs/engines.md has each change, in this order."""
    text = (_ROOT / "docs/engines.md").read_text()
    rows = [
        f"| {change.name} | {change.what} | {change.here} | {change.source} |"
        for change in versions.CHANGES
    ]
    assert "\n".join(rows) in text


def test_modules_of_the_table() -> None:
    """Each file that a change names is there."""
    named = [
        part
        for change in versions.CHANGES
        for part in change.here.split("`")[1::2]
        if part.endswith((".py", ".sh"))
    ]
    assert [part for part in named if not (_ROOT / "pytest_dind" / part).is_file()] == []
    assert len(named) > 10
