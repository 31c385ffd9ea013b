"""Where the fixture dind_clean stands among a test's fixtures."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from pytest_dind.hooks.leaks import place_fixture


@pytest.mark.parametrize(
    ("names", "placed"),
    [
        (
            ["session", "module", "own", "other"],
            ["session", "module", "dind_clean", "own", "other"],
        ),
        (["session", "own", "dind_clean"], ["session", "dind_clean", "own"]),
        (["own"], ["dind_clean", "own"]),
        (["session"], ["session", "dind_clean"]),
        (["session", "unknown"], ["session", "dind_clean", "unknown"]),
        ([], ["dind_clean"]),
    ],
    ids=" ".join,
)
def test_place(names: list[str], placed: list[str]) -> None:
    """It is set up after the fixtures that outlive the test, and before the test's own."""
    scopes = {"session": "session", "module": "module", "own": "function", "other": "function"}
    known = {name: [SimpleNamespace(scope=scope)] for name, scope in scopes.items()}
    item = SimpleNamespace(fixturenames=names, _fixtureinfo=SimpleNamespace(name2fixturedefs=known))
    before = list(names)
    place_fixture(item)

    assert item.fixturenames == placed
    assert names == before, "the list is shared by the parameter sets of a function"
