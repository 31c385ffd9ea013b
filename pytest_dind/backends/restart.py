"""A daemon that is started anew in its container, by the container's first process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..engine import http
from ..errors import NoShell
from ..lifetime import layout
from . import connection as ways
from . import readiness
from .new import inspect

if TYPE_CHECKING:
    from ..engine.engine import Engine
    from .protocol import Record


def start_anew(engine: Engine, record: Record, timeout: float) -> None:
    """Start a daemon anew, and wait until it serves again.

    Raises:
        DindError: it can't be, ended instead, or was not ready in time.
    """
    home, way = record.home, ways.known(engine, record)
    subject = f"The daemon {home.name!r} (mode {record.mode})"
    if not way.supervised:
        raise NoShell(
            f"{subject} can't be restarted.",
            evidence="Its image has no shell, so nothing in its container can start it anew; and "
            "its container, started anew, would have another address.",
            remedy=[
                "Use an image that has sh, as docker:dind does: --dind-image IMAGE.",
                "Start a new daemon instead, with dind_factory.",
            ],
        )
    # The answer of the daemon that is about to end doesn't count.
    way.write(layout.RESTARTED, "")
    engine.client.api.kill(record.id, "SIGALRM")
    readiness.wait_until_ready(
        f"{subject}, restarted,",
        way,
        lambda patience: http.ping(record.host, record.certificates, timeout=patience),
        timeout=timeout,
        gone=lambda: not inspect(engine, home),
        awaited=lambda: bool(way.read(layout.RESTARTED)),
    )
