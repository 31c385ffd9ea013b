"""The paths that `project` and `tmp` of `--dind-mount` stand for, the same in all of a run."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .. import mounts
from ..engine import streams
from ..errors import SettingsError
from ..lifetime import directories, layout
from ..mounts import Mount
from ..settings import Settings


@dataclass(frozen=True)
class Places:
    """The paths that the words of `--dind-mount` stand for.

    Attributes:
        project: The project's root directory, by each name that it has; empty where there is none.
        tmp: The base directory of `tmp_path` of the run, xdist's workers included, by each name.
    """

    project: tuple[str, ...] = ()
    tmp: tuple[str, ...] = ()

    @classmethod
    def named(cls, root: Path | None, tmp: Path | None) -> Places:
        """The places of a run with this root and this base directory of `tmp_path`."""
        return cls(*(tuple(_names(path)) if path else () for path in (root, tmp)))

    @classmethod
    def read(cls, directory: Path) -> Places:
        """The places that the process which began a run wrote into the run's directory.

        Where it wrote none, the words stand for nothing.
        """
        try:
            found = json.loads((directory / layout.PLACES).read_text())
        except FileNotFoundError:
            return cls()
        return cls(**{word: tuple(names) for word, names in found.items()})

    def write(self, directory: Path) -> None:
        """Write the places into a run's directory, for its other processes."""
        with directories.explained(directory):
            (directory / layout.PLACES).write_text(json.dumps(dataclasses.asdict(self)))

    def resolve(self, settings: Settings, progress: streams.Progress) -> Settings:
        """Return the settings with the paths in place of words and relative paths.

        Settings that are resolved already stay as they are.

        Args:
            settings: The settings.
            progress: Where a line goes on a word that can't be mounted.

        Raises:
            SettingsError: a path does not exist.
        """
        resolved: list[Mount] = []
        for text in settings.mount:
            mount = mounts.parse(text)
            if not mount.word:
                resolved.append(self._absolute(mount, text))
            elif mount.source:
                resolved.append(mount)
            else:
                resolved += self._of_word(mount, progress, lasting=bool(settings.reuse))
        return settings.replace(mount=[str(mount) for mount in resolved])

    def _of_word(
        self, mount: Mount, progress: streams.Progress, *, lasting: bool
    ) -> Iterator[Mount]:
        """The mounts that a word stands for: one for each name of its directory.

        Args:
            mount: The word's.
            progress: See `resolve`.
            lasting: Whether they are to be right in the next run, too.
        """
        names: tuple[str, ...] = getattr(self, mount.word)
        if mount.word == "tmp" and lasting:
            names = tuple(map(_of_all_runs, names))
        for name in names[:1] if mount.copied or mount.target else names:
            why = "" if mount.target else mounts.unsuitable(name)
            if why:
                progress(f"{mount.word} of --dind-mount is not in the daemon: {why}")
            else:
                yield dataclasses.replace(mount, source=name)

    def _absolute(self, mount: Mount, text: str) -> Mount:
        """The mount of an absolute path; a relative one is one of the project's root directory."""
        root = self.project[0] if self.project else str(Path.cwd())
        # Not resolved: tests may know it by a name that has symbolic links in it.
        source = os.path.normpath(root / Path(mount.source).expanduser())
        why = "" if mount.target else mounts.unsuitable(source)
        if why:
            raise SettingsError(
                f"--dind-mount: {source} can't be in the daemon under the same path.",
                evidence=f"{why[0].upper()}{why[1:]}.",
                remedy=["Name another place in the daemon: --dind-mount PATH:TARGET."],
            )
        if not Path(source).exists():
            there = next(path for path in Path(source).parents if path.exists())
            raise SettingsError(
                f"--dind-mount: {source} does not exist.",
                evidence=f"{text!r} was given, and a relative path is one of {root}; of that path "
                f"there is {there}.",
                remedy=["Correct the path.", "Make it before the first test asks for a daemon."],
            )
        return dataclasses.replace(mount, source=source)


def _names(path: Path) -> Iterator[str]:
    """The names of a directory: as given, and by way of the working and the temp directory.

    A shell, and what is written in Go, calls the working directory by `PWD`, symbolic links
    included; `tempfile` does not resolve the temp dir's.
    """
    given = os.path.normpath(path.absolute())
    yield given
    real = os.path.realpath(given)
    known = {given, real}
    for logical in (os.environ.get("PWD", ""), tempfile.gettempdir()):
        name = _through(logical, real)
        if name and name not in known:
            known.add(name)
            yield name


def _through(logical: str, real: str) -> str:
    """The name of a real path that leads through the symbolic links of another; empty without."""
    before, after = Path(logical), Path(os.path.realpath(logical))
    if not before.is_absolute() or before == after:
        return ""
    while before.name == after.name and before.name:
        before, after = before.parent, after.parent
    with contextlib.suppress(ValueError, OSError):
        name = before / Path(real).relative_to(after)
        if name.samefile(real):
            return str(name)
    return ""


def _of_all_runs(path: str) -> str:
    """The directory in which pytest makes the base of each run; one that was asked for stays."""
    base = Path(path)
    numbered = re.fullmatch(r"pytest-\d+", base.name) and base.parent.name.startswith("pytest-of-")
    return str(base.parent if numbered else base)
