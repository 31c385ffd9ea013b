"""The engine for a bare machine: what it decides and says, without an engine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

import _cgroup2
import _connection
import _console
import _packages
import _podman
import engine

DEBIAN = 'PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\nID=debian\n# a comment\nVERSION_ID="13"\n'


@pytest.mark.parametrize(
    ("release", "expected"),
    [
        (DEBIAN, True),
        ("ID=ubuntu\nID_LIKE=debian\n", True),
        ('ID=linuxmint\nID_LIKE="ubuntu debian"\n', True),
        ("ID=fedora\n", False),
        ("", False),
    ],
)
def test_debian_and_its_kin_are_known(release: str, expected: bool) -> None:
    """os-release tells by ID and ID_LIKE whether apt packages of Docker are to be had."""
    assert _packages.is_debian_like(_packages.parse_os_release(release)) is expected


def test_debian_as_root_can_be_given_an_engine() -> None:
    """Nothing stands in the way on Debian, as root, with apt."""
    release = _packages.parse_os_release(DEBIAN)
    assert not _packages.why_not_installable("Linux", release, is_root=True, has_apt=True)


@pytest.mark.parametrize(
    ("system", "release", "is_root", "has_apt", "seen", "remedy"),
    [
        ("Darwin", "", True, False, "this is macOS", "Docker Desktop, OrbStack or colima"),
        ("Windows", "", True, False, "this is Windows", "Docker Desktop"),
        ("Linux", 'ID=f\nPRETTY_NAME="F 44"', True, False, "F 44, without apt", "docs.docker.com"),
        ("Linux", "", True, False, "an unknown Linux", "docs.docker.com"),
        ("Linux", DEBIAN, False, True, "need root", "sudo apt-get install docker.io"),
    ],
)
def test_where_no_engine_can_be_installed_the_remedy_is_named(
    system: str, release: str, is_root: bool, has_apt: bool, seen: str, remedy: str
) -> None:
    """Each kind of machine is told what it is, and what exactly to do there."""
    problem = _packages.why_not_installable(
        system, _packages.parse_os_release(release), is_root=is_root, has_apt=has_apt
    )
    assert problem is not None
    assert seen in problem.evidence
    assert remedy in problem.remedy
    assert str(problem).startswith("no engine answers here, and this command can't install one\n")


def test_a_program_that_is_missing_is_reported() -> None:
    """A command that does not exist is a problem with a remedy, not a traceback."""
    with pytest.raises(_console.Problem, match="it failed") as caught:
        _console.run(["/no/such"], _console.Step("x"), what="it failed", remedy="install it")
    assert "No such file" in caught.value.evidence


def test_a_named_engine_that_is_silent_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """With DOCKER_HOST set no other engine is taken, let alone started."""
    monkeypatch.setenv("DOCKER_HOST", "unix:///no/such.sock")
    with pytest.raises(_console.Problem, match=r"at DOCKER_HOST=unix:///no/such.sock") as caught:
        _connection.find()
    assert "No such file" in caught.value.evidence
    assert "unset DOCKER_HOST" in caught.value.remedy


def test_without_an_engine_images_says_how_to_get_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The command ends with status 1 and names `up`."""
    monkeypatch.setattr(engine, "find", lambda: None)
    assert engine.main(["--state-dir", str(tmp_path), "images"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: no engine answers\n")
    assert error.endswith("to fix: python tools/engine.py up\n")


def test_status_without_an_engine_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The exit status alone tells a script that nothing answers."""
    monkeypatch.setattr(engine, "find", lambda: None)
    assert engine.main(["status"]) == 1
    assert capsys.readouterr().out.startswith("no engine answers at ")


def test_down_without_anything_of_ours_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing to stop is no error."""
    assert engine.main(["--state-dir", str(tmp_path), "down"]) == 0
    assert "left alone" in capsys.readouterr().out


def test_options_of_the_command_stay_the_commands() -> None:
    """What stands after -- is the command's, whatever it looks like."""
    options = engine.parse(["run", "--cgroup2", "--", "pytest", "-x", "--keep-data"])
    assert options.command == ["pytest", "-x", "--keep-data"]
    assert not options.keep_data


@pytest.mark.parametrize(
    "arguments",
    [
        *([], ["run", "--", "true"], ["run", "--cgroup2"], ["fly"]),
        ["run", "--cgroup2", "--podman", "--", "true"],
    ],
)
def test_a_command_line_that_means_nothing_is_refused(arguments: list[str]) -> None:
    """The parser ends with its usual status 2."""
    with pytest.raises(SystemExit, match="2"):
        engine.parse(arguments)


def test_the_commands_environment_leads_to_its_engine_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Settings that would lead a client elsewhere are not passed on; others are."""
    for name in ("DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "DOCKER_API_VERSION"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("DOCKER_HOST", "tcp://elsewhere")
    monkeypatch.setenv("KEPT", "yes")
    env = _cgroup2.environment_for("unix:///here")
    ours = {name: value for name, value in env.items() if name.startswith(("DOCKER_", "KEPT"))}
    assert ours == {"DOCKER_HOST": "unix:///here", "KEPT": "yes"}


def test_a_second_engine_needs_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Namespaces are root's to make; the error says so before anything is started."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(_console.Problem, match="can't make an engine with a cgroup v2 view"):
        _cgroup2.run(["true"], None, tmp_path, keep=False)
    with pytest.raises(_console.Problem, match="can't make a Podman"):
        _podman.run(["true"], None, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_command_that_does_not_exist_is_reported() -> None:
    """To take the place of this process fails with a problem, not a traceback."""
    with pytest.raises(_console.Problem, match=r"`/no/such` can't be run"):
        _cgroup2.become(["/no/such"])


def test_a_python_without_the_packages_goes_on_in_an_environment(tmp_path: Path) -> None:
    """On a bare machine the command does what it says: in tox's environment, which has them."""
    tools = tmp_path / "tools"
    shutil.copytree(Path(engine.__file__).parent, tools)
    (tools / "bootstrap.py").write_text("say = main = print\nROOT = 'the root'\n")
    environment = {name: text for name, text in os.environ.items() if name != "TOX_ENV_NAME"}
    # Without site-packages.
    command = [sys.executable, "-S", str(tools / "engine.py"), "status", "--state-dir=here"]
    done = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )

    said, asked = done.stdout.splitlines()[:2]
    assert said.startswith("this Python has no ")
    assert said.endswith("in the directory the root")
    places = ["--state-dir", str(tmp_path / "here")]
    assert asked == str(["run", "-e", "engine", "--", *places, "status"])
