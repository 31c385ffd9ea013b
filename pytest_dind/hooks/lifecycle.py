"""The plugin's hooks once a test asks for a daemon, or xdist has workers."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import suppress
from typing import Any

import pytest

from ..errors import DindError
from ..options import OTHERS, RUN, SETTINGS, SUMMARY, XDIST_KEY, current_run
from . import fixtures, leaks, markers, terminal
from .fixtures import Unavailable

_said = pytest.StashKey[list[str]]()


def invite(node: Any) -> None:
    """Let an xdist worker take part in this process's run."""
    # Where there can be no run, the first test that needs a daemon fails on the same, and says so.
    with suppress(DindError):
        run = current_run(node.config, node.config.stash[SETTINGS])
        node.workerinput[XDIST_KEY] = str(run.path)


def take_over(node: Any) -> None:
    """Take over what an xdist worker has for the summary."""
    told, left_behind = getattr(node, "workeroutput", {}).get(XDIST_KEY, ((), ()))
    _tell(node.config, told, left_behind)


def _tell(config: pytest.Config, told: Sequence[terminal.Told], left_behind: Sequence[str]) -> None:
    summary = config.stash.setdefault(SUMMARY, terminal.Summary([], []))
    summary.told.extend(told)
    summary.left.extend(left_behind)


def header(config: pytest.Config, items: Sequence[pytest.Item]) -> list[str]:
    """Which mode is in force, and why, where one of these tests is certain to start a daemon."""
    chosen, said = config.stash[SETTINGS], config.stash.setdefault(_said, [])
    # The first test that asks for a daemon that can't be had says so in full.
    with suppress(DindError):
        if _starts(config, items):
            said += terminal.choice(current_run(config, chosen).choice(chosen, proved=False))
    return said


def start_ahead(session: pytest.Session) -> None:
    """Start the daemon while tests run that don't need it."""
    config = session.config
    # Of xdist's workers one is enough, and which of them need one each can't be known.
    first = getattr(config, "workerinput", {}).get("workerid", "gw0") == "gw0"
    failed = session.testsfailed and not config.option.continue_on_collection_errors
    if first and not failed and _starts(config, session.items):
        chosen = config.stash[SETTINGS]
        if chosen.scope == "session" or not hasattr(config, "workerinput"):
            with suppress(DindError):
                current_run(config, chosen).start_ahead(chosen)


def _starts(config: pytest.Config, items: Sequence[pytest.Item]) -> bool:
    """Whether this run is going to start a daemon whose settings are the options' own."""
    only_looks = config.option.collectonly or config.getoption("setupplan", False)
    return not only_looks and markers.needs_daemon(items, fixtures.NAMES)


def setup(item: pytest.Item) -> Generator[None, Any, Any]:
    """Fail a test at once that can't be run as it is, before its fixtures hang on it.

    Raises:
        SettingsError: a marker that a hook gave to it has bad arguments.
        DaemonLost: the daemon is gone.
    """
    chain: Any = item.listchain()
    for mistake in markers.mistakes(chain):
        raise mistake
    error = _lost(item, failed=False)
    if error is not None:
        raise error
    return (yield from _explaining(item))


def call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Run a test; say so when what it failed on is the loss of its daemon."""
    leaks.before_call(item)
    return (yield from _explaining(item))


def teardown(item: pytest.Item) -> Generator[None, Any, Any]:
    """See what a test leaves, when its fixtures have ended.

    Raises:
        DindError: it leaves something, and `--dind-leaks` is `fail`.
    """
    try:
        result = yield from _explaining(item)
    finally:
        found = leaks.after_test(item)
    leaks.tell(item, found)
    return result


def _lost(item: pytest.Item, *, failed: bool) -> DindError | None:
    """The error for a daemon that this test needs and that is gone."""
    if RUN in item.config.stash and fixtures.NAMES.intersection(getattr(item, "fixturenames", ())):
        return item.config.stash[RUN].lost(asks=failed)
    return None


def _lost_of_factory(item: pytest.Item, error: Exception) -> DindError | None:
    """The error for a factory's daemon that is gone, if a client on it failed for that."""
    if isinstance(error, DindError) or OTHERS not in item.config.stash:
        return None
    from ..daemon.loss import lost_behind

    others = [
        (daemon.record, daemon._backend)
        for run in item.config.stash[OTHERS]
        for daemon in run.others
    ]
    return lost_behind(error, others)


def _explaining(item: pytest.Item) -> Generator[None, Any, Any]:
    try:
        return (yield)
    except Unavailable as skipped:
        names = markers.required(item, skipped.require)
        if not names:
            raise
        pytest.fail(f"{', '.join(names)}: {skipped.msg} (--dind-require)", pytrace=False)
    except Exception as error:
        lost = _lost(item, failed=True) or _lost_of_factory(item, error)
        if lost is None:
            raise
        raise lost from error


def leave(session: pytest.Session) -> None:
    """Leave the run; the process that began it ends its daemons."""
    config = session.config
    left_behind: Sequence[str] = ()
    try:
        left_behind = leaks.finish(config)
    finally:
        run = config.stash[RUN]
        del config.stash[RUN]
        kept = run.close(failed=bool(session.testsfailed))
        _tell(config, terminal.summary(run.choices, run.records, kept), left_behind)
        if hasattr(config, "workeroutput"):
            config.workeroutput[XDIST_KEY] = (*config.stash[SUMMARY],)


def summarize(reporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what was left behind, which daemons there were, how long each took, and which stay."""
    told, left_behind = config.stash[SUMMARY]
    if left_behind:
        reporter.write_line("dind: left behind in the daemon (--dind-leaks):")
    for line in left_behind:
        reporter.write_line(f"  {line}")
    for _, line in dict.fromkeys(map(tuple, told)):
        if line not in config.stash.get(_said, []):
            reporter.write_line(line)
