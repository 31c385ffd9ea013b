"""The directories: short, private, or refused."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from pytest_dind import SettingsError
from pytest_dind.lifetime import directories, layout
from pytest_dind.lifetime.layout import LOCK

_NAME = f"pytest-dind-{os.getuid()}"


@pytest.fixture
def temp(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The temp dir in force."""
    monkeypatch.setattr(tempfile, "tempdir", str(short_path))
    return short_path


def test_made_in_the_temp_dir(temp: Path) -> None:
    """The base is in the temp dir, private to the user; asked for again it is the same."""
    base = directories.base()

    assert base == temp / _NAME
    assert stat.filemode(base.stat().st_mode) == "drwx------"
    assert directories.base() == base


def test_long_temp_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A temp dir too long for a unix socket is left for a short one; nothing is made in it."""
    long = tmp_path / ("x" * 80)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))

    assert directories.base() == Path("/tmp").resolve() / _NAME
    assert not list(long.iterdir())


def test_longest_socket_fits(temp: Path) -> None:
    """A socket of the longest run and daemon that `base` allows for fits in the kernel's limit."""
    room = 103 - len(os.fsencode(directories.base() / directories._LONGEST_HOME / layout.SOCKET))
    deep = temp / ("x" * (room - 1))
    deep.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(deep))
        assert directories.base() == deep / _NAME
        patch.setattr(tempfile, "tempdir", f"{deep}x")
        assert directories.base() == Path("/tmp").resolve() / _NAME


def test_no_temp_dir_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no file can be written in any temp dir, as on a full disk, the error says so."""

    def none() -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", none)
    with pytest.raises(SettingsError, match="No usable temporary directory found"):
        directories.base()


def test_no_temp_dir_is_short_enough(temp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing is short enough, the error says what was tried."""
    monkeypatch.setattr(directories, "_SOCKET_PATH_LIMIT", 20)
    with pytest.raises(SettingsError) as caught:
        directories.base()

    text = str(caught.value)
    assert text.startswith("No temp dir is short enough for the daemon's socket.")
    assert f"Tried {temp}, /tmp, /var/tmp; a unix socket's path has at most 20 bytes." in text
    assert "Set TMPDIR to a short path, such as /tmp." in text


def _refused() -> str:
    with pytest.raises(SettingsError) as caught:
        directories.base()
    return str(caught.value)


def test_open_to_others(temp: Path) -> None:
    """A base that others may enter is refused, with its mode."""
    (temp / _NAME).mkdir()
    (temp / _NAME).chmod(0o750)
    text = _refused()

    assert f"{temp / _NAME} cannot hold daemon sockets" in text
    assert f"Owner uid {os.getuid()}, mode drwxr-x---; this user is uid {os.getuid()}." in text
    assert "Remove it, if it is yours." in text
    assert "Set TMPDIR to a directory of your own." in text


def test_of_another_owner(temp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A base that another user made in advance is refused, with its owner."""
    owner = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: owner + 1)
    (temp / f"pytest-dind-{owner + 1}").mkdir(mode=0o700)

    assert f"Owner uid {owner}, mode drwx------; this user is uid {owner + 1}." in _refused()


def test_symlink(temp: Path) -> None:
    """A symbolic link is refused, even to a private directory of the user's."""
    (temp / "real").mkdir(mode=0o700)
    (temp / _NAME).symlink_to(temp / "real")

    assert "mode lrwxrwxrwx" in _refused()


def test_cannot_be_made(temp: Path) -> None:
    """A base that can't be made, here for a file in its place, is an error with the cause."""
    (temp / _NAME).touch()
    text = _refused()

    assert f"{temp / _NAME}, which daemons of this user need, cannot be written." in text
    assert "File exists" in text
    assert "Make room or give write access there." in text


def test_remove(temp: Path) -> None:
    """Removing takes all that is in it; a second time is fine."""
    run = directories.base() / "run"
    (run / "home").mkdir(parents=True)
    (run / "home" / "log").touch()
    directories.remove(run)
    directories.remove(run)

    assert not list(directories.base().iterdir())


def test_lock_of_a_process_that_is_stopped(temp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wait for the lock of all runs ends, with the id of the process that holds it."""
    monkeypatch.setattr(directories, "_PATIENCE_SECONDS", 0.05)
    base = directories.base()
    program = f"""
import fcntl, signal
file = open({str(base / LOCK)!r}, "w")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
signal.pause()
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"held\n"
            holder.send_signal(signal.SIGSTOP)
            with pytest.raises(SettingsError) as caught, directories.locked(base):
                pass
        finally:
            holder.kill()

    text = str(caught.value)
    assert f"{base / LOCK}, the lock of all runs of this user, is not to be had." in text
    assert f"It is held by process {holder.pid}, for more than 0.05 s." in text
    assert f"continue or end it: ps -o pid,stat,args {holder.pid}." in text
    with directories.locked(base):
        assert (base / LOCK).exists()
