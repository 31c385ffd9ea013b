"""The archives by which the suite's files are copied into a daemon."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from pytest_dind.backends.file_copies import entries
from pytest_dind.engine import tars


def _read(source: Path, target: str) -> tarfile.TarFile:
    chunks = tars.pack(entries(source, target), owners=True)
    return tarfile.open(fileobj=io.BytesIO(b"".join(chunks)))


def _content(tar: tarfile.TarFile, name: str) -> bytes:
    file = tar.extractfile(name)
    assert file is not None
    return file.read()


def test_directory(tmp_path: Path) -> None:
    """An archive has what the directory has: modes, owners by number, links as they are."""
    (tmp_path / "sub").mkdir(mode=0o750)
    (tmp_path / "sub" / "file").write_bytes(b"x" * 1000)
    (tmp_path / "sub" / "file").chmod(0o640)
    os.link(tmp_path / "sub" / "file", tmp_path / "same")
    (tmp_path / "link").symlink_to("sub/file")
    (tmp_path / ("long" * 60)).touch()
    tar = _read(tmp_path, "/target")

    assert sorted(tar.getnames()) == sorted([".", "sub", "sub/file", "same", "link", "long" * 60])
    file = tar.getmember("sub/file")
    found = (tmp_path / "sub" / "file").stat()
    assert (file.mode, file.uid, file.gid) == (0o640, found.st_uid, found.st_gid)
    # A name would be another user's in the container.
    assert file.uname == ""
    assert tar.getmember("link").linkname == "sub/file"
    assert _content(tar, "sub/file") == _content(tar, "same") == b"x" * 1000


@pytest.mark.parametrize("owners", [True, False])
def test_owners(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owners: bool) -> None:
    """Files keep their owners where that is asked for; else all is root's."""
    (tmp_path / "file").touch()
    real = tarfile.TarFile.gettarinfo

    def of_another(self: tarfile.TarFile, *args: Any) -> tarfile.TarInfo:
        info = real(self, *args)
        info.uid, info.gid = 1234, 5678
        return info

    monkeypatch.setattr(tarfile.TarFile, "gettarinfo", of_another)
    packed = b"".join(tars.pack([tars.Entry("file", tmp_path / "file")], owners=owners))
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        file = tar.getmember("file")
    assert (file.uid, file.gid) == ((1234, 5678) if owners else (0, 0))


def test_what_is_ignored(tmp_path: Path) -> None:
    """What the directory's .dockerignore names is left out, with its exceptions and comments."""
    (tmp_path / ".dockerignore").write_text("# not these\n\n*.log\nsub/*\n!sub/kept\nDockerfile\n")
    (tmp_path / "sub").mkdir()
    for name in ("a.log", "a.txt", "sub/kept", "sub/not", "Dockerfile"):
        (tmp_path / name).touch()

    names = _read(tmp_path, "/t").getnames()
    assert sorted(names) == [".", ".dockerignore", "a.txt", "sub", "sub/kept"]


def test_single_file(tmp_path: Path) -> None:
    """A file is copied under the name that its target has."""
    (tmp_path / "file").write_text("content")
    tar = _read(tmp_path / "file", "/srv/app/name.conf")

    assert tar.getnames() == ["name.conf"]
    assert _content(tar, "name.conf") == b"content"
