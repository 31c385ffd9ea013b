"""Tar archives: made of what is there, and unpacked nowhere but where they shall."""

from __future__ import annotations

import io
import os
import shutil
import socket
import subprocess
import tarfile
from pathlib import Path

import pytest

from pytest_dind.engine import tars


def _names(chunks: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(chunks)) as archive:
        return {member.name: member for member in archive}


def test_all_is_roots(tmp_path: Path) -> None:
    """Whoever has the files, they are root's in the archive; hard links are links in it."""
    (tmp_path / "one").write_text("text")
    os.link(tmp_path / "one", tmp_path / "two")
    (tmp_path / ("long" * 40)).mkdir()
    found = _names(b"".join(tars.pack(tars.tree(tmp_path))))

    assert set(found) == {".", "one", "two", "long" * 40}
    assert found["two"].islnk()
    assert {(one.uid, one.gid, one.uname, one.gname) for one in found.values()} == {(0, 0, "", "")}


def test_socket_is_left_out(short_path: Path) -> None:
    """A socket, of which no archive can have anything, is left out."""
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(short_path / "socket"))
        assert set(_names(b"".join(tars.pack(tars.tree(short_path))))) == {"."}


def test_file_that_changes(tmp_path: Path) -> None:
    """A file that grows meanwhile is packed as it was; one that becomes shorter is an error."""
    file = tmp_path / "file"
    file.write_bytes(b"12345")
    grows = tars.pack([tars.Entry("file", file)])
    head = next(grows)
    file.write_bytes(b"1234567890")
    assert _names(head + b"".join(grows))["file"].size == 5

    shrinks = tars.pack([tars.Entry("file", file)])
    next(shrinks)
    file.write_bytes(b"")
    with pytest.raises(tars.Failed, match="file became shorter while it was read"):
        list(shrinks)


def test_file_that_is_gone(tmp_path: Path) -> None:
    """A file or directory that can't be read is an error that names it."""
    with pytest.raises(tars.Failed, match="no-such"):
        list(tars.pack([tars.Entry("x", tmp_path / "no-such")]))
    with pytest.raises(tars.Failed, match="no-such"):
        list(tars.tree(tmp_path / "no-such"))


def _member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, link
    return made


@pytest.mark.parametrize(
    "members",
    [
        [_member("../out")],
        [_member("/out")],
        [_member("link", tarfile.SYMTYPE, ".."), _member("link/out")],
        [_member("link", tarfile.LNKTYPE, "../secret")],
    ],
    ids=["parent", "absolute", "through a link", "hard link"],
)
def test_nothing_outside(tmp_path: Path, members: list[tarfile.TarInfo]) -> None:
    """An archive that leads out of the directory is refused."""
    (tmp_path / "target").mkdir()
    (tmp_path / "secret").write_text("secret")
    packed = b"".join(one.tobuf() for one in members)

    def place(archive: tarfile.TarFile) -> None:
        tars.extract(archive, tmp_path / "target")

    with tars.Unpacking(place) as unpacking:
        unpacking.write(packed + bytes(1024))

    assert "leads out of" in str(unpacking.failure)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["secret", "target"]
    assert not list((tmp_path / "target").glob("*[!k]"))


def test_no_link_is_written_through(tmp_path: Path) -> None:
    """A file takes the place of a link that has its name."""
    (tmp_path / "target").mkdir()
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "target" / "file").symlink_to(tmp_path / "secret")

    def place(archive: tarfile.TarFile) -> None:
        tars.extract(archive, tmp_path / "target")

    with tars.Unpacking(place) as unpacking:
        unpacking.write(b"".join(tars.pack([tars.Entry("file", b"new")])))

    assert unpacking.failure is None
    assert (tmp_path / "target" / "file").read_text() == "new"
    assert (tmp_path / "secret").read_text() == "secret"


def test_no_archive() -> None:
    """What is no archive is a failure, and whoever writes it is not held up."""
    with tars.Unpacking(lambda archive: None) as unpacking:
        unpacking.write(b"x" * 1_000_000)

    assert isinstance(unpacking.failure, tarfile.TarError)


@pytest.mark.parametrize(
    ("programs", "tar", "code"),
    [(["tar", "busybox"], "tar", 0), (["busybox"], "busybox tar", 0), ([], "", 1)],
)
def test_tar_of_an_image(tmp_path: Path, programs: list[str], tar: str, code: int) -> None:
    """An image's tar is used, or its busybox's; one that has neither says so."""
    for name in programs:
        (tmp_path / name).symlink_to("/bin/true")
    done = subprocess.run(
        [str(shutil.which("sh")), "-c", f"{tars.FIND}\necho $tar"],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )

    assert (done.stdout.strip(), done.returncode) == (tar, code)
    assert ("The image has no tar, and no busybox" in done.stderr) is (code == 1)
