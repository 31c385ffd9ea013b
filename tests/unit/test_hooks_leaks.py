"""Where the fixture dind_clean stands among a test's fixtures, and whose leftovers are whose."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from pytest_dind.hooks.leaks import Leaks, place_fixture


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


class _Ledger:
    """A ledger in which a test, and a fixture of a wider scope, have made one thing each."""

    is_lost = False

    def __init__(self) -> None:
        self.ended = False

    def begin_test(self, test: str) -> None:
        """Nothing."""

    def end_test(self) -> list[str]:
        """The test's; it is not told again."""
        self.ended = True
        return ["container of the test"]

    def leftovers_of_wider(self) -> list[str]:
        """All that was not told."""
        return ["network"] if self.ended else ["container of the test", "network"]

    def close(self) -> None:
        """Nothing."""


@pytest.mark.parametrize("looked_at", [True, False])
def test_run_that_ends_in_a_test(looked_at: bool) -> None:
    """What a test leaves that the run ended in, as by `--pdb`, is that test's."""
    config: Any = SimpleNamespace(stash=pytest.Stash())
    leaks = Leaks(config, test="", wider=0)
    leaks._ledger, leaks._chosen = cast(Any, _Ledger()), "report"
    item: Any = SimpleNamespace(nodeid="t.py::test_it", fixturenames=["dind_daemon"])
    leaks.begin_test(item.nodeid)
    if looked_at:
        leaks.report(item, leaks.after_test(item))

    assert leaks.finish() == [
        "t.py::test_it: container of the test",
        "fixtures of a wider scope: network",
    ]
