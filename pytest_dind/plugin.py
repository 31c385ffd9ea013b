"""The pytest plugin, as each run has it: options, markers, fixtures and hooks.

Nothing here calls Docker. What is needed only once a test asks for a daemon, or xdist has workers,
is in modules loaded then: each takes pytest's loader for rewriting assertions half a millisecond.
Exceptions that are caught are not in these: pytester forgets what a run in its own process loaded,
and the next would load it anew, as other classes.
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Sequence
from typing import Any

import pytest

from . import settings
from .errors import DindError, SettingsError
from .hooks import fixtures
from .options import (
    CLEAN,
    LEDGER,
    MARKERS,
    RUN,
    SETTINGS,
    SUMMARY,
    TEST,
    WIDER,
    add_options,
    from_config,
)

_ASKING = fixtures.NAMES | {fixtures.REQUIREMENTS}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options, each with an ini key."""
    add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Read the settings, so that a bad value ends the run before any test; add the markers."""
    _settings(config)
    # Not by `pytest_plugins`: for each name in it pytest reads the metadata of every distribution.
    config.pluginmanager.register(fixtures, fixtures.__name__)
    for name, text in MARKERS.items():
        config.addinivalue_line("markers", name + text)


def pytest_cmdline_main(config: pytest.Config) -> int | None:
    """Print what this machine can do, instead of running tests, if that is asked for."""
    if config.option.help or config.option.version:
        return None
    chosen = _settings(config)
    if chosen.doctor == settings.DOCTOR_OFF:
        return None
    from .doctor import examine

    try:
        found = examine(chosen, lambda line: print(f"dind: {line}", file=sys.stderr))
    except KeyboardInterrupt:
        return pytest.ExitCode.INTERRUPTED
    print(found)
    return found.exit_code


def _settings(config: pytest.Config) -> settings.Settings:
    if SETTINGS not in config.stash:
        try:
            config.stash[SETTINGS] = from_config(config)
        except SettingsError as error:
            raise pytest.UsageError(str(error)) from error
    return config.stash[SETTINGS]


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Let an xdist worker take part in this process's run."""
    from .hooks import lifecycle

    lifecycle.invite(node)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take over what an xdist worker has for the summary."""
    from .hooks import lifecycle

    lifecycle.take_over(node)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Make a collection error of the markers with bad arguments, all at once."""
    report = yield
    tests = [node for node in report.result or () if isinstance(node, pytest.Item)]
    nodes: list[pytest.Item | pytest.Collector] = [collector, *tests]
    if report.passed and any(mark.name in MARKERS for node in nodes for mark in node.own_markers):
        from .hooks import markers

        errors = markers.mistakes(nodes)
        if errors:
            report.outcome, report.result = "failed", []
            report.longrepr = "\n".join(map(str, errors))
    return report


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[Any]) -> None:
    """Have markers applied first of all, those too that another hook gave to a test."""
    for item in items:
        names = getattr(item, "fixturenames", None)
        if names is None:
            continue
        marked = MARKERS.keys() & {mark.name for mark in item.iter_markers()}
        if CLEAN in names or CLEAN in marked:
            from .hooks import leaks

            leaks.place(item)
        if marked - {CLEAN}:
            # A list of its own: the parameter sets of a function share theirs.
            item.fixturenames = [fixtures.REQUIREMENTS, *item.fixturenames]


def pytest_report_collectionfinish(
    config: pytest.Config, items: Sequence[pytest.Item]
) -> list[str]:
    """Say which mode is in force, and why, when a test that was collected needs a daemon."""
    if not any(map(_asks, items)):
        return []
    from .hooks import lifecycle

    return lifecycle.header(config, items)


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    """Start the daemon while tests run that don't need it."""
    if any(map(_asks, getattr(session, "items", ()))):
        from .hooks import lifecycle

        lifecycle.start_ahead(session)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
) -> Generator[None, Any, Any]:
    """Tell what a test makes from what fixtures make that outlive it."""
    config, wider = request.config, fixturedef.scope != "function"
    if LEDGER in config.stash:
        from .hooks import leaks

        leaks.before_fixture(config, wider=wider)
    config.stash[WIDER] = config.stash.get(WIDER, 0) + wider
    try:
        return (yield)
    finally:
        config.stash[WIDER] -= wider
        # It may be the daemon's own fixture, with which the ledger began.
        if wider and LEDGER in config.stash:
            from .hooks import leaks

            leaks.after_wider(config)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, Any, Any]:
    """Have what is made from here on be this test's."""
    item.config.stash[TEST] = item.nodeid
    if LEDGER in item.config.stash:
        item.config.stash[LEDGER].begin_test(item.nodeid)
    return (yield)


# Not first: pytest's own plugins end for a test only what they began for it.
@pytest.hookimpl(specname="pytest_runtest_setup", wrapper=True)
def pytest_runtest_setup_of_daemon(item: pytest.Item) -> Generator[None, Any, Any]:
    """Fail a test at once whose daemon is gone, before its fixtures hang on it."""
    if not _has_daemon(item):
        return (yield)
    from .hooks import lifecycle

    return (yield from lifecycle.setup(item))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Say so when what a test failed on is the loss of its daemon."""
    if not _has_daemon(item):
        return (yield)
    from .hooks import lifecycle

    return (yield from lifecycle.call(item))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, Any, Any]:
    """See what the test leaves in the daemon, when its fixtures have ended."""
    if not _has_daemon(item):
        return (yield)
    from .hooks import lifecycle

    return (yield from lifecycle.teardown(item))


def _asks(item: pytest.Item) -> bool:
    """Whether a test asks for the daemon, or is under one of the markers of what it needs."""
    return not _ASKING.isdisjoint(getattr(item, "fixturenames", ()))


def _has_daemon(item: pytest.Item) -> bool:
    """Whether a test may have to do with a daemon."""
    return RUN in item.config.stash or _asks(item)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Leave out of an error of this plugin how the plugin came to it, but with `--full-trace`."""
    if call.excinfo is None or not isinstance(call.excinfo.value, DindError):
        return (yield)
    from .hooks import tracebacks

    return (yield from tracebacks.shortened(item.config, call.excinfo, call.excinfo.value))


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> Generator[None]:
    """Leave the run, after the fixtures' own ends, and if one of them fails."""
    try:
        return (yield)
    finally:
        if RUN in session.config.stash:
            from .hooks import lifecycle

            lifecycle.leave(session)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say what was left behind, which daemons there were, how long each took, and which stay."""
    if SUMMARY in config.stash:
        from .hooks import lifecycle

        lifecycle.summarize(terminalreporter, config)
