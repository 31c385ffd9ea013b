"""The sections on daemons in the reports of tests: pytest's side of the recorder."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from ..options import DAEMON_FIXTURES

if TYPE_CHECKING:
    from ..daemon.handle import Daemon
    from ..recorder.recorder import Recorder, Seen
    from ..recorder.text import Secrets
    from ..recorder.timeline import Timeline
    from ..settings import Settings
    from .reporting import Report as RunReport

_ALL, _OFF = "all", "off"
# The end of a container's log may still be on its way.
_REST_SECONDS = 0.5
FACTORY_FIXTURES = frozenset({"dind_factory"})


@dataclass(frozen=True)
class _Attended:
    """A daemon with its recorder, and the fixtures by which tests ask for it."""

    daemon: Daemon
    settings: Settings
    recorder: Recorder
    fixtures: frozenset[str]


class Reports:
    """The recorders of this process's daemons, and what reports say by them.

    Args:
        test: The test that runs, where one does.
        wider: How many fixtures are being set up that outlive the test, one in the other.
    """

    def __init__(self, *, test: str, wider: int) -> None:
        self._test = test
        self._wider = wider
        self._timeline: Timeline | None = None
        self._attended: list[_Attended] = []
        # A forked child has none of the threads.
        self._process = os.getpid()

    @staticmethod
    def load(settings: Settings) -> None:
        """Load what is needed once there is a daemon, while that starts."""
        if settings.logs != _OFF or settings.report:
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
        if settings.logs == _OFF and not settings.report:
            return
        from ..backends.registry import isolates
        from ..lifetime import labels
        from ..recorder.recorder import Recorder, Sharing
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
        recorder.start()

    def leave(self, daemon: Daemon) -> Recorder | None:
        """Attend to a daemon no more; return its recorder, which is to be closed, if it has one."""
        gone = [one for one in self._attended if one.daemon is daemon]
        self._attended = [one for one in self._attended if one.daemon is not daemon]
        return gone[0].recorder if gone else None

    def begin_test(self, test: str) -> None:
        """Attribute to this test what is made from here on."""
        self._test = test
        if self._timeline is None:
            return
        from ..daemon import waiting

        self._timeline.begin_test(test)
        waiting.IN_VAIN.clear()
        for one in self._attended:
            one.recorder.forget()

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
            wanted = (report.failed and one.settings.logs != _OFF) or (
                one.settings.logs == _ALL and report.passed and report.when == "call"
            )
            if wanted:
                report.sections += self._sections(item, one, self._timeline)

    def hand_over(self, to: RunReport) -> None:
        """Tell a run's report what happened in the daemons since the test began."""
        if self._timeline is None or os.getpid() != self._process:
            return
        from ..recorder.text import last_lines

        secrets = self._masked()
        for one in self._attended:
            lines = int(one.settings.log_lines)

            def log(seen: Seen, lines: int = lines) -> str:
                if seen.log is None:
                    return ""
                data, is_cut, _ = seen.log.result(_REST_SECONDS)
                return "\n".join(last_lines(data, lines, secrets, is_cut=is_cut))

            def health(seen: Seen, lines: int = lines) -> str:
                said = "\n".join(str(check.get("Output", "")) for check in seen.health)
                return "\n".join(last_lines(said, lines, secrets))

            recorded = one.recorder.since(self._timeline.began)
            to.take(one.daemon.id, recorded, log=log, health=health)

    def _sections(
        self, item: pytest.Item, one: _Attended, timeline: Timeline
    ) -> list[tuple[str, str]]:
        from ..daemon import waiting
        from ..recorder.sections import Report

        report = Report(
            name=one.daemon.name,
            recorder=one.recorder,
            test=timeline.test,
            began=timeline.began,
            lines=int(one.settings.log_lines),
            secrets=self._masked(),
            awaited=waiting.IN_VAIN,
        )
        names: Any = getattr(item, "fixturenames", ())
        if one.fixtures.isdisjoint(names) and not report.concerns():
            return []
        return report.sections(one.daemon.logs())

    def _masked(self) -> Secrets:
        """Return what no report may show: values of `--dind-env`, and the user's credentials."""
        from .. import validation
        from ..engine import credentials
        from ..recorder.text import Secrets

        values = credentials.secrets()
        for one in self._attended:
            for name, value in validation.variables(one.settings.env).items():
                values.append(os.environ.get(name, "") if value is None else value)
        return Secrets(values)

    def close(self) -> None:
        """End the recorders."""
        attended, self._attended, self._timeline = self._attended, [], None
        if os.getpid() == self._process:
            for one in attended:
                one.recorder.close()
