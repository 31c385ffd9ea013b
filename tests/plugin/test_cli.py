"""The command `pytest-dind`, as a program, without an engine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pytest_dind.__main__ import main
from pytest_dind.runs import sweep

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
    "arguments", [["ps"], ["ps", "--json"], ["rm", "--all"], ["rm", "--stale"], ["rm", "NAME"]]
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
    "arguments", [[], ["rm"], ["rm", "--all", "--stale"], ["rm", "--all", "NAME"], ["unheard-of"]]
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
    [["ps"], ["rm", "x"], ["cache", "ls"], ["cache", "prune"], ["doctor"], ["doctor", "--json"]],
)
@pytest.mark.parametrize("host", ["unix:///nonexistent/docker.sock", "no-such-context"])
def test_other_engine(command: list[str], host: str) -> None:
    """Where the engine can't be used, every command names its own flag for another one."""
    done = _command(*command, f"--host={host}")

    assert done.returncode == 1
    assert " --host " in done.stdout + done.stderr
    assert "--dind-host" not in done.stdout + done.stderr
