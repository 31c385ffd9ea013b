"""The hooks of a pytest run that has a daemon: from its start in the background to its end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ..errors import DindError
from ..options import CLUSTER_FIXTURES, DAEMON_FIXTURES, IMAGES, REPORT, SETTINGS
from ..settings import MAIN
from . import ahead, junit, live, markers, matrix, terminal
from .binds import Binds
from .clusters import Clusters
from .leaks import Leaks
from .reports import FACTORY_FIXTURES, Reports
from .unavailable import Unavailable, unavailable

if TYPE_CHECKING:
    from ..backends.protocol import Record
    from ..daemon.handle import Daemon
    from ..runs.factory import Factory
    from ..runs.places import Places
    from ..runs.pool import Loan, Pool
    from ..runs.run import Run
    from ..settings import Settings
    from ..store.snapshots import Snapshot
    from .environment import Environment
    from .fresh import Fresh

_XDIST_KEY = "pytest_dind"
"""The name under which xdist hands a value of this plugin's to a worker, and back."""
_WHOLE = (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED)
"""How a run ends that says something about the next."""
_NEEDED_KEY = "pytest_dind_needed"
"""Likewise, for whether a worker's tests were certain to need the daemon."""
# Half of what the end of a run waits in vain: the other half is for the daemons' ends.
_LOOK_SECONDS = 5
# After as many a process that starts a daemon has asked the engine for it, on slow machines too,
# and no daemon is there yet. Loading sooner takes the time from the questions before that.
_IDLE_SECONDS = 0.25


