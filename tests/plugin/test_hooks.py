"""The hooks of a run with a daemon: registered as tests are collected, or as one of them runs."""

from __future__ import annotations

import pytest

_NOBODY = "--dind-host=unix:///nonexistent/docker.sock"
_HOOKS = "dind-daemon-hooks"


@pytest.fixture
def daemon(pytester: pytest.Pytester) -> None:
    """A daemon that is none; what tests make in it is not looked at, but whose it would be."""
    pytester.makeconftest(
        f"""
        import pytest
        from pytest_dind.hooks.leaks import Leaks
        from pytest_dind.hooks.reports import Reports
        from pytest_dind.runs.run import Run

        class Daemon:
            id = "1"
            def environment(self): return {{}}

        Run.daemon = lambda run, settings, name: Daemon()
        Run.start_in_background = lambda run, settings: None
        Leaks.attend = lambda leaks, daemon, settings, cleans: daemon
        Leaks.is_shared = lambda leaks, daemon, settings: False
        Reports.attend = lambda reports, daemon, settings, **sharing: None

        @pytest.fixture(scope="session")
        def whose(pytestconfig):
            def whose():
                leaks = pytestconfig.pluginmanager.get_plugin({_HOOKS!r}).leaks
                return leaks._test, leaks._wider
            return whose

        @pytest.fixture(scope="session")
        def database(request, whose):
            request.getfixturevalue("dind_env")
            return whose()
        """
    )


# The one that is named makes the hooks be there from the start.
@pytest.mark.usefixtures("daemon")
@pytest.mark.parametrize("asks", ["request", "dind_env"], ids=["late", "from the start"])
@pytest.mark.parametrize("options", [(), ("-n1",)], ids=["alone", "xdist"])
def test_whose_it_is(pytester: pytest.Pytester, asks: str, options: tuple[str, ...]) -> None:
    """Whose it is what is made is known, though the daemon is asked for amid a wider fixture."""
    pytester.makepyfile(
        f"""
        def test_other(): pass

        def test_first(database, whose):
            assert database == ("test_whose_it_is.py::test_first", 1)
            assert whose() == ("test_whose_it_is.py::test_first", 0)

        def test_second(database, whose):
            assert whose() == ("test_whose_it_is.py::test_second", 0)

        def test_last({asks}): pass
        """
    )
    result = pytester.runpytest_subprocess(_NOBODY, "--dind-mode=dind", *options)
    result.assert_outcomes(passed=4)


@pytest.mark.usefixtures("daemon")
def test_asked_for_in_the_test(pytester: pytest.Pytester) -> None:
    """A test that asks for the daemon in its own body is the one that makes what is made then."""
    pytester.makepyfile(
        """
        def test_it(request, whose):
            request.getfixturevalue("dind_env")
            assert whose() == ("test_asked_for_in_the_test.py::test_it", 0)
        """
    )
    pytester.runpytest_subprocess(_NOBODY, "--dind-mode=dind").assert_outcomes(passed=1)


@pytest.mark.parametrize("asks", ["request", "dind_client"], ids=["late", "from the start"])
def test_hooks_are_registered_for_those_who_ask(pytester: pytest.Pytester, asks: str) -> None:
    """A run has the hooks once a test asks for the daemon, and not before."""
    pytester.makepyfile(
        f"""
        def is_there(config): return config.pluginmanager.has_plugin({_HOOKS!r})

        def test_before(pytestconfig):
            assert is_there(pytestconfig) is {asks == "dind_client"}

        def test_it({asks}, pytestconfig):
            try:
                {asks}.getfixturevalue("dind_client")
            finally:
                assert is_there(pytestconfig)
        """
    )
    result = pytester.runpytest_subprocess(_NOBODY, "--dind-unavailable=skip")
    result.assert_outcomes(passed=1, skipped=1)


def test_late_and_required(pytester: pytest.Pytester) -> None:
    """A test that asks late and whose marker is required fails where no daemon can be had."""
    pytester.makepyfile(
        """
        import pytest

        @pytest.fixture
        def own(request): return request.getfixturevalue("dind_client")

        def test_skipped(own): pass

        @pytest.mark.dind_modes("dind")
        def test_required(own): pass
        """
    )
    options = ("--dind-unavailable=skip", "--dind-require=modes", "--dind-mode=dind")
    result = pytester.runpytest_subprocess(_NOBODY, *options)
    result.assert_outcomes(skipped=1, errors=1)
    result.stdout.fnmatch_lines(["*dind_modes: The Docker engine at unix:///nonexistent/*"])


def test_failed_setup_ends_as_any_other(pytester: pytest.Pytester) -> None:
    """A test that is failed before its fixtures leaves other plugins nothing that they miss.

    Those of pytest that capture output and logs end for a test only what they began for it.
    """
    pytester.makeconftest(
        """
        import pytest

        def pytest_collection_modifyitems(items):
            for item in items:
                item.add_marker(pytest.mark.dind_modes("x"))

        @pytest.hookimpl(wrapper=True)
        def pytest_runtest_setup(item):
            print("set-up begins")
            try:
                return (yield)
            finally:
                print("set-up ends")
        """
    )
    pytester.makepyfile("def test_bad(caplog, dind_client): pass")
    result = pytester.runpytest_subprocess(_NOBODY, "--dind-mode=dind", "-s")

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ["*set-up begins", "*set-up ends*", "*dind_modes('x') is not valid*"]
    )
    result.stdout.no_fnmatch_line("*KeyError*")
