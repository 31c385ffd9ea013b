"""The way to tox on a machine with Python and nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

import bootstrap


def succeed(_command: object, **_options: object) -> subprocess.CompletedProcess[bytes]:
    """Stand for a program that ends well."""
    return subprocess.CompletedProcess([], 0)


def fail(_command: object, **_options: object) -> subprocess.CompletedProcess[bytes]:
    """Stand for a program that fails."""
    return subprocess.CompletedProcess([], 1)


def test_a_python_that_is_missing_or_fails_does_not_work(tmp_path: Path) -> None:
    """Neither a dangling link nor a failing import is an error of its own."""
    (tmp_path / "python").symlink_to(tmp_path / "gone")
    assert bootstrap.works(sys.executable, "import os")
    assert not bootstrap.works(sys.executable, "import no_such_module")
    assert not bootstrap.works(tmp_path / "python", "import os")


def test_a_good_environment_is_used_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where tox is there, nothing is made or installed."""
    monkeypatch.setattr(bootstrap, "has_tox", lambda _python: True)
    monkeypatch.setattr(subprocess, "run", fail)
    assert bootstrap.ensure_tox(tmp_path) == tmp_path / "bin" / "python"


def test_a_broken_environment_is_made_anew(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is left of it goes before the new one comes, and that is said."""
    directory = tmp_path / ".venv"
    directory.mkdir()
    (directory / "rubbish").touch()
    monkeypatch.setattr(bootstrap, "make", lambda place: place.mkdir())
    monkeypatch.setattr(subprocess, "run", succeed)
    monkeypatch.setattr(bootstrap, "has_tox", lambda _python: False)
    monkeypatch.setattr(bootstrap, "works", lambda _python, _code: False)
    bootstrap.ensure_tox(directory)
    assert list(directory.iterdir()) == []
    assert f"{directory} is broken" in capsys.readouterr().out


def test_an_environment_that_lacks_only_tox_is_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With a pip that works, tox is installed into what is there."""
    (tmp_path / "kept").touch()
    monkeypatch.setattr(subprocess, "run", succeed)
    monkeypatch.setattr(bootstrap, "has_tox", lambda _python: False)
    monkeypatch.setattr(bootstrap, "works", lambda _python, _code: True)
    bootstrap.ensure_tox(tmp_path)
    assert (tmp_path / "kept").exists()


def test_a_failed_install_is_an_error_with_a_remedy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Pip's own lines are above; the error says what they were about and what to check."""
    monkeypatch.setattr(subprocess, "run", fail)
    monkeypatch.setattr(bootstrap, "has_tox", lambda _python: False)
    monkeypatch.setattr(bootstrap, "works", lambda _python, _code: True)
    with pytest.raises(bootstrap.CannotBootstrap) as caught:
        bootstrap.ensure_tox(tmp_path)
    assert str(caught.value) == (
        f"tox>=4 can't be installed in {tmp_path}\n"
        "  seen: pip failed, with the lines above\n"
        "  to fix: check the network and pip's settings, then run this again"
    )


@pytest.mark.parametrize(
    ("executable", "apt", "remedy"),
    [
        ("/usr/bin/python3", "/usr/bin/apt-get", "as root: apt-get install python3-venv"),
        ("/usr/bin/python3", None, "install a complete Python 3.10 or later"),
        ("/opt/python/bin/python3", "/usr/bin/apt-get", "install a complete Python 3.10 or later"),
    ],
)
def test_a_python_without_venv_is_told_what_to_install(
    monkeypatch: pytest.MonkeyPatch, executable: str, apt: str | None, remedy: str
) -> None:
    """Who is not root gets the exact command, if a package can help at all."""
    monkeypatch.setattr(sys, "executable", executable)
    monkeypatch.setattr(shutil, "which", lambda _name: apt)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(bootstrap.CannotBootstrap) as caught:
        bootstrap.install_venv()
    assert f"seen: {executable} can't import ensurepip" in str(caught.value)
    assert f"to fix: {remedy}" in str(caught.value)


def test_on_debian_root_gets_venv_installed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As root it is done, and said."""
    monkeypatch.setattr(sys, "executable", "/usr/bin/python3")
    monkeypatch.setattr(shutil, "which", lambda _name: "/usr/bin/apt-get")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(subprocess, "run", succeed)
    bootstrap.install_venv()
    assert "installing python3-venv with apt-get" in capsys.readouterr().out


def test_a_failed_apt_get_is_an_error_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command that failed and the sources to check are named."""
    monkeypatch.setattr(sys, "executable", "/usr/bin/python3")
    monkeypatch.setattr(shutil, "which", lambda _name: "/usr/bin/apt-get")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(subprocess, "run", fail)
    with pytest.raises(bootstrap.CannotBootstrap, match=r"`apt-get update` failed") as caught:
        bootstrap.install_venv()
    assert "check the network and /etc/apt/sources.list*" in str(caught.value)


def test_a_failed_venv_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Half an environment would pass for a broken one next time; it goes at once."""
    directory = tmp_path / ".venv"
    directory.mkdir()
    monkeypatch.setattr(bootstrap, "works", lambda _python, _code: True)
    monkeypatch.setattr(subprocess, "run", fail)
    with pytest.raises(bootstrap.CannotBootstrap, match=r"can't be made"):
        bootstrap.make(directory)
    assert not directory.exists()


def test_an_environment_without_pip_is_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Somebody's own environment, made without pip, is given one; what is in it stays."""
    pytest.importorskip("ensurepip", reason="Debian's Python has it in a package of its own")
    directory = tmp_path / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", directory], check=True)
    (directory / "kept").touch()
    python = directory / "bin" / "python"
    assert not bootstrap.works(python, "import pip")
    # In place of a package: nothing is to be fetched here.
    monkeypatch.setattr(bootstrap, "TOX", "--help")
    bootstrap.install_tox(directory, python)

    assert bootstrap.works(python, "import pip")
    assert (directory / "kept").exists()


def test_one_without_pip_that_can_have_none_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where there is no ensurepip either, nothing is removed, and that is said."""
    (tmp_path / "kept").touch()
    monkeypatch.setattr(subprocess, "run", fail)
    monkeypatch.setattr(bootstrap, "works", lambda _python, code: code == "pass")
    with pytest.raises(bootstrap.CannotBootstrap, match="has no pip") as caught:
        bootstrap.install_tox(tmp_path, tmp_path / "python")
    assert "to fix: install pip there, or move the directory away" in str(caught.value)
    assert (tmp_path / "kept").exists()


def test_a_second_run_waits_for_the_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Two runs at once make one environment: the second finds what the first has made."""
    directory = tmp_path / ".venv"
    made: list[Path] = []
    monkeypatch.setattr(bootstrap, "has_tox", lambda _python: bool(made))
    monkeypatch.setattr(bootstrap, "install_tox", lambda place, _python: made.append(place))
    with ThreadPoolExecutor() as pool:
        with bootstrap.alone(directory):
            waiting = [pool.submit(bootstrap.ensure_tox, directory) for _ in range(2)]
            assert made == []
        assert {future.result() for future in waiting} == {directory / "bin" / "python"}
    assert made == [directory]
