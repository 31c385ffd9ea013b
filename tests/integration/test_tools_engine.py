"""The engine for a bare machine, with the engine of this one; that one is never stopped."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import docker
import pytest

ENGINE = Path(__file__).parents[2] / "tools" / "engine.py"
IMAGES = ("pytest-dind/daemon:test", "pytest-dind/nested:test")


def start(*arguments: str) -> subprocess.Popen[str]:
    """Start the tool."""
    return subprocess.Popen(
        [sys.executable, str(ENGINE), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def call(*arguments: str) -> tuple[int, str]:
    """Run the tool; give its exit status and what it said."""
    process = start(*arguments)
    output, errors = process.communicate()
    return process.returncode, output + errors


def engine_info() -> dict[str, str]:
    """Ask the engine who it is."""
    client = docker.from_env()
    try:
        info: dict[str, str] = client.info()
    finally:
        client.close()
    return info


def test_up_uses_the_engine_that_answers() -> None:
    """However often it is called, the engine stays the one that was there."""
    before = engine_info()["ID"]
    for _ in range(2):
        status, output = call("up")
        assert status == 0, output
        assert f"engine {engine_info()['ServerVersion']} answers at " in output
        assert "starting dockerd" not in output
    assert engine_info()["ID"] == before


def test_two_may_call_up_at_once() -> None:
    """Both succeed, and there is still one engine, the same."""
    before = engine_info()["ID"]
    both = [start("up"), start("up")]
    for process in both:
        output, errors = process.communicate()
        assert process.returncode == 0, output + errors
    assert engine_info()["ID"] == before


def test_images_that_are_there_are_left_as_they_are() -> None:
    """After `images` both are there, and a second call makes nothing."""
    assert call("images")[0] == 0
    status, output = call("images")
    assert status == 0
    assert output.splitlines() == [f"{name}: there" for name in IMAGES]


def test_status_says_what_is_there() -> None:
    """Version, owner and images are told, and the exit status is 0."""
    assert call("images")[0] == 0
    status, output = call("status")
    assert status == 0
    assert output.startswith(f"engine {engine_info()['ServerVersion']} (API ")
    assert "started by us: " in output
    for name in IMAGES:
        assert f"{name}: there" in output


def test_status_of_a_silent_engine_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """A DOCKER_HOST where nothing is gives status 1 and the reason."""
    monkeypatch.setenv("DOCKER_HOST", "unix:///no/such.sock")
    status, output = call("status")
    assert status == 1
    assert "the engine at DOCKER_HOST=unix:///no/such.sock does not answer" in output


def test_down_leaves_the_engine_of_others_alone(tmp_path: Path) -> None:
    """With nothing noted as started by us, the engine that answers is not touched."""
    before = engine_info()["ID"]
    state = ("--state-dir", str(tmp_path))
    assert "started by us: no" in call(*state, "status")[1]
    status, output = call(*state, "down")
    assert status == 0
    assert "one that others started is left alone" in output
    assert engine_info()["ID"] == before


def test_down_does_not_trust_a_pid_alone(tmp_path: Path) -> None:
    """A state file with the pid of a process that started at another time stops nothing."""
    stale = f'{{"dockerd": {{"pid": {os.getpid()}, "started": 1, "boot": "earlier"}}}}'
    (tmp_path / "engine.json").write_text(stale)
    status, output = call("--state-dir", str(tmp_path), "down")
    assert status == 0
    assert "left alone" in output


def test_a_command_runs_on_cgroup_v2() -> None:
    """It finds an engine that reports v2, and its exit status is passed on."""
    if os.geteuid() != 0 and engine_info()["CgroupVersion"] != "2":
        pytest.skip("this machine is on cgroup v1, and a second view of it takes root")
    code = "import docker; print('cgroup', docker.from_env().info()['CgroupVersion']); exit(7)"
    status, output = call("run", "--cgroup2", "--", sys.executable, "-c", code)
    assert "cgroup 2\n" in output
    assert status == 7
