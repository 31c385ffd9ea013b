"""What a guard's process and who starts it tell each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

READY = b"ready\n"
"""What the process writes once it serves."""


@dataclass(frozen=True)
class GuardConfig:
    """What the process must know.

    Attributes:
        home: The daemon's home.
        socket: The guard's socket, which it makes.
        lease: The FIFO that the users hold open.
        kept: A file that is there when the guard is to outlive its users.
        engine: The outer engine's socket.
        labels: The daemon's labels.
        guard: `own` or `label`.
        allow: What is allowed beyond the usual.
        roots: Directories that may be bound.
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
