"""What the guard lets pass: the settings of one run, and the checks that all bodies share."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..http.refusal import Refusal, forbidden, malformed

OWN = "own"
"""Only what is the run's own is seen and touched."""
LABEL = "label"
"""All is passed on; what is created is labelled."""


@dataclass(frozen=True)
class Policy:
    """The rules of one run.

    Attributes:
        guard: `own` or `label`.
        allow: What is allowed beyond the usual, as `--dind-guard-allow` has it.
        roots: Directories that may be bound, with what is below them; real paths.
        engine: The engine's own socket.
        socket: The guard's own socket, which may be bound.
        private: The directory of all runs' sockets, which may not.
    """

    guard: str
    allow: frozenset[str]
    roots: tuple[str, ...]
    engine: str
    socket: str
    private: str

    @property
    def own(self) -> bool:
        """Whether there are rules at all, or only labels."""
        return self.guard == OWN

    def allows(self, key: str) -> bool:
        """Whether something that is refused by default is allowed."""
        return not self.own or key in self.allow

    def demand(self, key: str, what: str) -> None:
        """Refuse, unless it is allowed.

        Raises:
            Refusal: it is not; the text says how to allow it.
        """
        if not self.allows(key):
            raise forbidden(what, key)

    def unknown(self, where: str, value: Any) -> bool:
        """What becomes of a key of a body that is not known, and says something.

        It could ask for anything, so it is refused, as all that is not known is.
        """
        if self.own:
            raise forbidden(f"the field {where}, which the guard does not know,")
        return True

    def bind(self, source: str) -> str:
        """The real path of a host path to bind, all symbolic links resolved.

        Raises:
            Refusal: it may not be bound, or is not there.
        """
        if not self.own:
            return source
        real = os.path.realpath(source)
        if not os.path.lexists(real):
            # Without this, an engine makes an empty directory, as root, on the host.
            raise Refusal(
                400,
                'invalid mount config for type "bind": bind source path does not exist: ' + source,
            )
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
        if not any(_is_within(real, root) for root in self.roots):
            roots = " and ".join(self.roots)
            raise forbidden(f"a bind of {source}, which is outside of {roots},", f"bind:{real}")
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
    """A path that must be absolute.

    Raises:
        Refusal: it is not.
    """
    if not path.startswith("/"):
        raise malformed(f"{where} is not an absolute path: {path}")
    return path
