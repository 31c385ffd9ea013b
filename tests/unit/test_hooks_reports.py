"""Which reports have sections on daemons, and what those do not show."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from pytest_dind import Settings
from pytest_dind.hooks.reports import Reports
from pytest_dind.lifetime.layout import Home
from pytest_dind.options import REPORT
from pytest_dind.recorder.sections import Report


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[Report]:
    """The reports that were made."""
    made: list[Report] = []

    def sections(report: Report, log: str, ended: Any) -> list[tuple[str, str]]:
        made.append(report)
        return [("dind log", log)]

    monkeypatch.setattr(Report, "sections", sections)
    monkeypatch.setattr(Report, "concerns", lambda report: False)
    return made


def _reports(tmp_path: Any, **settings: Any) -> Reports:
    record = SimpleNamespace(home=Home(tmp_path / "none"), host="unix:///nonexistent")
    daemon: Any = SimpleNamespace(record=record, name="main", mode="dind", logs=lambda: "its log")
    config: Any = SimpleNamespace(stash=pytest.Stash())
    reports = Reports(config, test="", wider=0)
    reports.attend(daemon, Settings(**settings))
    reports.begin_test("t::it")
    return reports


def _report(reports: Reports, when: str, outcome: str, *fixtures: str) -> list[Any]:
    item: Any = SimpleNamespace(fixturenames=[*fixtures])
    report = pytest.TestReport(
        "t::it", ("t", 1, "it"), {}, cast(Any, outcome), None, cast(Any, when)
    )
    reports.add(item, report)
    return report.sections


@pytest.mark.parametrize(
    ("logs", "when", "outcome", "fixture", "has"),
    [
        ("failed", "setup", "failed", "dind_client", True),
        ("failed", "call", "failed", "dind_client", True),
        ("failed", "teardown", "failed", "dind_client", True),
        ("failed", "call", "passed", "dind_client", False),
        ("failed", "call", "skipped", "dind_client", False),
        ("failed", "call", "failed", "tmp_path", False),
        ("failed", "call", "failed", "dind_factory", False),
        ("all", "call", "passed", "dind_client", True),
        ("all", "setup", "passed", "dind_client", False),
        ("all", "call", "skipped", "dind_client", False),
        ("off", "call", "failed", "dind_client", False),
    ],
)
def test_whose_report(
    tmp_path: Any, shown: list[Report], logs: str, when: str, outcome: str, fixture: str, has: bool
) -> None:
    """Those of tests that failed, or of all that ran, if they use the daemon."""
    reports = _reports(tmp_path, logs=logs)
    assert bool(_report(reports, when, outcome, fixture)) is has
    assert len(shown) == has
    reports.close()
    assert _report(reports, when, outcome, fixture) == []


def test_secrets(tmp_path: Any, shown: list[Report], monkeypatch: pytest.MonkeyPatch) -> None:
    """What `--dind-env` gives is masked, also what it takes from this process's environment."""
    monkeypatch.setenv("OTHER", "of the environment")
    reports = _reports(tmp_path, env=["TOKEN=of the option", "OTHER", "MISSING"])
    _report(reports, "call", "failed", "dind_client")
    reports.close()

    (report,) = shown
    assert report.secrets.mask("of the option, of the environment") == "***, ***"


def test_daemon_that_is_left(tmp_path: Any) -> None:
    """One that ends before the run does is told of in the report of the run, and its end too."""
    told: list[Any] = []

    class Told:
        """A report of a run."""

        secrets = None

        def hide(self, found: Any) -> None: ...

        def daemon(self, record: Any) -> None:
            told.append("begins")

        def take(self, daemon: str, news: Any, **texts: Any) -> None:
            told.append(news)

        def daemon_ended(self, daemon: str, moment: float) -> None:
            told.append((daemon, "ended"))

    home = tmp_path / "home"
    home.mkdir()
    record = SimpleNamespace(id="1", home=Home(home), host="unix:///nonexistent", certificates="")
    daemon: Any = SimpleNamespace(record=record, id="1", mode="dind")
    stash = pytest.Stash()
    stash[REPORT] = Told()
    reports = Reports(cast(Any, SimpleNamespace(stash=stash)), test="t::it", wider=0)
    reports.attend(daemon, Settings(logs="off"))
    recorder = reports.leave(daemon)
    assert recorder is not None
    recorder.close()

    assert told[:2] == ["begins", ([], [], [])]
    assert told[-1] == ("1", "ended")
    assert reports.leave(daemon) is None
