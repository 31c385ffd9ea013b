"""The policy of a guard: what one run allows, and the checks that all rules share."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ...engine.own_container import SharedFiles, is_within
from ..http.refusal import Refusal, forbidden, malformed, unshared

OWN = "own"
"""The mode in which a client sees and changes only the run's own objects."""
LABEL = "label"
"""The mode in which all is passed on, and what is created gets labels."""


@dataclass(frozen=True)
class Policy:
    """The rules of one run.

    Attributes:
        guard: `own` or `label`.
        allow: The values of `--dind-guard-allow`.
        roots: The real paths of directories that may be bound, and all below them.
        engine: The engine's own socket.
        socket: The guard's own socket, which may be bound.
        private: The directory of all runs' sockets, which may not be bound.
        read_only: As `roots`, for binds that are only read; the deeper of two that lie in one
            another decides.
        shared: What the engine has of the files of the container that the guard and the tests run
            in; None where it has the same files under the same paths.
    """

    guard: str
    allow: frozenset[str]
    roots: tuple[str, ...]
    engine: str
    socket: str
    private: str
    read_only: tuple[str, ...] = ()
    shared: SharedFiles | None = None

    @property
    def own(self) -> bool:
        """Whether the mode is `own`; in `label` there are no rules."""
        return self.guard == OWN

    def allows(self, key: str) -> bool:
        """Whether a value of `--dind-guard-allow` is given, or needless."""
        return not self.own or key in self.allow

    def demand(self, key: str, what: str) -> None:
        """Refuse something unless it is allowed.

        Raises:
            Refusal: it is not allowed; the text says how to allow it.
        """
        if not self.allows(key):
            raise forbidden(what, key)

    def unknown(self, where: str, value: Any) -> bool:
        """Decide on an unknown field of a body: it could ask for anything, so it is refused.

        Raises:
            Refusal: the mode is `own`.
        """
        if self.own:
            raise forbidden(f"the field {where}, which the guard does not know,")
        return True

    def bind(self, source: str, *, writes: bool = True) -> str:
        """Check a path that is to be bound; returns the engine's path, without symbolic links.

        Args:
            source: The path, as the tests have it.
            writes: Whether it is to be written to.

        Raises:
            Refusal: it may not be bound, or does not exist.
        """
        if not self.own:
            return source
        try:
            real = os.path.realpath(source, strict=True)
        except (FileNotFoundError, NotADirectoryError):
            # Without this, an engine makes an empty directory, as root, on the host.
            raise Refusal(
                400,
                'invalid mount config for type "bind": bind source path does not exist: ' + source,
            ) from None
        except OSError as error:
            # The engine, which is root, may read what the guard may not.
            why = error.strerror or str(error)
            raise forbidden(f"a bind of {source}, which can't be followed ({why}),") from error
        there = self._shared(source, real, writes=writes)
        if real != os.path.realpath(self.socket):
            self._demand(source, real, there, writes=writes)
        return there

    def _shared(self, source: str, real: str, *, writes: bool) -> str:
        """The path that the engine has a path under.

        Raises:
            Refusal: it does not have it, or the tests themselves may not write to it.
        """
        if self.shared is None:
            return real
        share = self.shared.around(real)
        if share is None:
            raise unshared(
                f"a bind of {source}",
                "the path is in the tests' container alone, and the engine would bind its own "
                "machine's path of that name",
            )
        if writes and share.read_only:
            raise unshared(
                f"a bind of {source} that is not read-only",
                f"the tests' container has {share.place} read-only",
            )
        return share.path(real)

    def _demand(self, source: str, real: str, there: str, *, writes: bool) -> None:
        """Refuse a path that may not be bound.

        Args:
            source: The path, as the tests have it.
            real: The same without symbolic links.
            there: The engine's path.
            writes: Whether it is to be written to.

        Raises:
            Refusal: it may not be bound.
        """
        if self._has(real, there, self.engine):
            self.demand("socket", f"a bind of {source}, which is or has the engine's socket,")
        allowed = [key.partition(":")[2] for key in self.allow if key.startswith("bind:")]
        if any(is_within(real, os.path.realpath(path)) for path in allowed):
            return
        if is_within(real, self.private) or self._is_in(there, self.private):
            raise forbidden(f"a bind of {source}, where the sockets of all runs are,")
        known = (*self.roots, *self.read_only)
        around = [root for root in known if is_within(real, root)]
        if not around:
            roots = f"outside of {' and '.join(known)}" if known else "of no --dind-mount"
            raise forbidden(f"a bind of {source}, which is {roots},", f"bind:{real}")
        if writes and max(around, key=len) not in self.roots:
            what = f"a bind of {source} that is not read-only, as its --dind-mount is,"
            raise forbidden(what, f"bind:{real}")

    def _has(self, real: str, there: str, file: str) -> bool:
        """Whether a path is or has a file of this process's, also by another of its mounts."""
        if is_within(os.path.realpath(file), real):
            return True
        theirs = self.shared.path(file) if self.shared else ""
        return bool(theirs) and is_within(_plain(theirs), _plain(there))

    def _is_in(self, there: str, directory: str) -> bool:
        """Whether an engine's path is in a directory of this process's."""
        theirs = self.shared.path(directory) if self.shared else ""
        return bool(theirs) and is_within(there, theirs)


def real_roots(paths: Iterable[str]) -> tuple[str, ...]:
    """The real paths of directories that may be bound.

    Without `/`, which pytest takes for the project's root when it is given tests in two places:
    that is no reason to let all of the machine be bound.
    """
    return tuple(path for path in map(os.path.realpath, paths) if path != os.sep)


def _plain(path: str) -> str:
    """An engine's path without the link that each machine has."""
    return path.removeprefix("/var") if is_within(path, "/var/run") else path


def absolute(where: str, path: str) -> str:
    """Check that a path is absolute.

    Raises:
        Refusal: it is not absolute.
    """
    if not path.startswith("/"):
        raise malformed(f"{where} is not an absolute path: {path}")
    return path