class DaemonHooks:
    """The hooks of a process whose tests ask for a daemon, or which has xdist's workers.

    The object is a pytest plugin. It is registered when the tests are collected, or only when a
    test asks for the daemon as it runs: pluggy calls the hooks from then on. The plain wrappers
    around a test are `trylast`, which makes them the innermost whenever they are registered: the
    wrappers of pytest's own plugins end for a test only what they began for it.

    Args:
        config: pytest's configuration.
        test: The test that runs, where one does.
        wider: How many fixtures are being set up that outlive the test, one in the other.
    """

    def __init__(self, config: pytest.Config, *, test: str, wider: int) -> None:
        self.leaks = Leaks(config, test=test, wider=wider)
        self._reports = Reports(config, test=test, wider=wider)
        self._config = config
        self._progress = terminal.Progress(config)
        self._run: Run | None = None
        self._factories: list[Factory] = []
        self._fresh: Fresh | None = None
        self.clusters = Clusters(config, self.factory, self._factories.remove)
        self._binds = Binds()
        self._environment: Environment | None = None
        # By the image that the tests' parameter names, which is empty where they have none.
        self._daemons: dict[str, Daemon] = {}
        self._item: pytest.Item | None = None
        # What the last test left, where the daemon's end came before the look at that.
        self._left: list[str] = []
        self._header: list[str] = []
        self._summary = terminal.Summary([], [], [])
        # What began to start with the session.
        self._guessed: frozenset[str] = frozenset()
        # Whether a test was certain to need the daemon.
        self._needed = False

    def run(self, settings: Settings) -> Run:
        """Return the run that this process takes part in; the first call begins or joins it."""
        from ..runs.run import Run
        from . import shaping

        if self._run is None:
            given = getattr(self._config, "workerinput", {}).get(_XDIST_KEY)
            invited = Path(given) if given else None
            shaper = shaping.shaper(self._config)
            progress: Callable[[str], None] = self._progress
            if self._progress.is_apart:
                # The daemon that one process starts beside its tests, others may wait for.
                progress = partial(self._progress, at_once=True)
            self._run = (
                Run.join(invited, progress, shaper)
                if invited and settings.scope == "session"
                else Run.begin(progress, beside=invited, places=self._places(), shaper=shaper)
            )
        return self._run

    def start_ahead(self, expected: frozenset[str]) -> None:
        """Begin on a guess, before the tests are collected, the start of what they will need.

        Args:
            expected: What that is, as `ahead.expected` has it.
        """
        self._guessed = expected
        # What it fails on, the first test that asks for the daemon says.
        with suppress(DindError):
            settings = self._config.stash[SETTINGS]
            if ahead.DAEMON in expected:
                self.run(settings).start_in_background(settings)
        clusters = expected & CLUSTER_FIXTURES
        if clusters:
            self.clusters.begin(clusters)

    def daemon(self, settings: Settings, session: pytest.Session, image: str) -> Daemon:
        """Return the daemon of these settings, as the tests of a session are to have it.

        Args:
            settings: The daemon's settings.
            session: The session.
            image: The image that the tests' parameter names; empty where they have none.

        Raises:
            DindError: the daemon can't be had.
        """
        cleans = any("dind_clean" in getattr(item, "fixturenames", ()) for item in session.items)
        name = MAIN
        if image:
            settings, name = matrix.of(settings, image, self._config.stash[SETTINGS].image)
        # What tests left in another daemon is looked for while that is there.
        self.leaks.leave()
        run = self.run(settings)
        if image and image not in self._daemons:
            self._make_room(run, settings)
        # By then the engine has been asked for the container, and this process waits for it.
        loading = threading.Timer(_IDLE_SECONDS, self._load, (settings,))
        loading.daemon = True
        loading.start()
        self._daemons[image] = daemon = run.daemon(settings, name)
        given = self.leaks.attend(daemon, settings, cleans=cleans)
        is_shared = self.leaks.is_shared(daemon, settings)
        self._reports.attend(daemon, settings, is_shared=is_shared, maker=self.leaks.maker)
        return given

    def _load(self, settings: Settings) -> None:
        """Load what is needed once there is a daemon."""
        self._reports.load(settings)
        self.leaks.load(settings)

    def _make_room(self, run: Run, settings: Settings) -> None:
        """End the daemons of other images, where one more can't be beside them.

        Other workers may still need those of a run that they share.
        """
        if hasattr(self._config, "workerinput") and settings.scope == "session":
            return
        others = {daemon.id: daemon for daemon in self._daemons.values()}
        # Two daemons can't have the same port of the engine's machine.
        if others and (settings.publish or matrix.is_short_of_memory([*others.values()][-1])):
            for daemon in others.values():
                run.end(daemon)
            left = {daemon.id for daemon in run.daemons}
            self._daemons = {key: one for key, one in self._daemons.items() if one.id in left}

    def factory(self, settings: Settings) -> Factory:
        """Return a factory of further daemons, in a run of its own.

        Other workers have factories too, with daemons of the same names.
        """
        from ..runs.factory import Factory

        run = self._begin_beside(self.run(settings))
        started = partial(self._reports.attend, fixtures=FACTORY_FIXTURES)
        formed = self._reports.attend_cluster
        factory = Factory(run, settings, unavailable, started, self._spare, formed)
        self._factories.append(factory)
        return factory

    def close_factory(self, factory: Factory, *, failed: bool) -> None:
        """End a factory's daemons, and say which of them stay.

        Args:
            factory: The factory.
            failed: Whether a test failed.
        """
        factory.close(failed=failed)
        self._summary.add(terminal.summary((), (), factory._kept), (), ())
        if hasattr(self._config, "workeroutput"):
            self._config.workeroutput[_XDIST_KEY] = (*self._summary,)

    def _spare(self, settings: Settings) -> Loan | None:
        """Return a spare of the pool behind `dind_fresh`, if there is one of these settings."""
        return self._fresh.lend(settings) if self._fresh is not None else None

    def fresh(self) -> Fresh:
        """The pool behind `dind_fresh`; the first call registers its hooks."""
        from .fresh import Fresh

        if self._fresh is None:
            self._fresh = Fresh(self._config, self._pool, self._reports, self._snapshot)
            self._config.pluginmanager.register(self._fresh, "dind-fresh-hooks")
        return self._fresh

    def _snapshot(self, settings: Settings, name: str) -> Snapshot:
        """Return the snapshot of this name.

        Raises:
            SettingsError: there is none.
        """
        from ..daemon import snapshots

        return snapshots.find(self.run(settings).shared, name)

    def _pool(self, settings: Settings, snapshot: Snapshot | None, *, starts: bool) -> Pool:
        """Return a pool of daemons, in a run of its own."""
        from ..runs.pool import Pool, Prepared

        main = self.run(settings)
        return Pool(
            self._begin_beside(main),
            settings,
            prepared=Prepared(snapshot, starts) if snapshot is not None else None,
            is_short_of_memory=matrix.is_short_of_memory,
            is_busy=lambda: main.is_starting,
        )

    def _begin_beside(self, main: Run) -> Run:
        """Begin a further run of the same tests."""
        from ..runs.run import Run
        from . import shaping

        return Run.begin(
            self._progress,
            beside=main.shared,
            places=self._places(),
            shaper=shaping.shaper(self._config),
            patience=main.patience,
        )

    def _places(self) -> Places:
        """Return what the words of `--dind-mount` stand for in this run."""
        from ..runs.places import Places

        # Made here, in the main thread: a test may ask for it while a daemon starts. Without
        # pytest's plugin for it, there is none; where it can't be made, the first test that asks
        # for it says so.
        factory, base = getattr(self._config, "_tmp_path_factory", None), None
        with suppress(OSError):
            base = factory.getbasetemp() if factory else None
        if base and hasattr(self._config, "workerinput"):
            # xdist has given each worker a directory below that of the run.
            base = base.parent
        return Places.named(self._config.rootpath, base)

    def environment(self, daemon: Daemon) -> dict[str, str]:
        """Return what `dind_env` gives; it follows this process's environment before each test."""
        from .environment import Environment

        self._environment = Environment(daemon)
        return self._environment.given

    # xdist's workers

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Let an xdist worker take part in this process's run, and say what takes long."""
        live.hear(node)
        # Where there can be no run, the first test that needs a daemon fails on the same, and says
        # so.
        with suppress(DindError):
            node.workerinput[_XDIST_KEY] = str(self.run(self._config.stash[SETTINGS]).path)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Take over the lines that an xdist worker has for the summary."""
        output = getattr(node, "workeroutput", {})
        told, leaks, facts = output.get(_XDIST_KEY, ((), (), ()))
        self._summary.add(told, leaks, map(tuple, facts))
        self._needed = self._needed or output.get(_NEEDED_KEY, False)

    # before the tests

    def pytest_report_collectionfinish(self, items: Sequence[pytest.Item]) -> list[str]:
        """Say which mode is in force, and why, if one of the tests is certain to need a daemon."""
        settings = self._config.stash[SETTINGS]
        # The first test that asks for a daemon that can't be had says so in full.
        with suppress(DindError):
            if self._needs_daemon(items):
                choice = self.run(settings).choice(settings, proved=False)
                self._header += terminal.choice(choice)
        return [] if terminal.is_silent(self._config) else self._header

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> None:
        """Start the daemon in the background, while tests run that don't need it."""
        config, settings = self._config, self._config.stash[SETTINGS]
        fails = session.testsfailed and not config.option.continue_on_collection_errors
        self._needed = not fails and self._needs_daemon(session.items)
        if hasattr(config, "workeroutput"):
            config.workeroutput[_NEEDED_KEY] = self._needed
        self.clusters.review(session.items, certain=not fails and not self._only_plans)
        if ahead.DAEMON in self._guessed:
            # The process that has xdist's workers has no tests; it knows in the end.
            if self._run is not None and not self._needed and not self._has_workers:
                self._run.undo_start()
            return
        worker = getattr(config, "workerinput", {}).get("workerid", "")
        # Of the workers that share a daemon one is enough; which of those that have a daemon each
        # need theirs can't be known.
        starts = not worker or (worker == "gw0" and settings.scope == "session")
        if starts and self._needed:
            with suppress(DindError):
                self.run(settings).start_in_background(settings)
                self._load(settings)

    @property
    def _has_workers(self) -> bool:
        """Whether this process has xdist's workers."""
        return live.has_workers(self._config)

    def _needs_daemon(self, items: Sequence[pytest.Item]) -> bool:
        """Tell whether the run is certain to start a daemon that the options describe."""
        image = self._config.stash[SETTINGS].image
        of_options = [item for item in items if matrix.image_of(item) in ("", image)]
        return not self._only_plans and markers.needs_daemon(of_options, DAEMON_FIXTURES)

    @property
    def _only_plans(self) -> bool:
        """Whether no test runs."""
        option = self._config.option
        return bool(option.collectonly or self._config.getoption("setupplan", False))

    # around each test

    @pytest.hookimpl(specname="pytest_runtest_setup", wrapper=True, tryfirst=True)
    def pytest_runtest_setup_begins(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Attribute to this test what is made from here on."""
        self._item, self._left = item, []
        self.leaks.begin_test(item.nodeid)
        self._reports.begin_test(item.nodeid)
        return (yield)

    def before_fixture(self, *, wider: bool) -> None:
        """Tell what is there so far from what a fixture is going to make.

        Args:
            wider: Whether the fixture outlives the test.
        """
        self.leaks.before_fixture(wider=wider)
        if wider:
            self._reports.count_wider(1)

    def after_fixture(self, *, wider: bool) -> None:
        """Attribute to a fixture that outlives the test what was made while it was set up."""
        self.leaks.after_fixture(wider=wider)
        if wider:
            self._reports.count_wider(-1)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Add what happened in the daemons to the report of a test that failed.

        On which of several engines a test ran is noted in each; xdist hands it on.
        """
        report = yield
        self._reports.add(item, report)
        image = matrix.image_of(item)
        if image:
            daemon = self._daemons.get(image)
            images = self._config.stash[IMAGES]
            test = matrix.without_image(item, image, images)
            vars(report)["dind_engine"] = (image, daemon.version if daemon else "", test)
        return report

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Fail a test at once that can't run as it is, before its fixtures hang on that.

        Raises:
            SettingsError: a marker that a hook gave to the test has bad arguments.
            DaemonLost: the daemon is gone.
        """
        chain: Any = item.listchain()
        for mistake in markers.mistakes(chain):
            raise mistake
        error = self._loss(item, failed=False)
        if error is not None:
            raise error
        return (yield from self._explained(item))

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Run a test; say so when it failed on the loss of its daemon."""
        self.leaks.before_call(item)
        if self._environment is not None:
            self._environment.follow()
        return (yield from self._explained(item))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(
        self, item: pytest.Item, nextitem: pytest.Item | None
    ) -> Generator[None, Any, Any]:
        """Look at what a test leaves in the daemon, when its fixtures have ended.

        Raises:
            DindError: the test leaves something, and `--dind-leaks` is `fail`.
        """
        try:
            result = yield from self._explained(item)
        finally:
            found = self._left or self._left_by(item, last=nextitem is None)
            self._binds.warn(item, self.records())
        self.leaks.report(item, found)
        return result

    def _left_by(self, item: pytest.Item, *, last: bool) -> list[str]:
        """Return what a test leaves; the run's end, which begins with the last, has a bound."""
        if not last or self._run is None:
            return self.leaks.after_test(item)
        return self._looked_at(self._run, partial(self.leaks.after_test, item))

    def _looked_at(self, run: Run, look: Callable[[], list[str]]) -> list[str]:
        """Return what a look at what is left finds; nothing where the daemon does not answer."""
        found: list[str] = []
        if not run.patience.within(lambda: found.extend(look()), at_most=_LOOK_SECONDS):
            self.leaks.give_up()
            self._progress("what tests left is not known: the daemon does not answer")
        return found

    def records(self, *, own: bool = True, factories: bool = True) -> list[Record]:
        """Return the records of the daemons that this process has used, that of `dind_fresh` too.

        Args:
            own: Whether that of the fixtures is wanted.
            factories: Whether those of `dind_factory` are.
        """
        makers: list[Run | Factory] = [self._run] if own and self._run is not None else []
        makers += self._factories if factories else []
        return [record for maker in makers for record in maker.records] + [
            daemon.record for daemon in self._in_hand
        ]

    @property
    def _in_hand(self) -> list[Daemon]:
        """The daemons that `dind_fresh` has given to the test that runs."""
        return self._fresh.in_hand if self._fresh is not None else []

    def _explained(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Run a phase of a test; say so when it failed on the loss of its daemon.

        A skip for want of a daemon fails a test with a marker that `--dind-require` names.
        """
        try:
            return (yield)
        except Unavailable as skipped:
            names = markers.required(item, skipped.require)
            if not names:
                raise
            pytest.fail(f"{', '.join(names)}: {skipped.msg} (--dind-require)", pytrace=False)
        except Exception as error:
            loss = self._loss(item, failed=True) or self._loss_of_factory(error)
            if loss is None:
                raise
            raise loss from error

    def _loss(self, item: pytest.Item, *, failed: bool) -> DindError | None:
        """Return the error for a daemon that this test needs and that is gone."""
        needs = DAEMON_FIXTURES.intersection(getattr(item, "fixturenames", ()))
        if self._run is None or not needs:
            return None
        used = self._daemons.get(matrix.image_of(item))
        others = {daemon.id for daemon in self._daemons.values()} - {used.id if used else ""}
        return self._run.lost(asks=failed, but=others)

    def _loss_of_factory(self, error: Exception) -> DindError | None:
        """Return the error for a test's own daemon that is gone, if a client on it failed so."""
        daemons = [daemon for factory in self._factories for daemon in factory.daemons]
        daemons += self._in_hand
        if isinstance(error, DindError) or not daemons:
            return None
        from ..daemon.loss import lost_behind

        return lost_behind(error, [(daemon.record, daemon._backend) for daemon in daemons])

    # after the tests

    def end_before_fixtures(self, session: pytest.Session) -> None:
        """End the daemons before the fixtures that the settings rest on, if this process ends them.

        A network of the outer engine, for one, can't be removed while a daemon is in it. What
        other processes use stays to the end of the run.
        """
        if self._run is None or not self._run.is_ended_here:
            return
        if self._item is not None:
            self._left = self._left_by(self._item, last=True)
            # The test itself fails when its teardown has ended.
            with suppress(DindError):
                self.leaks.report(self._item, self._left)
            self._binds.warn(self._item, self.records())
        self._leave(self._run, failed=bool(session.testsfailed))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> Generator[None, None, None]:
        """Have what happened in the daemons in the JUnit report, too."""
        # A teardown ends the test in that report.
        if report.when == "teardown":
            junit.add_output(self._config, report)
        yield
        if report.when != "teardown":
            junit.add_output(self._config, report)

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None]:
        """Leave the run, after the fixtures have ended, and also if one of them fails."""
        junit.add_properties(
            self._config, [*self._summary.facts, *junit.properties(self.records())]
        )
        try:
            return (yield)
        finally:
            if session.exitstatus in _WHOLE:
                used = {ahead.DAEMON} if self._needed else set()
                ahead.note(self._config, used | self.clusters.used)
            try:
                self.clusters.close()
                if self._fresh is not None:
                    self._fresh.close()
            finally:
                if self._run is not None:
                    self._leave(self._run, failed=bool(session.testsfailed))

    def _leave(self, run: Run, *, failed: bool) -> None:
        """Leave the run; the process that began it ends its daemons."""
        leaks: Sequence[str] = ()
        facts = junit.properties(self.records())
        try:
            # Without a look, there are the lines on earlier tests.
            leaks = self._looked_at(run, self.leaks.finish) or self.leaks.finish()
        finally:
            self._run = None
            run.patience.within(self._reports.finish, at_most=_LOOK_SECONDS)
            self._reports.close()
            outer = run.outer_apis()
            kept = run.close(failed=failed)
            pending = [("", line) for line in self._progress.pending()]
            used = [*run.ended, *run.records]
            # A guess that was wrong is undone without a word.
            told = [] if self._is_wrong(run) else terminal.summary(run.choices, used, kept)
            if terminal.verbosity(self._config) > 0:
                told += terminal.unread_apis(outer, used)
            report = self._config.stash.get(REPORT, None)
            if report is not None:
                report.daemons_end(used, kept)
                for factory in self._factories:
                    report.daemons_end(factory.records, factory._kept)
            self._summary.add([*pending, *told], leaks, facts)
            if hasattr(self._config, "workeroutput"):
                self._config.workeroutput[_XDIST_KEY] = (*self._summary,)

    def _is_wrong(self, run: Run) -> bool:
        """Tell whether what started on a guess was used by no test."""
        is_unused = not self._needed and not self.clusters.used
        return bool(self._guessed) and is_unused and (self._has_workers or not run.records)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say what tests left, which daemons there were, how long each took, and which stay."""
        self._write_summary(terminalreporter.stats, terminalreporter.write_line)

    def pytest_unconfigure(self, config: pytest.Config) -> None:
        """Say it likewise where pytest-rich reports, which asks no plugin for its summary."""
        write = live.writer(config)
        if live.rich_reporter(config) is not None and write is not None:
            self._write_summary({}, write)

    def _write_summary(
        self, stats: Mapping[str, Sequence[Any]], write: Callable[[str], object]
    ) -> None:
        if terminal.is_silent(self._config):
            return
        images = self._config.stash[IMAGES]
        verbose = terminal.verbosity(self._config) > 0
        for line in matrix.tables(stats, images, verbose=verbose):
            write(line)
        told, leaks, _ = self._summary
        if leaks:
            write("dind: left behind in the daemon (--dind-leaks):")
        for line in leaks:
            write(f"  {line}")
        told = [one for one in told if one[1] not in self._header]
        for line in terminal.shortened(told, verbose=verbose):
            write(line)
