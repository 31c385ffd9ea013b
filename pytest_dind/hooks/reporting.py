"""pytest's side of a run's report (`--dind-report`): what the hooks know goes to its journal."""

from __future__ import annotations

import importlib.metadata
import platform
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from ..errors import DindError
from ..lifetime import layout
from ..options import DAEMON_FIXTURES, REPORT, SETTINGS
from ..report import journal
from ..report.journal import Journal

if TYPE_CHECKING:
    from ..backends.protocol import Record
    from ..recorder.text import Secrets

_NAME = "dind-report"
_XDIST_KEY = "pytest_dind_report"
_DAEMON_HOOKS = "dind-daemon-hooks"
MAIN = "main"
"""The name of the process of a run without xdist, as a worker."""
_OUTCOMES = ("passed", "skipped", "xfailed", "xpassed", "failed", "error", "rerun")
"""Those of a phase: the one that comes later here is the test's, whichever phase comes first."""
_RUNNING, _CRASHED = "running", "crashed"


# What is made, and has a list of its own, by what recorders call it; containers are handed over.
_LISTS = {"image": "images", "network": "networks", "volume": "volumes"}
# Kinds whose entries have names of tests or of daemons in their ids, and nothing that is a secret.
_PLAIN = ("run", "workers", "daemons", "clusters", "tests")
_TEXTS = ("name", "image", "text", "message", "log", "health")
_IMAGE_ACTIONS = {"pull": "pulled", "load": "loaded", "import": "loaded", "tag": "built"}


class Happening(Protocol):
    """An event in a daemon, as a recorder tells it."""

    @property
    def at(self) -> float:
        """When it was, as `time.time` has it."""

    @property
    def maker(self) -> str | None:
        """The test that ran then; empty for a wider fixture, None where that isn't known."""

    @property
    def text(self) -> str:
        """What happened to what: `network NAME: create`, `image NAME: pull`."""

    @property
    def is_known(self) -> bool:
        """Whether the maker is known; else another process may have made it."""

    @property
    def kind(self) -> str:
        """What it happened to: a container, an image, a network or a volume."""

    @property
    def thing(self) -> str:
        """The id of that."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def action(self) -> str:
        """What happened."""

    @property
    def id(self) -> str:
        """The same in each process that tells of it, and of no other event."""


class Gap(Protocol):
    """A time for which a recorder knows nothing."""

    @property
    def since(self) -> float:
        """When it began."""

    @property
    def until(self) -> float:
        """When it ended."""


class Container(Protocol):
    """What a recorder knows of a nested container; times are those of `time.time`."""

    @property
    def id(self) -> str:
        """Its id."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def image(self) -> str:
        """Its image."""

    @property
    def maker(self) -> str | None:
        """The test that made it; empty for a wider fixture, None where that isn't known."""

    @property
    def is_known(self) -> bool:
        """Whether the maker is known; else another process may have made it."""

    @property
    def made(self) -> float:
        """When it was made."""

    @property
    def started(self) -> float | None:
        """When it was started last; None before."""

    @property
    def ended(self) -> float | None:
        """When it ended; None while it runs, and before."""

    @property
    def exit_code(self) -> int | None:
        """The code it ended with."""

    @property
    def is_oom(self) -> bool:
        """Whether something in it was killed for want of memory."""

    @property
    def is_gone(self) -> bool:
        """Whether it was removed."""


def begin(config: pytest.Config, path: str) -> None:
    """Begin the report of a run, or take part in that of the process that has workers.

    Raises:
        SettingsError: it can't be written.
    """
    given = getattr(config, "workerinput", None)
    if given is None:
        made = Journal(journal.begin(path), time.time())
    elif _XDIST_KEY in given:
        found, began = given[_XDIST_KEY]
        # On another machine there is no such file: of its tests, the others know the outcome.
        try:
            made = Journal(found, began)
        except OSError:
            return
    else:
        return
    report = Report(config, made, given["workerid"] if given else MAIN)
    if given is None:
        report.tell_of_run()
    config.stash[REPORT] = report
    config.pluginmanager.register(report, _NAME)


