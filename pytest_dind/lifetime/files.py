"""The files by which a test process and a daemon's container tell each other things."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class Files(Protocol):
    """A daemon's files, wherever they are."""

    def read(self, name: str) -> str | None:
        """What a file has; None where there is none."""

    def write(self, name: str, text: str) -> None:
        """Write a file."""


@dataclass(frozen=True)
class Directory:
    """A directory that the container has too."""

    path: Path

    def read(self, name: str) -> str | None:
        """What a file has; None where there is none."""
        try:
            return (self.path / name).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None

    def write(self, name: str, text: str) -> None:
        """Write a file."""
        # In its place: what is there may be root's, from a golden root, and not this user's.
        aside = self.path / f"{name}.new"
        aside.write_text(text, encoding="utf-8")
        aside.replace(self.path / name)
