"""The archives by which files are copied into a daemon."""

from __future__ import annotations

import io
import os
import tarfile
import tracemalloc
from pathlib import Path

from pytest_dind.backends.copies import _Archive


def _read(archive: _Archive) -> tarfile.TarFile:
    return tarfile.open(fileobj=io.BytesIO(b"".join(archive)))


def test_directory(tmp_path: Path) -> None:
    """An archive has what the directory has: modes, owners by number, links as they are."""
    (tmp_path / "sub").mkdir(mode=0o750)
    (tmp_path / "sub" / "file").write_bytes(b"x" * 1000)
    (tmp_path / "sub" / "file").chmod(0o640)
    os.link(tmp_path / "sub" / "file", tmp_path / "same")
    (tmp_path / "link").symlink_to("sub/file")
    (tmp_path / ("long" * 60)).touch()
    archive = _Archive(tmp_path, "/target")
    tar = _read(archive)

    assert archive.place == "/target"
    assert archive.size == 2000
    assert {name for name in tar.getnames() if name != "."} == {
        "sub",
        "sub/file",
        "same",
        "link",
        "long" * 60,
    }
    file = tar.getmember("sub/file")
    assert (file.mode, file.uid, file.uname) == (0o640, os.getuid(), "")
    assert tar.getmember("link").linkname == "sub/file"
    for name in ("sub/file", "same"):
        content = tar.extractfile(name)
        assert content is not None
        assert content.read() == b"x" * 1000


def test_what_is_ignored(tmp_path: Path) -> None:
    """What the directory's .dockerignore names is left out, with its exceptions and comments."""
    (tmp_path / ".dockerignore").write_text("# not these\n\n*.log\nsub/*\n!sub/kept\n")
    (tmp_path / "sub").mkdir()
    for name in ("a.log", "a.txt", "sub/kept", "sub/not"):
        (tmp_path / name).touch()

    names = _read(_Archive(tmp_path, "/t")).getnames()
    assert sorted(names) == [".", ".dockerignore", "a.txt", "sub", "sub/kept"]


def test_single_file(tmp_path: Path) -> None:
    """A file is copied under the name that its target has; a link to it is followed."""
    (tmp_path / "real").write_text("content")
    (tmp_path / "link").symlink_to("real")
    archive = _Archive(tmp_path / "link", "/etc/app/name.conf")
    tar = _read(archive)

    assert archive.place == "/etc/app"
    assert tar.getnames() == ["name.conf"]
    content = tar.extractfile("name.conf")
    assert content is not None
    assert content.read() == b"content"


def test_never_whole_in_memory(tmp_path: Path) -> None:
    """A file of any size passes in parts."""
    with (tmp_path / "big").open("wb") as file:
        file.truncate(100_000_000)
    archive = _Archive(tmp_path, "/t")
    tracemalloc.start()
    try:
        for _ in archive:
            pass
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()
    assert archive.size == 100_000_000


def test_file_that_gets_shorter(tmp_path: Path) -> None:
    """A file that shrinks while it is read leaves an archive that can be read to its end."""
    file = tmp_path / "file"
    file.write_bytes(b"x" * 1_000_000)
    (tmp_path / "z").write_text("after")
    archive = _Archive(file, "/t/file")
    parts = iter(archive)
    whole = [next(parts), next(parts)]
    file.write_bytes(b"")
    whole += parts
    with tarfile.open(fileobj=io.BytesIO(b"".join(whole))) as tar:
        assert tar.getmember("file").size == 1_000_000


def test_file_that_vanishes(tmp_path: Path) -> None:
    """What can't be read is kept as the cause, since a command's input has no way to raise it."""
    archive = _Archive(tmp_path / "none", "/t/none")

    assert list(archive) == []
    assert isinstance(archive.failure, FileNotFoundError)
