"""The policy of a guard: what one run allows, and the checks that all rules share."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..http.refusal import Refusal, forbidden, malformed

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
    """

    guard: str
    allow: frozenset[str]
    roots: tuple[str, ...]
    engine: str
    socket: str
    private: str
    read_only: tuple[str, ...] = ()

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
        """Check a host path that is to be bound; returns its real path, without symbolic links.

        Args:
            source: The path.
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
        if real == os.path.realpath(self.socket):
            return real
        sensitive = os.path.realpath(self.engine)
        if _is_within(sensitive, real):
            self.demand("socket", f"a bind of {source}, which is or has the engine's socket,")
        allowed = [key.partition(":")[2] for key in self.allow if key.startswith("bind:")]
        if any(_is_within(real, os.path.realpath(path)) for path in allowed):
            return real
        if _is_within(real, self.private):
            raise forbidden(f"a bind of {source}, where the sockets of all runs are,")
        known = (*self.roots, *self.read_only)
        around = [root for root in known if _is_within(real, root)]
        if not around:
            roots = f"outside of {' and '.join(known)}" if known else "of no --dind-mount"
            raise forbidden(f"a bind of {source}, which is {roots},", f"bind:{real}")
        if writes and max(around, key=len) not in self.roots:
            what = f"a bind of {source} that is not read-only, as its --dind-mount is,"
            raise forbidden(what, f"bind:{real}")
        return real


def real_roots(paths: Iterable[str]) -> tuple[str, ...]:
    """The real paths of directories that may be bound.

    Without `/`, which pytest takes for the project's root when it is given tests in two places:
    that is no reason to let all of the machine be bound.
    """
    return tuple(path for path in map(os.path.realpath, paths) if path != os.sep)


def _is_within(path: str, directory: str) -> bool:
    return path == directory or Path(directory) in Path(path).parents


def absolute(where: str, path: str) -> str:
    """Check that a path is absolute.

    Raises:
        Refusal: it is not absolute.
    """
    if not path.startswith("/"):
        raise malformed(f"{where} is not an absolute path: {path}")
    return path
