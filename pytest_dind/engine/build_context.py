"""What a build is made of: the directory, its Dockerfile, and what `.dockerignore` leaves out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from . import tars

_DOCKERFILE = "Dockerfile"
_IGNORE = ".dockerignore"


@dataclass(frozen=True)
class BuildContext:
    """A directory that an image is built of.

    Attributes:
        directory: The directory.
        dockerfile: The Dockerfile, which may be outside of it.
    """

    directory: Path
    dockerfile: Path

    @property
    def inner(self) -> str:
        """The Dockerfile's path in the directory; empty where it is outside."""
        inside = os.path.relpath(self.dockerfile, self.directory)
        return "" if inside.startswith(os.pardir + os.sep) else inside

    def archive(self) -> tuple[str, Iterator[bytes]]:
        """The name of the Dockerfile in the archive, and the archive in chunks.

        Raises:
            tars.Failed: a file can't be read; in the chunks.
            OSError: `.dockerignore` can't be read.
        """
        name = self.inner
        if name:
            return name, tars.pack(self._entries(name))
        name = f".dockerfile.{uuid4().hex}"
        outside = tars.Entry(name, self.dockerfile.read_bytes())
        return name, tars.pack([*self._entries(name), outside])

    def _entries(self, dockerfile: str) -> Iterator[tars.Entry]:
        from docker.utils.build import exclude_paths

        paths = exclude_paths(str(self.directory), self._ignored(), dockerfile=dockerfile)
        for path in sorted(paths):
            yield tars.Entry(path, self.directory / path)

    def _ignored(self) -> list[str]:
        """The patterns of `.dockerignore`, or of the one that the Dockerfile has of its own."""
        own = self.dockerfile.with_name(self.dockerfile.name + _IGNORE)
        for file in (own, self.directory / _IGNORE):
            if file.is_file():
                lines = (line.strip() for line in file.read_text().splitlines())
                return [line for line in lines if line and not line.startswith("#")]
        return []


def find(path: str | os.PathLike[str], dockerfile: str | os.PathLike[str] | None) -> BuildContext:
    """The context of a directory and the name of its Dockerfile, as `docker build` takes them."""
    directory = Path(path).expanduser().absolute()
    return BuildContext(directory, directory / (dockerfile or _DOCKERFILE))
