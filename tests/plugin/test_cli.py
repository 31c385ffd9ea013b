"""The command `pytest-dind`, as a program, without an engine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pytest_dind.__main__ import main
from pytest_dind.runs import inside, sweep

_NOBODY = "--host=unix:///nonexistent/docker.sock"


def _command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pytest_dind", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture(autouse=True)
def _temp(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(short_path))


@pytest.mark.parametrize(
    "arguments",
    [
        ["ps"],
        ["ps", "--json"],
        ["logs", "NAME"],
        ["shell", "NAME"],
        ["rm", "--all"],
        ["rm", "--stale"],
        ["rm", "NAME"],
    ],
)
def test_no_engine(arguments: list[str]) -> None:
    """Without an engine it says where it looked and what to do, on stderr, with exit code 1."""
    done = _command(*arguments, _NOBODY)

    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("The Docker engine at unix:///nonexistent/docker.sock cannot be")
    assert "There is no socket /nonexistent/docker.sock." in done.stderr
    assert "Start a Docker engine" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["logs"],
        ["shell"],
        ["shell", "--", "ls"],
        ["rm"],
        ["rm", "--all", "--stale"],
        ["rm", "--all", "NAME"],
        ["unheard-of"],
    ],
)
def test_usage(arguments: list[str]) -> None:
    """What makes no sense is a usage error, with exit code 2, before any engine is asked."""
    done = _command(*arguments)

    assert done.returncode == 2
    assert done.stderr.startswith("usage: pytest-dind ")


def test_installed_command() -> None:
    """It is installed as `pytest-dind`, too."""
    program = Path(sys.executable).with_name("pytest-dind")
    done = subprocess.run([program, "ps", _NOBODY], capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert done.stderr == _command("ps", _NOBODY).stderr


def test_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a Ctrl-C a command ends with the exit code that a shell has for it, in silence."""

    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sweep, "entries", interrupt)
    assert main(["ps"]) == 130
    assert main(["rm", "--all"]) == 130


@pytest.mark.parametrize(
    ("arguments", "flag"),
    [
        (["cache", "prune", "--size", "x"], "--size"),
        (["doctor", "--mode", "x"], "--mode"),
        (["doctor", "--image", ""], "--image"),
    ],
)
def test_bad_value(arguments: list[str], flag: str) -> None:
    """An error about a flag's value names the flag as the command has it, and no ini key."""
    done = _command(*arguments, _NOBODY)

    assert done.returncode == 1
    assert done.stderr.startswith(f"{flag}: ")
    assert f"- Give {flag} one of the valid values." in done.stderr
    assert "dind-" not in done.stderr.partition("Evidence")[0]
    assert "ini key" not in done.stderr


@pytest.mark.parametrize(
    "command",
    [
        ["ps"],
        ["logs", "x"],
        ["shell", "x"],
        ["rm", "x"],
        ["cache", "ls"],
        ["cache", "prune"],
        ["doctor"],
        ["doctor", "--json"],
    ],
)
@pytest.mark.parametrize("host", ["unix:///nonexistent/docker.sock", "no-such-context"])
def test_other_engine(command: list[str], host: str) -> None:
    """Where the engine can't be used, every command names its own flag for another one."""
    done = _command(*command, f"--host={host}")

    assert done.returncode == 1
    assert " --host " in done.stdout + done.stderr
    assert "--dind-host" not in done.stdout + done.stderr


@pytest.mark.parametrize("lines", ["-3", "some", "1.5", ""])
def test_lines_that_are_no_number(lines: str) -> None:
    """A number of lines that is none is a usage error."""
    done = _command("logs", "NAME", f"--tail={lines}", _NOBODY)

    assert done.returncode == 2
    assert "is not a number of lines" in done.stderr


def test_command_in_a_daemon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What follows `--` is the command for the daemon, flags of the same names and all."""
    entry = sweep.Entry("d", "dind", "me", 1.0, sweep.KEPT, Path("/nonexistent"))
    ran: list[list[str]] = []

    def shell(engine: object, entry: sweep.Entry, words: list[str]) -> int:
        ran.append(words)
        return 7

    monkeypatch.setattr(sweep, "entries", lambda *arguments: [entry])
    monkeypatch.setattr(inside, "shell", shell)
    assert main(["shell", "d", "--", "ls", "--host", "x", "--", "-h"]) == 7
    assert main(["shell", "d"]) == 7
    assert ran == [["ls", "--host", "x", "--", "-h"], []]
