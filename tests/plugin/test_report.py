"""`--dind-report` in whole runs of pytest that need no engine."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pytest_dind.__main__ import main
from pytest_dind.report import document

from ..support import until

_NOBODY = "--dind-host=unix:///nonexistent/docker.sock"


@pytest.fixture(autouse=True)
def _temp(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(short_path))


def _data(pytester: pytest.Pytester) -> dict[str, Any]:
    """The data of the run that was."""
    found: dict[str, Any] = json.loads((pytester.path / "report.html.json").read_text())
    return found


@pytest.mark.parametrize("workers", [[], ["-n2"]], ids=["alone", "xdist"])
def test_outcomes(pytester: pytest.Pytester, workers: list[str]) -> None:
    """Each test is in the report, with its worker, its phases and its outcome."""
    pytester.makepyfile(
        """
        import pytest

        @pytest.fixture
        def broken(): raise RuntimeError("no luck")

        @pytest.fixture
        def dropped():
            yield
            raise RuntimeError("it broke")

        def test_passed(): pass
        def test_failed(): assert 1 == 2
        def test_error(broken): pass
        def test_late(dropped): pass
        def test_skipped(): pytest.skip("not today")
        @pytest.mark.xfail
        def test_xfailed(): assert 0
        @pytest.mark.xfail
        def test_xpassed(): pass
        def test_unavailable(dind_client): pass
        """
    )
    result = pytester.runpytest_subprocess("--dind-report=report.html", _NOBODY, *workers)

    found = _data(pytester)
    tests = {one["nodeid"].partition("::test_")[2]: one for one in found["tests"]}
    assert {name: one["outcome"] for name, one in tests.items()} == {
        **{name: name for name in ("passed", "failed", "error", "skipped", "xfailed", "xpassed")},
        "late": "error",
        "unavailable": "error",
    }
    names = {"main"} if not workers else {"gw0", "gw1"}
    assert {one["worker"] for one in found["tests"]} <= names
    assert {one["id"] for one in found["workers"]} <= names
    assert [phase["name"] for phase in tests["passed"]["phases"]] == ["setup", "call", "teardown"]
    assert 0 <= tests["failed"]["start"] <= tests["failed"]["end"] <= found["run"]["end"]
    assert "assert 1 == 2" in tests["failed"]["message"]
    assert "not today" in tests["skipped"]["message"]
    assert found["run"]["exit_status"] == 1
    result.stdout.fnmatch_lines([f"dind: report in {pytester.path / 'report.html'}"])
    assert document.read(pytester.path / "report.html") == found


def test_reruns(pytester: pytest.Pytester) -> None:
    """A test that runs again is there once for each try."""
    pytester.makepyfile(
        """
        tries = []

        def test_it():
            tries.append(1)
            assert len(tries) > 1
        """
    )
    pytester.runpytest_subprocess("--dind-report=report.html", "--reruns=1")

    first, second = _data(pytester)["tests"]
    assert (first["outcome"], second["outcome"]) == ("rerun", "passed")
    assert first["nodeid"] == second["nodeid"]
    assert first["id"] != second["id"]


def test_crashed_worker(pytester: pytest.Pytester) -> None:
    """Of a test that killed its worker it is told that it crashed; the others are there too."""
    pytester.makepyfile("import os\ndef test_a(): os._exit(1)\ndef test_b(): pass")
    pytester.runpytest_subprocess("--dind-report=report.html", "-n1")

    outcomes = {one["nodeid"][-6:]: one["outcome"] for one in _data(pytester)["tests"]}
    assert outcomes == {"test_a": "crashed", "test_b": "passed"}


def test_killed(pytester: pytest.Pytester, capsys: pytest.CaptureFixture[str]) -> None:
    """What was known when the run was killed opens, and is made data by the command."""
    pytester.makepyfile(
        """
        import pathlib, time

        def test_first(): pass

        def test_second():
            pathlib.Path("under-way").touch()
            time.sleep(300)
        """
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", "--dind-report=out/report.html", "-p", "no:randomly"],
        stdout=subprocess.DEVNULL,
    )
    until((pytester.path / "under-way").exists, 30, "the second test runs")
    process.send_signal(signal.SIGKILL)
    process.wait()

    page = pytester.path / "out" / "report.html"
    assert main(["report", str(page)]) == 0
    data = Path(capsys.readouterr().out.strip())
    assert data == page.with_name("report.html.json")
    found = json.loads(data.read_text())
    assert [one["outcome"] for one in found["tests"]] == ["passed", "running"]
    assert "end" not in found["run"]

    page.unlink()
    assert main(["report", str(data)]) == 0
    assert document.read(page) == found
    assert main(["report", str(data), "--output=/proc/x.html"]) == 1
    assert "can't be written" in capsys.readouterr().err


@pytest.mark.parametrize("workers", [[], ["-n2"]], ids=["alone", "xdist"])
def test_unwritable(pytester: pytest.Pytester, workers: list[str]) -> None:
    """A path that can't be written ends the run before any test."""
    pytester.makepyfile("def test_it(): open('ran', 'w')")
    result = pytester.runpytest_subprocess("--dind-report=/proc/report.html", *workers)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --dind-report: '/proc/report.html' can't be written."])
    assert not (pytester.path / "ran").exists()


@pytest.mark.parametrize("option", ["--collect-only", "--fixtures", "--setup-plan", "--help"])
def test_no_run(pytester: pytest.Pytester, option: str) -> None:
    """What runs no test leaves the report of the last run as it is."""
    pytester.makepyfile("def test_it(): pass")
    (pytester.path / "report.html").write_text("the last one")
    pytester.runpytest_subprocess("--dind-report=report.html", option)

    assert (pytester.path / "report.html").read_text() == "the last one"
