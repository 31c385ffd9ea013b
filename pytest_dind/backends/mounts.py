"""The files of this machine in a daemon's container: mounted, or copied."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import mounts
from ..errors import SettingsError
from ..lifetime import directories, layout
from ..lifetime.layout import Home
from ..mounts import Mount, within
from ..settings import Settings

if TYPE_CHECKING:
    from ..engine.own_container import SharedFiles

_TMP = "/tmp"
# As the official image's own is: what is in it may be run.
_TMP_OPTIONS = "exec,suid,dev,mode=1777"
_COPY = "Have a copy of it in the daemon: --dind-mount copy:PATH."


@dataclass(frozen=True)
class Bind:
    """A path of this machine in a daemon's container.

    Attributes:
        source: The real path here.
        target: The path in the container.
        mount: What asks for it.
        there: The path that the engine has it under, where that is another.
    """

    source: str
    target: str
    mount: Mount
    there: str = ""

    @property
    def read_only(self) -> bool:
        """Whether the container may not write there."""
        return self.mount.read_only

    def covers(self, other: Bind) -> bool:
        """Whether the other is there by this one already."""
        if self is other or self.read_only != other.read_only:
            return False
        inside = within(other.source, self.source) and within(other.target, self.target)
        return inside and (
            os.path.relpath(other.source, self.source) == os.path.relpath(other.target, self.target)
        )


@dataclass(frozen=True)
class SuiteFiles:
    """The files of this machine that a daemon has.

    Attributes:
        binds: What is mounted.
        copies: What is copied.
        private: The directories of sockets of runs, which no daemon sees.
        empty: An empty directory, under the path that the engine has it under; empty where it has
            none, and so no directory of sockets either.
    """

    binds: tuple[Bind, ...] = ()
    copies: tuple[Mount, ...] = ()
    private: tuple[str, ...] = ()
    empty: str = ""

    def mounts(self) -> list[Any]:
        """The mounts, as docker-py's `create_host_config` takes them.

        An empty directory hides the directories of sockets, in nested containers too: these bind
        with what is mounted below. It is a bind like those that it lies in: Sysbox mounts all
        in-memory file systems before the first bind, which would cover them.
        """
        from docker.types import Mount as DockerMount

        return [
            *(
                DockerMount(
                    bind.target, bind.there or bind.source, type="bind", read_only=bind.read_only
                )
                for bind in self.binds
            ),
            *(
                DockerMount(target, self.empty, type="bind", read_only=True)
                for target in (self.hidden() if self.empty else ())
            ),
        ]

    def tmpfs(self) -> dict[str, str]:
        """The in-memory file system that goes with the mounts, as docker-py takes it.

        The official image mounts one on /tmp, which would hide what is below it, unless there is
        one already.
        """
        targets = [bind.target for bind in self.binds]
        if _TMP in targets or not any(within(target, _TMP) for target in targets):
            return {}
        return {_TMP: _TMP_OPTIONS}

    def hidden(self) -> list[str]:
        """The paths in the container that the directories of sockets would have."""
        return [
            str(Path(bind.target) / Path(private).relative_to(bind.source))
            for bind in self.binds
            for private in self.private
            if within(private, bind.source)
        ]

    def to_copy(self) -> list[Mount]:
        """What is to be copied: what is mounted in the same place is there already.

        Raises:
            SettingsError: a copy would be written to this machine's files, by a mount.
        """
        found = []
        for copy in self.copies:
            wanted = Bind(os.path.realpath(copy.source), copy.target or copy.source, copy)
            around = [bind for bind in self.binds if within(wanted.target, bind.target)]
            if not around:
                found.append(copy)
            elif not any(bind.covers(wanted) for bind in around):
                raise SettingsError(
                    f"--dind-mount: the copy of {copy.source} would be written to this machine's "
                    "own files.",
                    evidence=f"{wanted.target} is in {around[0].target}, where "
                    f"{around[0].source} is mounted.",
                    remedy=["Give the copy another TARGET.", "Leave the mount out, or the copy."],
                )
        return found

    def elsewhere(self, reason: str) -> tuple[SuiteFiles, str]:
        """What a daemon has on an engine that shares no directory; and a line on what it lacks.

        Args:
            reason: Why it shares none.

        Raises:
            SettingsError: a path was asked for by its name.
        """
        left, lines = self, []
        for bind in self.binds:
            if bind in left.binds:
                left, line = left.without(bind.source, reason)
                lines.append(line)
        return left, "; ".join(lines)

    def without(self, source: str, reason: str) -> tuple[SuiteFiles, str]:
        """What a daemon has without a path that its engine does not see; and a line on that.

        Args:
            source: The path.
            reason: Why the engine does not see it.

        Raises:
            SettingsError: the path was asked for by its name.
        """
        lacking = next(bind.mount for bind in self.binds if bind.source == source)
        if not lacking.word:
            raise SettingsError(
                f"--dind-mount: the daemon can't have {lacking.source}.",
                evidence=f"The outer engine does not see this machine's files: {reason}.",
                remedy=[_COPY, "Run the tests on the engine's own machine."],
            )
        rest = tuple(bind for bind in self.binds if bind.mount.word != lacking.word)
        line = f"{lacking.word} ({source}) is not in the daemon, since {reason}"
        return dataclasses.replace(self, binds=rest), line

    def without_home(self) -> SuiteFiles:
        """The same on an engine that does not have the home, nor so the directories of sockets."""
        return dataclasses.replace(self, empty="")

    def of_engine(self, shared: SharedFiles | None) -> SuiteFiles:
        """The same under the engine's own paths, without what it has none for.

        Args:
            shared: What the engine has of this process's container; None where it has all.
        """
        if shared is None:
            return self
        found = []
        for bind in self.binds:
            share = shared.around(bind.source)
            if share and (bind.read_only or not share.read_only):
                found.append(dataclasses.replace(bind, there=share.path(bind.source)))
        return dataclasses.replace(
            self, binds=tuple(found), empty=shared.path(self.empty) if self.empty else ""
        )

    def unseen(self, text: str) -> str:
        """The mounted path that an engine's refusal says is not there; empty if it is another."""
        found = re.search(r"bind source path does not exist: (.*)", text)
        path = found[1].strip() if found else ""
        return path if path in {bind.source for bind in self.binds} else ""

    def note(self, home: Home) -> None:
        """Note which directories are mounted, for `replaced`."""
        seen = {bind.source: _identity(bind.source) for bind in self.binds}
        (home.path / layout.MOUNTED).write_text(json.dumps(seen))


