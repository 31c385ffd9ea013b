"""How the plugin's own modules are loaded."""

from __future__ import annotations

import sys

import pytest


def test_modules_are_loaded_plainly(pytester: pytest.Pytester) -> None:
    """Pytest rewrites the assertions of the suite's modules, and not the plugin's."""
    pytester.makepyfile(
        """
        def test_it():
            import pytest_dind.hooks.terminal
            loader = type(pytest_dind.hooks.terminal.__loader__).__name__
            assert loader == "SourceFileLoader"
            assert type(__loader__).__name__ == "AssertionRewritingHook"
        """
    )
    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)


def test_nothing_stays(pytester: pytest.Pytester) -> None:
    """After a run in this process its modules are found as before."""
    before = [*sys.meta_path]
    pytester.makepyfile("def test_it(): pass")
    pytester.runpytest_inprocess().assert_outcomes(passed=1)
    assert sys.meta_path == before