class Report:
    """The part of a run's report that this process writes.

    The object is a pytest plugin. What isn't known by pytest's hooks is handed over by methods of
    it: `config.stash[options.REPORT]`, where the run has a report.

    Args:
        config: pytest's configuration.
        made: What it is written to.
        worker: This process's name: that of xdist's worker, or `MAIN`.
    """

    def __init__(self, config: pytest.Config, made: Journal, worker: str) -> None:
        self.journal = made
        self._config = config
        self._worker = worker
        self._is_first = not hasattr(config, "workerinput")
        self._runs_tests = False
        # The test that runs: its entry's name, and how often each test has begun.
        self._test = ""
        self._begun: dict[str, int] = {}
        self._phases: list[dict[str, Any]] = []
        self._outcome = _RUNNING
        self._daemons: dict[str, Record] = {}
        self._told = ""
        self._ended: set[str] = set()
        # The daemons of each cluster that have not ended, by its id.
        self._nodes: dict[str, set[str]] = {}
        self._secrets: set[str] = set()
        self._masks: Secrets | None = None
        # The entries of what is there, by daemon, kind and id: names come again.
        self._made: dict[tuple[str, str, str], str] = {}

    def hide(self, secrets: Iterable[str]) -> None:
        """Have no text show these from now on."""
        new = set(secrets)
        if not new <= self._secrets:
            self._secrets |= new
            self._masks = None

    @property
    def secrets(self) -> Secrets:
        """What no text shows: what `--dind-env` gives, credentials, and what `hide` was told."""
        if self._masks is None:
            from ..recorder.text import secrets_of

            self._masks = secrets_of([self._config.stash[SETTINGS]], self._secrets)
        return self._masks

    def _masked(self, text: str) -> str:
        return self.secrets.mask(text)

    def _put(self, kind: str, name: str, /, **facts: Any) -> None:
        """Add facts on something, without secrets in its texts."""
        if kind not in _PLAIN:
            name = self._masked(name)
        for key in _TEXTS:
            if isinstance(facts.get(key), str):
                facts[key] = self._masked(facts[key])
        self.journal.put(kind, name, **facts)

    # the run

    def tell_of_run(self) -> None:
        """Tell what runs."""
        began = datetime.fromtimestamp(self.journal.began, timezone.utc)
        self.journal.put(
            "run",
            "",
            started=began.isoformat(timespec="milliseconds"),
            plugin=importlib.metadata.version("pytest-dind"),
            pytest=pytest.__version__,
            python=platform.python_version(),
            platform=platform.platform(),
            project=self._config.rootpath.name,
        )

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Let an xdist worker append to the report."""
        node.workerinput[_XDIST_KEY] = (str(self.journal.path), self.journal.began)

    # Around that of `DaemonHooks`, which comes to be later, and within that of pytest's terminal.
    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_sessionfinish(self, exitstatus: int) -> Generator[None, None, None]:
        """Tell how the run ended, and finish the report when the other processes have ended."""
        self._look_for_daemons()
        try:
            return (yield)
        finally:
            if self._is_first:
                status = int(exitstatus)
                self.journal.put("run", "", end=self._now(), exit_status=status)
                self._finish()
            self.journal.close()

    def _finish(self) -> None:
        try:
            self.journal.finish()
            error = self.journal.error
        except (OSError, DindError) as failed:
            error = str(failed)
        where = f"dind: report in {self.journal.path}"
        self._told = f"{where}, but not all of it could be written: {error}" if error else where

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say where the report is."""
        if self._told:
            terminalreporter.write_line(self._told)

    # the tests

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Tell that a test begins in this process."""
        if self._config.pluginmanager.has_plugin("dsession"):
            return
        if not self._runs_tests:
            self._runs_tests = True
            self.journal.put("workers", self._worker, start=self._now())
        count = self._begun[nodeid] = self._begun.get(nodeid, 0) + 1
        self._test = f"{self._worker} {nodeid}" + (f" #{count}" if count > 1 else "")
        self._phases, self._outcome = [], _RUNNING
        self.journal.put(
            "tests",
            self._test,
            nodeid=nodeid,
            worker=self._worker,
            start=self._now(),
            outcome=self._outcome,
        )

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Tell how a phase of a test went; of workers only that one crashed, which it can't."""
        node = getattr(report, "node", None)
        if node is not None:
            if report.when not in ("setup", "call", "teardown"):
                name = f"{node.gateway.id} {report.nodeid}"
                text = {"message": report.longreprtext}
                self._put("tests", name, outcome=_CRASHED, end=self._now(), **text)
            return
        if not self._test:
            return
        outcome = _outcome(report)
        if self._outcome == _RUNNING or _rank(outcome) > _rank(self._outcome):
            self._outcome = outcome
        end = getattr(report, "stop", None) or time.time()
        start = getattr(report, "start", None) or end - report.duration
        seconds = round(report.duration, 4)
        self._phases.append(
            {
                "name": report.when,
                "start": self.journal.at(start),
                "seconds": seconds,
                "outcome": outcome,
            }
        )
        facts: dict[str, Any] = {"message": report.longreprtext} if report.longrepr else {}
        self._look_for_daemons()
        # Older releases of pytest-rerunfailures tell of no teardown before the next try.
        if report.when == "teardown" or outcome == "rerun":
            facts |= {"end": self.journal.at(end), "outcome": self._outcome}
        self._put("tests", self._test, phases=self._phases, **facts)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> None:
        """Tell which daemons a test could reach."""
        names = getattr(item, "fixturenames", ())
        hooks: Any = self._config.pluginmanager.get_plugin(_DAEMON_HOOKS)
        if hooks is not None and self._test:
            reached = hooks.records(
                own=not DAEMON_FIXTURES.isdisjoint(names), factories="dind_factory" in names
            )
            if reached:
                self.journal.put("tests", self._test, daemons=[record.id for record in reached])

    # the daemons

    def _look_for_daemons(self) -> None:
        """Tell of the daemons that this process uses, and that are not told of yet."""
        hooks: Any = self._config.pluginmanager.get_plugin(_DAEMON_HOOKS)
        for record in hooks.records() if hooks is not None else ():
            self.daemon(record)

    def daemon(self, record: Record) -> None:
        """Tell of a daemon that this process uses, unless it is told of already."""
        if record.id in self._daemons:
            return
        self._daemons[record.id] = record
        facts: dict[str, Any] = {}
        # Its record is written as it is ready, by the process that starts it.
        with suppress(OSError):
            ready = (record.home.path / layout.STATE).stat().st_mtime
            start = ready - record.seconds
            began = start - record.pulled
            if began >= self.journal.began:
                facts = {"start": self.journal.at(began), "phases": []}
                for name, since, seconds in (
                    ("pull", began, record.pulled),
                    ("start", start, record.seconds),
                ):
                    if seconds:
                        at = self.journal.at(since)
                        phase = {"name": name, "start": at, "seconds": round(seconds, 4)}
                        facts["phases"].append(phase)
                facts["ready"] = self.journal.at(ready)
        self.journal.put(
            "daemons",
            record.id,
            name=record.home.name,
            mode=record.mode,
            version=record.version,
            driver=record.driver,
            # One that was there before the run began.
            reused=not facts,
            **facts,
        )

    def daemons_end(self, records: Iterable[Record], kept: Iterable[Record]) -> None:
        """Tell which daemons have ended, as this process leaves the run, and which stay."""
        stay = {record.id for record in kept}
        for record in records:
            self.daemon(record)
            self.daemon_ended(record.id, time.time(), kept=record.id in stay)

    def daemon_ended(self, daemon: str, moment: float, *, kept: bool = False) -> None:
        """Tell when a daemon ended, or when this process has left it, as `time.time` has it."""
        if daemon not in self._ended:
            self._ended.add(daemon)
            end = self.journal.at(moment)
            self.journal.put("daemons", daemon, end=end, kept=kept)
            for cluster, left in self._nodes.items():
                if left == {daemon}:
                    self.journal.put("clusters", cluster, end=end)
                left.discard(daemon)

    # the clusters

    def cluster(self, cluster: str, **facts: Any) -> None:
        """Tell facts on a cluster, as the schema names them.

        Args:
            cluster: What it is known by.
            facts: The facts.
        """
        if "daemons" in facts:
            self._nodes[cluster] = set(facts["daemons"])
        self._put("clusters", cluster, worker=self._worker, **facts)

    def cluster_ready(self, cluster: str, began: float, ready: float) -> None:
        """Tell when a cluster's start began and when it was ready, as `time.time` has it."""
        at = self.journal.at
        self.journal.put("clusters", cluster, start=at(began), ready=at(ready))

    def namespace(
        self,
        cluster: str,
        name: str,
        *,
        test: str | None = None,
        times: tuple[float | None, float | None] = (None, None),
        log: str | None = None,
    ) -> None:
        """Tell of a namespace of a Kubernetes cluster; may be called again as more is known.

        Args:
            cluster: What the cluster is known by.
            name: The namespace's name.
            test: The test that made it; empty for a wider fixture, None where that isn't known.
            times: When it was made, and when its removal began, as `time.time` has it.
            log: What there is to say of its pods that are not well, without secrets.
        """
        at = self.journal.at
        self._put(
            "namespaces",
            f"{cluster} {name}",
            name=name,
            cluster=cluster,
            worker=self._worker,
            test=test,
            start=at(times[0]),
            end=at(times[1]),
            log=log,
        )

    # what others hand over

    def left(self, test: str, found: Sequence[str]) -> None:
        """Tell what a test has left in the daemon: a kind and a name in each text.

        Args:
            test: The test; empty for the fixtures that outlive tests.
            found: The texts.
        """
        for text in found:
            kind, _, rest = text.partition(" ")
            self._put(
                "leaks",
                f"{self._worker} {test} {text}",
                at=self._now(),
                test=test,
                worker=self._worker,
                kind=kind,
                name=rest.partition(" ")[0],
                text=text,
            )

    def take(
        self,
        daemon: str,
        recorded: tuple[Iterable[Container], Iterable[Happening], Iterable[Gap]],
        *,
        log: Callable[[Any], str],
        health: Callable[[Any], str],
    ) -> None:
        """Tell what a recorder knows of a daemon; what is told again, by others too, counts once.

        Args:
            daemon: The id of the daemon's record.
            recorded: The containers, what happened, and the times for which nothing is known.
            log: Gives the last lines that a container wrote, without secrets.
            health: Gives the last outputs of its health checks, without secrets.
        """
        containers, happenings, gaps = recorded
        for seen in containers:
            self.container(daemon, seen, log=log(seen), health=health(seen))
        for one in happenings:
            self._happened(daemon, one)
        for gap in gaps:
            self.gap(daemon, gap.since, gap.until, "the events of the daemon broke off")

    def _happened(self, daemon: str, one: Happening) -> None:
        test = one.maker if one.is_known else None
        at = self.journal.at(one.at)
        self._put("events", f"{daemon} {one.id}", daemon=daemon, at=at, text=one.text, test=test)
        kind = _LISTS.get(one.kind, "")
        if not kind:
            return
        entry, thing = f"{daemon} {one.id}", (daemon, kind, one.thing)
        facts = {
            "name": one.name,
            "daemon": daemon,
            "test": test,
            "worker": self._worker if one.is_known else None,
        }
        if kind == "images":
            if one.action in _IMAGE_ACTIONS:
                action = _IMAGE_ACTIONS[one.action]
                self._put(kind, entry, action=action, start=at, end=at, **facts)
        elif one.action == "create":
            self._made[thing] = entry
            self._put(kind, entry, start=at, **facts)
        elif one.action == "destroy" and thing in self._made:
            self.journal.put(kind, self._masked(self._made.pop(thing)), end=at)

    def container(self, daemon: str, seen: Container, *, log: str = "", health: str = "") -> None:
        """Tell what is known of a nested container; may be called again as more is.

        Args:
            daemon: The id of the daemon's record.
            seen: The container.
            log: The last lines that it wrote, without secrets.
            health: The last outputs of its health checks, without secrets.
        """
        at = self.journal.at
        self._put(
            "containers",
            seen.id,
            name=seen.name,
            image=seen.image,
            daemon=daemon,
            worker=self._worker if seen.is_known else None,
            test=seen.maker if seen.is_known else None,
            created=at(seen.made),
            started=at(seen.started),
            ended=at(seen.ended),
            exit_code=seen.exit_code,
            oom=seen.is_oom,
            removed=seen.is_gone,
            log=log or None,
            health=health or None,
        )

    def gap(self, daemon: str, since: float, until: float, text: str) -> None:
        """Tell of a time in which something in a daemon may have been missed."""
        start, end = self.journal.at(since), self.journal.at(until)
        name = f"{self._worker} {daemon} {start}"
        self._put("gaps", name, daemon=daemon, start=start, end=end, text=text)

    def _now(self) -> float | None:
        return self.journal.at(time.time())


def _outcome(report: pytest.TestReport) -> str:
    """Return the outcome of a phase, as pytest's summary would count it."""
    if hasattr(report, "wasxfail"):
        return "xfailed" if report.skipped else "xpassed"
    # Of pytest-rerunfailures, where the test is to run again: "rerun".
    if report.failed and report.when != "call":
        return "error"
    return report.outcome


def _rank(outcome: str) -> int:
    """Return a number that is greater for what matters more; 0 for what others invent."""
    return _OUTCOMES.index(outcome) if outcome in _OUTCOMES else 0


def is_wanted(config: pytest.Config) -> bool:
    """Tell whether this process runs tests, or has workers that do: others have no report."""
    option = config.option
    plans = ("collectonly", "setupplan", "showfixtures", "show_fixtures_per_test", "markers")
    return not any(getattr(option, name, False) for name in plans)