def of(settings: Settings, home: Home) -> SuiteFiles:
    """The files that the daemon of these settings has, and an empty directory where it needs one.

    A word that no run has resolved stands for nothing.

    Raises:
        SettingsError: they can't be had as asked for.
    """
    wanted = [mount for mount in map(mounts.parse, settings.mount) if mount.source]
    binds: dict[str, Bind] = {}
    for mount in wanted:
        for bind in () if mount.copied else _binds(mount):
            other = binds.setdefault(bind.target, bind)
            if (other.source, other.read_only) != (bind.source, bind.read_only):
                raise SettingsError(
                    f"--dind-mount: two mounts have the same place in the daemon, {bind.target}.",
                    evidence=f"{other.mount} and {mount}.",
                    remedy=["Leave one of them out.", "Give one another TARGET."],
                )
    private = [str(path) for path in _private(home)] if binds else []
    for bind in binds.values():
        for path in private:
            if within(bind.source, path):
                raise SettingsError(
                    f"--dind-mount: {bind.mount.source} can't be in a daemon.",
                    evidence=f"The sockets of all runs are in {path}.",
                    remedy=["Mount another directory.", "Set TMPDIR to a directory outside of it."],
                )
    files = SuiteFiles(
        tuple(_needed(binds.values())),
        tuple(mount for mount in wanted if mount.copied),
        tuple(private),
    )
    if not files.hidden():
        return files
    empty = home.path / layout.EMPTY
    empty.mkdir(mode=0o555, exist_ok=True)
    return dataclasses.replace(files, empty=str(empty))


def _binds(mount: Mount) -> list[Bind]:
    """The binds of a mount: under its own name and, if symbolic links lead there, its real one."""
    real = os.path.realpath(mount.source)
    targets = [mount.target] if mount.target else dict.fromkeys([mount.source, real])
    return [Bind(real, target, mount) for target in targets if not mounts.unsuitable(target)]


def _needed(binds: Iterable[Bind]) -> Iterable[Bind]:
    """The binds, without those that are in another one."""
    found = list(binds)
    return [bind for bind in found if not any(other.covers(bind) for other in found)]


def _private(home: Home) -> set[Path]:
    return {home.path.parent.parent.resolve(), *directories.all_bases()}


def replaced(home: Home) -> Sequence[str]:
    """The mounted directories of a daemon in whose place there are others now, or none.

    The daemon still has the former ones.
    """
    try:
        seen: Mapping[str, list[int] | None] = json.loads((home.path / layout.MOUNTED).read_text())
    except OSError:
        return []
    return [path for path, identity in seen.items() if _identity(path) != identity]


def _identity(path: str) -> list[int] | None:
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return [found.st_dev, found.st_ino]
