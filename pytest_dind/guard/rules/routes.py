"""How a request finds its route: by its method and path, if it has no more to it than is known."""

from __future__ import annotations

import itertools
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

from ..http.head import Head
from ..http.refusal import malformed, unknown
from . import names

NONE, JSON, STREAM, ANY = "none", "json", "stream", "any"
"""The body of a call: none, JSON that the guard reads, an archive that is streamed, or anything, in
calls that are refused or allowed as a whole."""

Handler: TypeAlias = "Callable[[Any], Awaitable[None]]"
"""A method that answers a request, given as an exchange."""

_NAMES = {
    "container": names.OBJECT,
    "exec": names.EXEC,
    "image": names.IMAGE,
    "network": names.NETWORK,
    "volume": names.OBJECT,
    "swarm": names.OBJECT,
    "any": r".+",
}
_PLACEHOLDER = re.compile(r"{(\w+)}")
_REPEATED = {"t", "names", "changes", "extrahosts", "platform", "platforms", "type"}
# Of two values engines take the first. docker-py gives the name of a Dockerfile that is not in the
# context, and then its content.
_FIRST = {"dockerfile"}
# What engines take for false; all else is true (moby, httputils.BoolValue).
_FALSE = ("", "0", "no", "false", "none")


@dataclass(frozen=True)
class Route:
    """One call of the API, and the handler that answers it.

    Attributes:
        call: Its method and path, with the kind of object for the object's name, such as
            `GET /volumes/{volume}`.
        handler: Answers it.
        parameters: The names of the parameters that it may have; ANY for any.
        body: One of the constants of this module.
        hijacks: The protocol for which the engine may take over the connection, for bytes both
            ways; empty where it may not.
        allow: The value of `--dind-guard-allow` that opens it, where it is refused.
        finishes: Whether it goes on to its end when the client leaves, as it does in the engine.
    """

    call: str
    handler: Handler
    parameters: str = ""
    body: str = NONE
    hijacks: bytes = b""
    allow: str = ""
    finishes: bool = False

    @property
    def method(self) -> str:
        """The method: GET, POST, ..."""
        return self.call.partition(" ")[0]

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Matches the path; the group `name` is the object's name."""
        path = self.call.partition(" ")[2]
        return re.compile(_PLACEHOLDER.sub(lambda found: f"(?P<name>{_NAMES[found[1]]})", path))

    @property
    def subject(self) -> str:
        """The kind of the object that is named: container, image, ...; empty where none is."""
        found = _PLACEHOLDER.search(self.call)
        return found[1] if found else ""


@dataclass(frozen=True)
class Match:
    """A request and the route that it takes.

    Attributes:
        route: The route.
        name: The object's name, as the client gives it; empty where the call has none.
        query: The parameters; those that may stand more than once have all their values.
    """

    route: Route
    name: str
    query: dict[str, list[str]] = field(default_factory=dict)

    def value(self, key: str) -> str:
        """The value of a parameter that stands at most once; empty where it is missing."""
        return self.query.get(key, [""])[0]

    def flag(self, key: str) -> bool:
        """Whether a parameter says yes, as engines read it."""
        return self.value(key).strip().lower() not in _FALSE


class Routes:
    """All routes of a guard, in the order in which they are tried.

    Args:
        routes: The routes.

    Raises:
        ValueError: two routes are for the same call.
        KeyError: a route is about a kind of object that is not known.
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        self._by_method: dict[str, list[Route]] = {}
        calls: set[tuple[str, re.Pattern[str]]] = set()
        for route in routes:
            # Compiled here, so that a mistake shows at the start, not at the first request.
            if (route.method, route.pattern) in calls:
                raise ValueError(f"two routes are for {route.call}")
            calls.add((route.method, route.pattern))
            self._by_method.setdefault(route.method, []).append(route)
        self._parameters = {
            name for route in self if route.parameters != ANY for name in route.parameters.split()
        }

    def __iter__(self) -> Iterator[Route]:
        return itertools.chain.from_iterable(self._by_method.values())

    def find(self, head: Head) -> Match:
        """Find the route of a request.

        Raises:
            Refusal: there is none, or the request has a parameter or body that it does not take.
        """
        for route in self._by_method.get(head.method, ()):
            match = route.pattern.fullmatch(head.path)
            if match is not None:
                return self._checked(route, match.groupdict().get("name", ""), head)
        raise unknown(f"{head.method} {head.path}")

    def _checked(self, route: Route, name: str, head: Head) -> Match:
        query: dict[str, list[str]] = {}
        for key, value in head.query:
            if route.parameters != ANY and key not in route.parameters.split():
                if key in self._parameters:
                    # One of other calls, of which engines take no notice in this one.
                    continue
                raise malformed(f"the parameter {key} of {head.method} {head.path} is not known")
            values = query.setdefault(key, [])
            if not values or key in _REPEATED:
                values.append(value)
            elif value not in values and key not in _FIRST:
                raise malformed(f"the parameter {key} stands twice, with different values")
        _check_frame(route, head)
        return Match(route, name, query)


def _check_frame(route: Route, head: Head) -> None:
    """Check that a request has the body and the upgrade that its call has.

    Raises:
        Refusal: it has others.
    """
    if head.upgrade not in (b"", route.hijacks):
        raise malformed(f"{head.method} {head.path} is no call to upgrade to that")
    if route.body == NONE and head.length != 0:
        raise malformed(f"{head.method} {head.path} takes no body")
    if route.body == JSON and head.length is None:
        raise malformed("a body in chunks where JSON of a known length is expected")
