"""The values of `--dind-mount`, which say what of this machine's files a daemon has, and where."""

from __future__ import annotations

import os
import posixpath
import re
from dataclasses import dataclass

WORDS = ("project", "tmp")
"""pytest's root directory, and the base of `tmp_path` of a run."""
VALID = (
    "PATH[:TARGET][:ro]",
    "copy:PATH[:TARGET]",
    *WORDS,
    r"a colon in a path is written \:",
)

# A daemon works in these, or has its own files there: nothing is mounted on, below or above them.
# The names in `lifetime.layout` are among them; a unit test holds the two to each other.
_TAKEN = (
    "/proc",
    "/sys",
    "/dev",
    *(f"{run}/{name}" for run in ("/run", "/var/run") for name in ("docker", "pytest-dind")),
    *(f"{run}/docker.sock" for run in ("/run", "/var/run")),
    "/var/lib/docker",
    "/var/lib/pytest-dind-store",
)
# The image's programs: nothing is mounted on or above them, but it may be below.
_PROGRAMS = tuple(
    f"{prefix}/{name}"
    for prefix in ("", "/usr", "/usr/local")
    for name in ("bin", "sbin", "lib", "lib64", "etc")
)
_FREE = "/dev/shm"


@dataclass(frozen=True)
class Mount:
    """A part of this machine's files that a daemon has.

    Attributes:
        source: The path here; as it was given, until a run has resolved it. Empty for a word that
            no run has resolved.
        target: The path in the daemon; empty where it is the same.
        read_only: Whether the daemon may not write there.
        copied: Whether the daemon has a copy.
        word: The word that stands for the path; empty where the path itself was given.
    """

    source: str
    target: str = ""
    read_only: bool = False
    copied: bool = False
    word: str = ""

    def __str__(self) -> str:
        """The value of the option that means this; `parse` reads it."""
        name = f"{self.word}={self.source}" if self.word and self.source else self.word
        parts = ["copy"] if self.copied else []
        parts += [_escaped(name or self.source)]
        parts += [_escaped(self.target)] if self.target else []
        return ":".join([*parts, "ro"] if self.read_only else parts)


def _escaped(path: str) -> str:
    return path.replace(":", r"\:")


def parse(text: str) -> Mount:
    r"""Read a value of the option.

    A run resolves a word to `WORD=PATH`, which is read too.

    Raises:
        ValueError: it is none, or its target can't be mounted on.
    """
    parts = [part.replace(r"\:", ":") for part in re.split(r"(?<!\\):", text)]
    copied = parts[0] == "copy" and len(parts) > 1
    parts = parts[copied:]
    mode = parts.pop() if len(parts) > 1 and parts[-1] in ("ro", "rw") else "rw"
    if not 1 <= len(parts) <= 2 or not all(parts) or (copied and mode == "ro"):
        raise ValueError("it is none of the forms that a mount has")
    source, target = parts[0], posixpath.normpath(parts[1]) if len(parts) > 1 else ""
    word, _, path = source.partition("=")
    if word not in WORDS:
        word, path = "", source
    if target and not target.startswith("/"):
        raise ValueError(f"the target {target} is no absolute path")
    place = target or os.path.normpath(path)
    why = unsuitable(place) if place.startswith("/") else ""
    if why:
        raise ValueError(why)
    return Mount(path, target, mode == "ro", copied, word)


def unsuitable(target: str) -> str:
    """Why nothing can be mounted on a path in a daemon's container; empty where it can be."""
    if target in ("/", "//"):
        return "/ is the daemon's own root directory"
    if within(target, _FREE) and target != _FREE:
        return ""
    for taken in _TAKEN:
        if within(target, taken) or within(taken, target):
            return f"{target} is not free in the daemon, which has its own {taken}"
    for taken in _PROGRAMS:
        if within(taken, target):
            return f"{target} is not free in the daemon, which has its programs in {taken}"
    return ""


def within(path: str, directory: str) -> bool:
    """Whether a path is a directory or below it; both are absolute and normalized."""
    return path == directory or path.startswith(directory.rstrip("/") + "/")
