"""The sections on daemons in the reports of tests: pytest's side of the recorder."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from ..options import DAEMON_FIXTURES, REPORT

if TYPE_CHECKING:
    from ..cluster.swarm import Swarm
    from ..daemon.handle import Daemon
    from ..kubernetes.handle import Kubernetes
    from ..recorder.recorder import Recorder
    from ..recorder.timeline import Timeline
    from ..settings import Settings
    from . import reporting

_ALL, _OFF = "all", "off"
FACTORY_FIXTURES = frozenset({"dind_factory"})


@dataclass(frozen=True)
class _Attended:
    """A daemon with its recorder, and the fixtures by which tests ask for it."""

    daemon: Daemon
    settings: Settings
    recorder: Recorder
    fixtures: frozenset[str]


@dataclass
class _Cluster:
    """A cluster, and what the report of the run has of it already."""

    handle: Kubernetes | Swarm
    settings: Settings
    told: dict[str, Any] = field(default_factory=dict)
    # By the names of namespaces.
    removed: dict[str, bool] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """What the report of the run knows it by."""
        daemons: list[str] = self.told["daemons"]
        return daemons[0]

    @property
    def kubernetes(self) -> Kubernetes | None:
        """The cluster, if it is one of Kubernetes: tasks of a swarm are containers of its nodes."""
        from ..kubernetes.handle import Kubernetes

        return self.handle if isinstance(self.handle, Kubernetes) else None


class Reports:
    """The recorders of this process's daemons, and what reports say by them.

    Args:
        config: pytest's configuration.
        test: The test that runs, where one does.
        wider: How many fixtures are being set up that outlive the test, one in the other.
    """

    def __init__(self, config: pytest.Config, *, test: str, wider: int) -> None:
        # That of the run, where one is asked for.
        self._report: reporting.Report | None = config.stash.get(REPORT, None)
        self._test = test
        self._wider = wider
        self._timeline: Timeline | None = None
        self._attended: list[_Attended] = []
        self._clusters: list[_Cluster] = []
        # By the ids of daemons that have ended: how they did.
        self._endings: dict[str, str] = {}
        # A forked child has none of the threads.
        self._process = os.getpid()

    def _records(self, settings: Settings) -> bool:
        return settings.logs != _OFF or self._report is not None

    def load(self, settings: Settings) -> None:
        """Load what is needed once there is a daemon, while that starts."""
        if self._records(settings):
            from ..recorder import sections  # noqa: F401

    def attend(
        self,
        daemon: Daemon,
        settings: Settings,
        *,
        fixtures: frozenset[str] = DAEMON_FIXTURES,
        is_shared: bool = False,
        maker: str = "",
    ) -> None:
        """Record what happens in a daemon from now on; does not wait for that.

        Args:
            daemon: The daemon.
            settings: Its settings.
            fixtures: The fixtures by which tests ask for it.
            is_shared: Whether other processes use it too.
            maker: What names this process in the label on what it makes; empty without a label.
        """
        if not self._records(settings):
            return
        from ..backends.registry import isolates
        from ..lifetime import labels
        from ..recorder.recorder import Recorder, Sharing
        from ..recorder.text import values_given
        from ..recorder.timeline import Timeline

        sharing = Sharing(is_shared, maker)
        if not isolates(daemon.mode):
            # Of the machine's own engine, containers alone tell by their labels whose they are.
            home = str(daemon.record.home.path)
            required = {labels.HOME: home, labels.ROLE: "container"}
            sharing = Sharing(is_shared, maker, required, ("container",))
        if self._timeline is None:
            self._timeline = Timeline(self._test, self._wider)
        lines = int(settings.log_lines)
        recorder = Recorder(daemon.record, self._timeline, sharing, lines)
        self._attended.append(_Attended(daemon, settings, recorder, fixtures))
        if self._report is not None:
            self._report.hide(values_given([settings]))
            self._report.daemon(daemon.record)
        recorder.start()

    def attend_cluster(self, cluster: Kubernetes | Swarm, settings: Settings, began: float) -> None:
        """Report what happens in a cluster from now on, when it is ready.

        Args:
            cluster: The cluster, whose daemons are attended already.
            settings: Their settings.
            began: When its start began, as `time.time` has it.
        """
        if not self._records(settings):
            return
        found = _Cluster(cluster, settings, cluster._facts())
        self._clusters.append(found)
        if self._report is not None:
            of_kubernetes = found.kubernetes
            version = {"version": of_kubernetes.version} if of_kubernetes is not None else {}
            self._report.cluster(found.id, name=cluster.name, **found.told, **version)
            self._report.cluster_ready(found.id, began, time.time())

    def leave(self, daemon: Daemon) -> Recorder | None:
        """Attend to a daemon no more, which is about to end; may ask it for the last time.

        Returns:
            Its recorder, which is to be closed, if it has one.
        """
        gone = [one for one in self._attended if one.daemon is daemon]
        self._attended = [one for one in self._attended if one.daemon is not daemon]
        for one in gone:
            if self._report is not None:
                self._hand_over(one, self._report, last=True)
                self._report.daemon_ended(daemon.id, time.time())
        return gone[0].recorder if gone else None

    def begin_test(self, test: str) -> None:
        """Attribute to this test what is made from here on."""
        self._test = test
        if self._timeline is None:
            return
        from ..daemon import waiting

        self._timeline.begin_test(test)
        waiting.IN_VAIN.clear()
        self._turn()

    def count_wider(self, more: int) -> None:
        """Note that the set-up of a fixture of a wider scope begins (1), or has ended (-1)."""
        self._wider += more
        if self._timeline is not None:
            self._timeline.count_wider(more)

    def add(self, item: pytest.Item, report: pytest.TestReport) -> None:
        """Add the sections to the report of a test that failed, or of each as is asked for."""
        if self._timeline is None or os.getpid() != self._process:
            return
        for one in self._attended:
            logs = one.settings.logs
            wanted = (report.failed and logs != _OFF) or (
                logs == _ALL and report.passed and report.when == "call"
            )
            if wanted:
                report.sections += self._sections(item, one, self._timeline)
        for cluster in self._clusters:
            logs = cluster.settings.logs
            shows = (report.failed and logs != _OFF) or (
                logs == _ALL and report.passed and report.when == "call"
            )
            if shows or (report.failed and self._report is not None):
                found = self._pods(item, cluster, self._timeline)
                report.sections += found if shows else []

    def _pods(
        self, item: pytest.Item, cluster: _Cluster, timeline: Timeline
    ) -> list[tuple[str, str]]:
        """Return the sections on the pods of the test's namespaces; has the run's report have them.

        Those are what the test made and what fixtures of a wider scope made, or else the default
        one.
        """
        handle = cluster.kubernetes
        if handle is None:
            return []
        makers = {
            one.name: timeline.maker(one.made) for one in handle._lifetimes() if one.removed is None
        }
        names: Any = getattr(item, "fixturenames", ())
        if FACTORY_FIXTURES.isdisjoint(names) and timeline.test not in makers.values():
            return []
        from ..recorder import pods
        from ..recorder.text import secrets_of

        chosen = [name for name, maker in makers.items() if maker in (timeline.test, "")]
        found = pods.sections(
            handle._members.api,
            handle.name,
            chosen or ["default"],
            int(cluster.settings.log_lines),
            secrets_of(each.settings for each in self._attended),
        )
        if self._report is not None:
            self._tell_of(cluster, self._report)
            for name, parts in found.items():
                text = "\n".join(f"{title}\n{text}" for title, text in parts)
                self._report.namespace(cluster.id, name, log=text or None)
        return [section for parts in found.values() for section in parts]

    def _sections(
        self, item: pytest.Item, one: _Attended, timeline: Timeline
    ) -> list[tuple[str, str]]:
        from ..daemon import waiting
        from ..recorder.sections import Report
        from ..recorder.text import secrets_of

        report = Report(
            name=one.daemon.name,
            recorder=one.recorder,
            test=timeline.test,
            began=timeline.began,
            lines=int(one.settings.log_lines),
            secrets=secrets_of(each.settings for each in self._attended),
            awaited=waiting.IN_VAIN,
        )
        names: Any = getattr(item, "fixturenames", ())
        if one.fixtures.isdisjoint(names) and not report.concerns():
            return []
        return report.sections(one.daemon.logs(), partial(self._ended, one.daemon))

    def _ended(self, daemon: Daemon) -> str:
        """Return how a daemon ended; empty where it has not."""
        from ..daemon import loss

        if daemon.id not in self._endings:
            ending = loss.ending(daemon.record, daemon._backend, asks=True)
            if ending is None:
                return ""
            # Later tests that need it fail at once: its engine is not asked again for each.
            self._endings[daemon.id] = ending.text
        return self._endings[daemon.id]

    def finish(self) -> None:
        """Hand over to the report of the run what is known in the end; may ask the daemons."""
        if self._report is not None and os.getpid() == self._process:
            self._turn(last=True)

    def _turn(self, *, last: bool = False) -> None:
        """Hand over to the report of the run what became known since; without one, forget it."""
        if self._report is not None:
            for cluster in self._clusters:
                self._tell_of(cluster, self._report)
        for one in self._attended:
            if self._report is None:
                one.recorder.turn()
            else:
                self._hand_over(one, self._report, last=last)

    def _tell_of(self, cluster: _Cluster, report: reporting.Report) -> None:
        """Hand over what became known of a cluster: its nodes, and namespaces."""
        facts = cluster.handle._facts()
        if facts["nodes"] and facts["nodes"] != cluster.told["nodes"]:
            report.cluster(cluster.id, nodes=facts["nodes"])
            cluster.told |= {"nodes": facts["nodes"]}
        timeline, handle = self._timeline, cluster.kubernetes
        if timeline is None or handle is None:
            return
        for one in handle._lifetimes():
            is_removed = one.removed is not None
            if cluster.removed.get(one.name) != is_removed:
                cluster.removed[one.name] = is_removed
                maker = timeline.maker(one.made)
                report.namespace(cluster.id, one.name, test=maker, times=(one.made, one.removed))

    def _hand_over(self, one: _Attended, report: reporting.Report, *, last: bool) -> None:
        """Hand over what became known of a daemon.

        Args:
            one: The daemon.
            report: The report of the run.
            last: Whether nothing is handed over later.
        """
        from ..recorder import sections

        recorder, lines = one.recorder, int(one.settings.log_lines)
        report.take(
            recorder.record.id,
            recorder.turn(last=last),
            log=partial(sections.kept_log, secrets=report.secrets, lines=lines, waits=last),
            health=partial(sections.last_checks, secrets=report.secrets),
        )
        ended = recorder.ended(asks=last)
        if ended is not None:
            report.daemon_ended(recorder.record.id, ended)

    def close(self) -> None:
        """End the recorders."""
        attended, self._attended, self._timeline = self._attended, [], None
        self._clusters = []
        if os.getpid() == self._process:
            for one in attended:
                one.recorder.close()
