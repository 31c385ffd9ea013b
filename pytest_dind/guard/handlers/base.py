"""The base of all groups of handlers: the engine, the rules, and what belongs to the run."""

from __future__ import annotations

from dataclasses import dataclass

from ..http.upstream import Upstream
from ..objects.journal import Journal
from ..objects.own_images import OwnImages
from ..objects.ownership import Ownership
from ..objects.references import References
from ..objects.run_labels import RunLabels
from ..rules.containers import Checks
from ..rules.policy import Policy
from .exchange import Exchange

NOT_SEEN = (
    "BuildKit's own API, in which nothing can be labelled (with DOCKER_BUILDKIT=0 docker and "
    "compose build without it),"
)
"""What is refused of buildx, and what to do instead."""


@dataclass(frozen=True)
class Context:
    """What the handlers of one guard share.

    Attributes:
        engine: The outer engine.
        ownership: Tells which containers, networks and volumes are the run's own.
        images: Tells which images and names of images are the run's own.
        labels: The labels of what the run makes.
        policy: The rules.
        journal: The records for the end, and for a guard that is restarted.
    """

    engine: Upstream
    ownership: Ownership
    images: OwnImages
    labels: RunLabels
    policy: Policy
    journal: Journal


class Handlers:
    """A group of handlers: each public method answers the requests of some routes."""

    def __init__(self, context: Context) -> None:
        self._engine = context.engine
        self._ownership = context.ownership
        self._images = context.images
        self._labels = context.labels
        self._policy = context.policy
        self._checks = Checks(context.policy)
        self._references = References(
            context.engine, context.ownership, context.labels, context.policy
        )


def path(exchange: Exchange, resolved: str) -> str:
    """The path of a call, with the object's full id in place of the name that the client gave."""
    match = exchange.match.route.pattern.fullmatch(exchange.request.path)
    assert match is not None
    start, end = match.span("name")
    return exchange.request.path[:start] + resolved + exchange.request.path[end:]
