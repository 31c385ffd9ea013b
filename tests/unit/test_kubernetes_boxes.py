"""Files that nodes begin with."""

from __future__ import annotations

import io
import tarfile
from typing import Any

import pytest
from docker.errors import APIError, NotFound

from pytest_dind.kubernetes import boxes


class _Client:
    """A daemon's client: its copy into a container writes this much, and fails then."""

    def __init__(self, writes: int) -> None:
        self.api = self
        self._writes = writes
        self._archive: bytes | None = None

    def put_archive(self, container: str, path: str, data: bytes) -> None:
        assert path == "/"
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            (entry,) = archive
            file = archive.extractfile(entry)
            assert file is not None
            content = file.read()[: self._writes]
        if content:
            packed = io.BytesIO()
            with tarfile.open(fileobj=packed, mode="w") as archive:
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
            self._archive = packed.getvalue()
        raise APIError("chmod file: via /proc/self/fd/7: no such file or directory")

    def get_archive(self, container: str, path: str) -> tuple[list[bytes], dict[str, Any]]:
        if self._archive is None:
            raise NotFound("no such file")
        return [self._archive], {}


def test_file_that_is_there_after_all() -> None:
    """That the daemon can't set the mode of a file, once it is there, does no harm."""
    client: Any = _Client(writes=5)
    boxes.put(client, "server", "/etc/file", b"whole")
    assert boxes.read(client, "server", "/etc/file") == "whole"


@pytest.mark.parametrize("writes", [0, 4])
def test_file_that_is_not_there(writes: int) -> None:
    """A file that was not written, or not all of it, is the daemon's refusal."""
    client: Any = _Client(writes)
    with pytest.raises(APIError, match="chmod file"):
        boxes.put(client, "server", "/etc/file", b"whole")
