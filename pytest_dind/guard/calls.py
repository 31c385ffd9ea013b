"""What all handlers of calls have: the engine, the rules, and who is whose."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from .containers import Checks
from .exchange import Exchange
from .images import Images
from .ownership import Ownership
from .policy import Policy
from .references import References
from .stamp import Stamp
from .upstream import Engine

Handler = Callable[[Exchange], Awaitable[None]]
"""Sees a request through; each is a method that a route names."""


class Calls:
    """The handlers of some calls."""

    def __init__(
        self, engine: Engine, ownership: Ownership, images: Images, stamp: Stamp, policy: Policy
    ) -> None:
        self._engine = engine
        self._ownership = ownership
        self._images = images
        self._stamp = stamp
        self._policy = policy
        self._checks = Checks(policy)
        self._references = References(engine, ownership, stamp, policy)


def path(exchange: Exchange, resolved: str) -> str:
    """The path of a call, with the full id of what it is about instead of what the client wrote."""
    match = exchange.match.route.pattern.fullmatch(exchange.request.path)
    assert match is not None
    start, end = match.span("name")
    return exchange.request.path[:start] + resolved + exchange.request.path[end:]
