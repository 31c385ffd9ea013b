"""The calls that are known: each has one handler, and no more parameters than are named."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path

import h11
import pytest

from pytest_dind.guard.handlers import base, table
from pytest_dind.guard.handlers.builds import BuildHandlers
from pytest_dind.guard.handlers.image_calls import ImageHandlers
from pytest_dind.guard.handlers.reading import ReadHandlers
from pytest_dind.guard.handlers.resources import ResourceHandlers
from pytest_dind.guard.handlers.swarm import SwarmHandlers
from pytest_dind.guard.http import head
from pytest_dind.guard.http.refusal import Refusal
from pytest_dind.guard.http.upstream import Upstream
from pytest_dind.guard.objects.journal import Journal
from pytest_dind.guard.objects.own_images import OwnImages
from pytest_dind.guard.objects.ownership import Ownership
from pytest_dind.guard.objects.run_labels import RunLabels
from pytest_dind.guard.rules.policy import Policy
from pytest_dind.guard.rules.routes import Handler, Match, Route, Routes

_GROUPS = (ReadHandlers, ResourceHandlers, BuildHandlers, ImageHandlers, SwarmHandlers)
_Find = Callable[..., Match]


@pytest.fixture
def routes(tmp_path: Path) -> Routes:
    """The routes of a guard."""
    engine, labels = Upstream("/e"), RunLabels({})
    policy = Policy("own", frozenset(), (), "/e", "/s", "/b")
    journal = Journal(tmp_path)
    images = OwnImages(engine, labels, policy, journal)
    ownership = Ownership(engine, labels, policy)
    return table.routes(base.Context(engine, ownership, images, labels, policy, journal))


@pytest.fixture
def find(routes: Routes) -> _Find:
    """Finds the route of a call."""

    def find(call: str, *headers: str) -> Match:
        lines = [f"{call} HTTP/1.1", "Host: docker", *headers, "", ""]
        connection = h11.Connection(h11.SERVER)
        return routes.find(head.parse("\r\n".join(lines).encode(), connection))

    return find


def _name(handler: Handler) -> str:
    return handler.__name__


def test_each_handler_has_a_route(routes: Routes) -> None:
    """No handler is dead: each public method of the groups answers some call, and no other does."""
    used = [route.handler for route in routes]
    public = {
        getattr(group, name)
        for group in _GROUPS
        for name, method in vars(group).items()
        if inspect.iscoroutinefunction(method) and not name.startswith("_")
    }

    assert {getattr(handler, "__func__", None) for handler in used} == public


def test_two_routes_for_one_call() -> None:
    """A table in which a second route could never be taken can't be made."""

    async def handler(exchange: object) -> None:
        """Never called."""

    routes = [Route("GET /volumes/{volume}", handler), Route("GET /networks/{network}", handler)]
    Routes(routes)
    with pytest.raises(ValueError, match=r"two routes are for GET /volumes/\{volume\}"):
        Routes([*routes, Route("GET /volumes/{volume}", handler, "force")])


def test_unknown_kind_of_object() -> None:
    """A table with a route about a kind of object that has no names can't be made."""

    async def handler(exchange: object) -> None:
        """Never called."""

    with pytest.raises(KeyError, match="volumee"):
        Routes([Route("GET /volumes/{volumee}", handler)])


@pytest.mark.parametrize(
    ("call", "does", "name"),
    [
        ("GET /containers/json", "list_containers", ""),
        ("GET /containers/json/json", "inspect_container", "json"),
        ("GET /v1.41/images/localhost:5000/a/b:c/json", "read", "localhost:5000/a/b:c"),
        ("DELETE /images/a@sha256:0", "remove_image", "a@sha256:0"),
        ("GET /networks/create", "inspect_network", "create"),
        ("POST /plugins/x/y/enable", "refused", "x/y/enable"),
    ],
)
def test_routes(find: _Find, call: str, does: str, name: str) -> None:
    """A call takes its route; what it is about is told as the client names it."""
    found = find(call)

    assert (_name(found.route.handler), found.name) == (does, name)


@pytest.mark.parametrize(
    "call",
    [
        "GET /containers/-a/json",
        "GET /containers/.a/json",
        "GET /exec/short/json",
        "GET /images/a/../b/json",
        "GET /unknown",
        "PATCH /containers/json",
        "PUT /volumes/x",
        "GET /containers/json?unknown=",
        "GET /containers/json?all=1&all=0",
    ],
)
def test_no_route(find: _Find, call: str) -> None:
    """A call that is not known, by a name that nothing has, or with more to it, has no route."""
    with pytest.raises(Refusal):
        find(call)


def test_repeated_parameters(find: _Find) -> None:
    """Parameters that make a list may stand more than once; of others, the same value may."""
    found = find("POST /build?t=a&t=b&dockerfile=D&dockerfile=E&q=1&q=1", "Content-Length: 1")
    assert found.query == {"t": ["a", "b"], "dockerfile": ["D"], "q": ["1"]}


def test_unknown_call(find: _Find) -> None:
    """A call that is not known is named."""
    with pytest.raises(Refusal, match=r"^pytest-dind guard: GET /unknown is a call that the guard"):
        find("GET /unknown")


def test_parameters(find: _Find) -> None:
    """What is a parameter of other calls is left out; any other is refused by its name."""
    assert find("GET /containers/json?force=1&all=1").query == {"all": ["1"]}
    for call, says in (
        ("GET /containers/json?new=1", "the parameter new of GET /containers/json is not known"),
        ("GET /containers/json?all=1&all=0", "the parameter all stands twice, with different"),
    ):
        with pytest.raises(Refusal, match=f"^pytest-dind guard: {says}"):
            find(call)


@pytest.mark.parametrize("value", ["1", "TRUE", "yes", "x"])
def test_parameter_that_says_yes(find: _Find, value: str) -> None:
    """A parameter is read as engines read it: all but a few words says yes."""
    found = find(f"GET /containers/json?all={value}")
    assert found.value("all") == value
    assert found.flag("all")


@pytest.mark.parametrize("query", ["", "?all=", "?all=0", "?all=False", "?all=NO", "?all=%20none"])
def test_parameter_that_says_no(find: _Find, query: str) -> None:
    """So does one that is missing; in whatever case the word is written."""
    assert not find(f"GET /containers/json{query}").flag("all")


def test_body_and_upgrade(find: _Find) -> None:
    """A body or an upgrade where none belongs is refused."""
    for call, header in (
        ("GET /info", "Content-Length: 1"),
        ("GET /info", "Transfer-Encoding: chunked"),
        ("POST /containers/create", "Transfer-Encoding: chunked"),
    ):
        with pytest.raises(Refusal, match="body"):
            find(call, header)
    with pytest.raises(Refusal, match="guard: a body in chunks where JSON of a known length is "):
        find("POST /containers/create", "Transfer-Encoding: chunked")
    assert find("POST /containers/create", "Content-Length: 2").name == ""
    assert find("POST /containers/x/attach").name == "x"
    for call, protocol in (
        ("GET /info", "tcp"),
        ("POST /containers/x/attach", "h2c"),
        ("POST /session", "tcp"),
    ):
        with pytest.raises(Refusal, match="no call to upgrade to that"):
            find(call, "Connection: Upgrade", f"Upgrade: {protocol}")
