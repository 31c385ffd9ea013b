"""The pytest plugin: options and hooks. Nothing here calls Docker."""

from __future__ import annotations

import sys
from collections.abc import Generator, Sequence
from contextlib import suppress
from typing import Any

import pytest

from . import fixtures, left, options, report, requirements, settings
from .errors import DindError, SettingsError
from .session import RUN, SETTINGS, SHARED, begun

_summary = pytest.StashKey[list[report.Told]]()
_said = pytest.StashKey[list[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options, each with an ini key."""
    options.add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Read the settings, so that a bad value ends the run before any test; add the markers."""
    _settings(config)
    config.stash[_summary], config.stash[_said] = [], []
    # Not by `pytest_plugins`: for each name in it pytest reads the metadata of every distribution.
    for module in (fixtures, left):
        config.pluginmanager.register(module, module.__name__)
    for description in requirements.DESCRIPTIONS:
        config.addinivalue_line("markers", description)


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
            config.stash[SETTINGS] = options.from_config(config)
        except SettingsError as error:
            raise pytest.UsageError(str(error)) from error
    return config.stash[SETTINGS]


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Let an xdist worker take part in this process's run."""
    # Where there can be no run, the first test that needs a daemon fails on the same, and says so.
    with suppress(DindError):
        run = begun(node.config, node.config.stash[SETTINGS])
        node.workerinput[SHARED] = str(run.path)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take over what an xdist worker has for the summary."""
    node.config.stash[_summary].extend(getattr(node, "workeroutput", {}).get(SHARED, []))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Make a collection error of the markers with bad arguments, all at once."""
    report = yield
    if report.passed:
        tests = [node for node in report.result if isinstance(node, pytest.Item)]
        errors = requirements.mistakes([collector, *tests])
        if errors:
            report.outcome, report.result = "failed", []
            report.longrepr = "\n".join(map(str, errors))
    return report


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[Any]) -> None:
    """Have markers applied first of all, those too that another hook gave to a test."""
    for item in items:
        if hasattr(item, "fixturenames") and any(map(item.get_closest_marker, requirements.NAMES)):
            # A list of its own: the parameter sets of a function share theirs.
            item.fixturenames = [fixtures.REQUIREMENTS, *item.fixturenames]


def pytest_report_collectionfinish(
    config: pytest.Config, items: Sequence[pytest.Item]
) -> list[str]:
    """Say which mode is in force, and why, when a test that was collected needs a daemon."""
    chosen = config.stash[SETTINGS]
    if not _starts(config, items):
        return []
    # The first test that asks for a daemon that can't be had says so in full.
    with suppress(DindError):
        config.stash[_said] += report.choice(begun(config, chosen).choice(chosen, proved=False))
    return config.stash[_said]


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    """Start the daemon while tests run that don't need it."""
    config = session.config
    # Of xdist's workers one is enough, and which of them need one each can't be known.
    first = getattr(config, "workerinput", {}).get("workerid", "gw0") == "gw0"
    failed = session.testsfailed and not config.option.continue_on_collection_errors
    if first and not failed and _starts(config, getattr(session, "items", ())):
        chosen = config.stash[SETTINGS]
        if chosen.scope == "session" or not hasattr(config, "workerinput"):
            with suppress(DindError):
                begun(config, chosen).start_ahead(chosen)


def _starts(config: pytest.Config, items: Sequence[pytest.Item]) -> bool:
    """Whether this run is going to start a daemon whose settings are the options' own."""
    only_looks = config.option.collectonly or config.getoption("setupplan", False)
    return not only_looks and requirements.needs_daemon(items, fixtures.NAMES)


def _lost(item: pytest.Item, *, failed: bool) -> DindError | None:
    """The error for a daemon that this test needs and that is gone."""
    if RUN in item.config.stash and fixtures.NAMES.intersection(getattr(item, "fixturenames", ())):
        return item.config.stash[RUN].lost(asks=failed)
    return None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None]:
    """Fail a test at once whose daemon is gone, before its fixtures hang on it."""
    error = _lost(item, failed=False)
    if error is not None:
        raise error
    return (yield from _explaining(item))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """Say so when what a test failed on is the loss of its daemon."""
    return (yield from _explaining(item))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None]:
    """Say so when what a fixture's end failed on is the loss of the daemon."""
    return (yield from _explaining(item))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Leave out of an error of this plugin how the plugin came to it, but with `--full-trace`."""
    if call.excinfo is None or not isinstance(call.excinfo.value, DindError):
        return (yield)
    from . import failures

    return (yield from failures.shortened(item.config, call.excinfo, call.excinfo.value))


def _explaining(item: pytest.Item) -> Generator[None]:
    try:
        return (yield)
    except fixtures.Unavailable as skipped:
        names = requirements.required(item, skipped.require)
        if not names:
            raise
        pytest.fail(f"{', '.join(names)}: {skipped.msg} (--dind-require)", pytrace=False)
    except Exception as error:
        lost = _lost(item, failed=True)
        if lost is None:
            raise
        raise lost from error


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> Generator[None]:
    """Leave the run, after the fixtures' own ends, and if one of them fails."""
    try:
        return (yield)
    finally:
        try:
            left.finish(session.config)
        finally:
            _leave(session)


def _leave(session: pytest.Session) -> None:
    """Leave the run; the process that began it ends its daemons."""
    config = session.config
    if RUN not in config.stash:
        return
    run = config.stash[RUN]
    del config.stash[RUN]
    kept = run.close(failed=bool(session.testsfailed))
    lines = config.stash[_summary]
    lines += report.summary(run.choices, run.records, kept)
    if hasattr(config, "workeroutput"):
        config.workeroutput[SHARED] = lines


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say which daemons there were, how long each took to be ready, and which stay."""
    told = config.stash[_summary]
    for _, line in dict.fromkeys(told):
        if line not in config.stash[_said]:
            terminalreporter.write_line(line)
