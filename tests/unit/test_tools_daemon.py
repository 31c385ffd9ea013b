"""Starting a dockerd, telling it from others, and the processes of the machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

import _console
import _daemon
import _processes


def test_a_problem_has_three_parts() -> None:
    """What failed, the evidence and the remedy stand on lines of their own, indented."""
    text = str(_console.Problem("it failed", "line 1\nline 2\n", "do this"))
    assert text == "it failed\n  seen: line 1\n    line 2\n  to fix: do this"


def test_a_program_that_fails_is_reported_with_its_last_lines() -> None:
    """The status, the command and what it said last are the evidence."""
    script = "for i in $(seq 40); do echo line $i; done; echo broken >&2; exit 3"
    with pytest.raises(_console.Problem) as caught, _console.step("working") as shown:
        _console.run(["sh", "-c", script], shown, what="it failed", remedy="do this")
    assert "exit status 3 of: sh -c" in caught.value.evidence
    assert caught.value.evidence.endswith("line 40\nbroken")
    assert "line 20\n" not in caught.value.evidence
    assert (caught.value.what, caught.value.remedy) == ("it failed", "do this")


def test_long_work_shows_how_it_goes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Once the interval is over the last thing said is shown, with the time it took so far."""
    monkeypatch.setattr(_console, "PROGRESS_SECONDS", 0.01)
    with _console.step("working") as shown:
        shown.detail = "half done"
        while "half done" not in (output := capsys.readouterr().out):
            os.sched_yield()
    assert "0 s  half done" in output
    assert "done after" in capsys.readouterr().out


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_process_is_told_from_a_later_one_with_its_pid() -> None:
    """The pid alone is not enough: start time and boot must agree."""
    mine = _processes.identify(os.getpid())
    assert mine is not None
    assert _processes.is_alive(mine)
    assert not _processes.is_alive(_processes.Identity(mine.pid, mine.started + 1, mine.boot))
    assert not _processes.is_alive(_processes.Identity(mine.pid, mine.started, "another boot"))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_process_that_ignores_the_request_is_killed() -> None:
    """Stopping asks first, waits its patience, and then kills; a zombie counts as ended."""
    script = "trap '' TERM; echo ready; while :; do sleep 60; done"
    command = ["sh", "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        identity = _processes.identify(process.pid)
        assert identity is not None
        assert _processes.stop(identity, patience=0.1)
        os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL


def test_odd_process_names_do_not_shift_the_fields() -> None:
    """A name with blanks and brackets, as anyone may choose, is skipped as a whole."""
    assert _processes.stat_fields("7 (a) b (c)) S 1 2") == ["S", "1", "2"]


@pytest.mark.parametrize("state", [None, "", "[]", '{"dockerd": 5}', '{"dockerd": {"pid": 1}}'])
def test_a_state_that_cannot_be_read_makes_nothing_ours(tmp_path: Path, state: str | None) -> None:
    """What is not surely ours is not ours to stop."""
    places = _daemon.Places(tmp_path)
    if state is not None:
        places.state.write_text(state)
    assert _daemon.ours(places) == {}


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_what_was_noted_is_ours_as_long_as_it_lives(tmp_path: Path) -> None:
    """The noted process is found again; one that a reused pid stands for is not."""
    places = _daemon.Places(tmp_path, exec_root=tmp_path)
    _daemon.note(places, os.getpid())
    assert _daemon.ours(places) == {"dockerd": _processes.identify(os.getpid())}
    noted = json.loads(places.state.read_text())
    noted["dockerd"]["started"] += 1
    places.state.write_text(json.dumps(noted))
    assert _daemon.ours(places) == {}


def test_a_daemon_that_exits_is_reported_at_once(tmp_path: Path) -> None:
    """The exit status and the end of the log come at once, not after the time-out."""
    places = _daemon.Places(tmp_path, f"unix://{tmp_path}/none.sock")
    process = _daemon.launch(["sh", "-c", "echo no iptables >&2; exit 4"], places, {})
    with pytest.raises(_console.Problem, match="exited with status 4 before") as caught:
        _daemon.wait_until_healthy(process, places)
    assert caught.value.evidence == "no iptables"
    assert str(places.log) in caught.value.remedy


def test_a_daemon_that_never_answers_is_told_from_one_that_exits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the deadline the error says that it runs, and what asking it gave."""
    monkeypatch.setattr(_daemon, "HEALTHY_SECONDS", 0.0)
    places = _daemon.Places(tmp_path, f"unix://{tmp_path}/none.sock")
    process = _daemon.launch(["tail", "-f", "/dev/null"], places, {"PATH": os.environ["PATH"]})
    places.log.write_text("waiting for containerd")
    try:
        with pytest.raises(_console.Problem, match="runs, but does not answer") as caught:
            _daemon.wait_until_healthy(process, places)
    finally:
        _console.end(process, signal.SIGKILL)
    assert "No such file" in caught.value.evidence
    assert "waiting for containerd" in caught.value.evidence


def test_a_machine_without_dockerd_is_told_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The missing program and the package that has it are named."""
    monkeypatch.setattr(_daemon, "program", lambda name: None if name == "runc" else "/bin/x")
    with pytest.raises(_console.Problem, match="dockerd can't be started") as caught:
        _daemon.prepare(_daemon.Places(tmp_path))
    assert caught.value.evidence == "dockerd is /bin/x, runc is missing"
    assert "apt-get install docker.io" in caught.value.remedy
