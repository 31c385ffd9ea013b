"""What all handlers of calls have: the engine, the rules, and who is whose."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from ..http.upstream import Upstream
from ..objects.own_images import OwnImages
from ..objects.ownership import Ownership
from ..objects.references import References
from ..objects.run_labels import RunLabels
from ..rules.containers import Checks
from ..rules.policy import Policy
from .exchange import Exchange

Handler = Callable[[Exchange], Awaitable[None]]
"""Sees a request through; each is a method that a route names."""


class Handlers:
    """The handlers of some calls."""

    def __init__(
        self,
        engine: Upstream,
        ownership: Ownership,
        images: OwnImages,
        labels: RunLabels,
        policy: Policy,
    ) -> None:
        self._engine = engine
        self._ownership = ownership
        self._images = images
        self._labels = labels
        self._policy = policy
        self._checks = Checks(policy)
        self._references = References(engine, ownership, labels, policy)


def path(exchange: Exchange, resolved: str) -> str:
    """The path of a call, with the full id of what it is about instead of what the client wrote."""
    match = exchange.match.route.pattern.fullmatch(exchange.request.path)
    assert match is not None
    start, end = match.span("name")
    return exchange.request.path[:start] + resolved + exchange.request.path[end:]
