"""Files and directories into a daemon's container, and out of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from pytest_dind import CopyFailed, Daemon

_MEGA = 1_000_000


@pytest.fixture
def there(dind_daemon: Daemon) -> Iterator[str]:
    """A directory of the daemon's container."""
    path = f"/opt/copies {uuid4().hex[:8]}"
    dind_daemon.exec(["mkdir", path])
    yield path
    dind_daemon.exec(["rm", "-rf", path])


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A directory with all that a directory may have."""
    root = tmp_path / "a source"
    (root / "empty").mkdir(parents=True)
    (root / "deep" / ("n" * 120)).mkdir(parents=True)
    (root / "deep" / ("n" * 120) / "with space").write_text("deep\n")
    (root / "run.sh").write_text("echo ran\n")
    (root / "run.sh").chmod(0o754)
    os.link(root / "run.sh", root / "twin")
    (root / "link").symlink_to("run.sh")
    (root / "out").symlink_to("/etc/hostname")
    (root / "closed").mkdir(mode=0o500)
    os.utime(root / "run.sh", (1_000_000_000, 1_000_000_000))
    return root


def _assert_same(one: Path, other: Path) -> None:
    names = sorted(str(path.relative_to(one)) for path in one.rglob("*"))
    assert names == sorted(str(path.relative_to(other)) for path in other.rglob("*"))
    for name in names:
        here, there = one / name, other / name
        assert here.lstat().st_mode == there.lstat().st_mode, name
        if here.is_symlink():
            assert here.readlink() == there.readlink()
        elif here.is_file():
            assert here.read_bytes() == there.read_bytes()
            assert int(here.stat().st_mtime) == int(there.stat().st_mtime)


def test_directory_there_and_back(
    dind_daemon: Daemon, there: str, source: Path, tmp_path: Path
) -> None:
    """A directory comes back as it went: modes, times, links, empty directories, long names."""
    dind_daemon.copy_to(source, f"{there}/new")
    assert dind_daemon.exec([f"{there}/new/twin"], check=False).returncode == 0
    back = dind_daemon.copy_from(f"{there}/new", tmp_path / "back")

    assert back == tmp_path / "back"
    _assert_same(source, back)


def test_place_of_a_directory(
    dind_daemon: Daemon, there: str, source: Path, tmp_path: Path
) -> None:
    """A directory that is there gets the source in it; with `/.` at its end, what is in it."""
    dind_daemon.copy_to(source, there)
    dind_daemon.copy_to(f"{source}/.", there)
    found = dind_daemon.exec(["ls", there]).stdout.splitlines()
    assert found == sorted(["a source", *(path.name for path in source.iterdir())])

    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    named = dind_daemon.copy_from(f"{there}/a source/deep", tmp_path / "one")
    assert named == tmp_path / "one" / "deep"
    dind_daemon.copy_from(f"{there}/a source/deep/.", tmp_path / "two")
    assert [path.name for path in (tmp_path / "two").iterdir()] == ["n" * 120]


def test_file(dind_daemon: Daemon, there: str, source: Path, tmp_path: Path) -> None:
    """A file goes into a directory, or to a name; a link that is given is followed."""
    dind_daemon.copy_to(source / "link", there)
    dind_daemon.copy_to(source / "run.sh", f"{there}/other name")
    told = dind_daemon.exec(["stat", "-c", "%a %Y %u %n", "link", "other name"], workdir=there)
    assert told.stdout == "754 1000000000 0 link\n754 1000000000 0 other name\n"

    assert dind_daemon.copy_from(f"{there}/link", tmp_path) == tmp_path / "link"
    back = dind_daemon.copy_from(f"{there}/other name", tmp_path / "back")
    assert back.read_text() == "echo ran\n"
    assert back.stat().st_mode & 0o7777 == 0o754


def test_big_file(dind_daemon: Daemon, there: str, tmp_path: Path) -> None:
    """A file is never whole in memory: it passes in little of it, both ways."""
    big = tmp_path / "big"
    with big.open("wb") as file:
        file.seek(150 * _MEGA)
        file.write(b"end")
    # The peak is counted from here.
    Path("/proc/self/clear_refs").write_text("5")
    before = _peak()
    dind_daemon.copy_to(big, there)
    back = dind_daemon.copy_from(f"{there}/big", tmp_path / "back")

    assert back.stat().st_size == big.stat().st_size
    with back.open("rb") as file:
        file.seek(150 * _MEGA)
        assert file.read() == b"end"
    assert _peak() - before < 50 * _MEGA


def _peak() -> int:
    """The most memory that this process has had."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


@pytest.mark.parametrize(
    ("source", "target", "evidence"),
    [
        ("missing", "/opt", "No such file or directory"),
        ("file", "/opt/no/such", "There is no directory /opt/no."),
        ("file", "/opt/missing/", "There is no directory /opt/missing/"),
        ("directory", "/opt/no/such", "There is no directory /opt/no."),
        ("directory", "/etc/hostname", "/etc/hostname is no directory."),
        ("fifo", "/opt", "is neither a file nor a directory."),
    ],
)
def test_no_place_there(
    dind_daemon: Daemon, tmp_path: Path, source: str, target: str, evidence: str
) -> None:
    """What can't be copied into the container is an error that says why, and leaves nothing."""
    (tmp_path / "file").write_text("x")
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "fifo")
    before = dind_daemon.exec(["ls", "/opt"]).stdout
    with pytest.raises(CopyFailed) as caught:
        dind_daemon.copy_to(tmp_path / source, target)

    text = str(caught.value)
    assert f"{str(tmp_path / source)!r} could not be copied to {target!r}" in text
    assert evidence in text
    assert "Make the directory first" in text
    assert dind_daemon.exec(["ls", "/opt"]).stdout == before


@pytest.mark.parametrize(
    ("source", "target", "evidence"),
    [
        ("/no/such", "new", "There is no /no/such."),
        ("/dev/null", "new", "/dev/null is neither a file nor a directory."),
        ("/etc/hostname", "no/such", "There is no directory"),
        ("/etc/hostname", "new/", "There is no directory"),
        ("/etc/apt", "no/such", "There is no directory"),
        ("/etc/apt", "file", "is no directory."),
    ],
)
def test_no_place_here(
    dind_daemon: Daemon, tmp_path: Path, source: str, target: str, evidence: str
) -> None:
    """The same for what can't be copied out of it."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(CopyFailed) as caught:
        dind_daemon.copy_from(source, f"{tmp_path}/{target}")

    assert f"{source!r} of the daemon's container could not be copied" in str(caught.value)
    assert evidence in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
