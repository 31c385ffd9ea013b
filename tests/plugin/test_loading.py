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


def test_suite_that_removes_it(pytester: pytest.Pytester) -> None:
    """A suite that has its own way of finding modules ends as ever."""
    pytester.makepyfile(
        """
        import sys
        def test_it():
            sys.meta_path[:] = [one for one in sys.meta_path if type(one).__name__ != "_Finder"]
        """
    )
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=1)
    assert result.ret == pytest.ExitCode.OK
    result.stderr.no_fnmatch_line("*ValueError*")
