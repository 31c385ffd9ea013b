"""The configuration of a guard's process, as whoever starts it hands it over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

READY = b"ready\n"
"""The line that the process writes to its standard output once it serves."""


@dataclass(frozen=True)
class GuardConfig:
    """The configuration of one guard.

    Attributes:
        home: The daemon's home.
        socket: The guard's socket, which it makes.
        lease: The FIFO that the processes which use the daemon hold open.
        kept: A file that exists if the guard is to outlive these processes.
        engine: The outer engine's socket.
        labels: The daemon's labels.
        guard: `own` or `label`.
        allow: The values of `--dind-guard-allow`.
        roots: The directories and files that may be bound.
        read_only: Those that may be bound to be read only.
        shared: Where the tests run in a container, its mounts: the place, the path that the
            engine has for it, and whether it is read-only. None where the engine has the same
            files under the same paths.
    """

    home: str
    socket: str
    lease: str
    kept: str
    engine: str
    labels: Mapping[str, str]
    guard: str
    allow: tuple[str, ...]
    roots: tuple[str, ...]
    read_only: tuple[str, ...] = ()
    shared: tuple[tuple[str, str, bool], ...] | None = None
