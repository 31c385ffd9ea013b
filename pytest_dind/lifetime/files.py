"""The files by which a test process and the first process of a daemon's container communicate."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class Files(Protocol):
    """A daemon's files by name, whether in a shared directory or in its container alone."""

    def read(self, name: str) -> str | None:
        """Read a file; None where there is none."""

    def write(self, name: str, text: str) -> None:
        """Write a file."""


@dataclass(frozen=True)
class Directory:
    """Files in a directory that is mounted in the container too."""

    path: Path

    def read(self, name: str) -> str | None:
        """Read a file; None where there is none."""
        try:
            return (self.path / name).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None

    def write(self, name: str, text: str) -> None:
        """Write a file."""
        # In its place: the one that is there may be root's, from a golden root.
        aside = self.path / f"{name}.new"
        aside.write_text(text, encoding="utf-8")
        aside.replace(self.path / name)
