"""The calls that are known: each has one handler, and no more parameters than are named."""

from __future__ import annotations

import h11
import pytest

from pytest_dind.guard.handlers.builds import BuildHandlers
from pytest_dind.guard.handlers.image_calls import ImageHandlers
from pytest_dind.guard.handlers.reading import ReadHandlers
from pytest_dind.guard.handlers.resources import ResourceHandlers
from pytest_dind.guard.http import head
from pytest_dind.guard.http.refusal import Refusal
from pytest_dind.guard.rules import routes

_HANDLERS = (ReadHandlers, ResourceHandlers, BuildHandlers, ImageHandlers)


def _find(call: str, *headers: str) -> routes.Match:
    lines = [f"{call} HTTP/1.1", "Host: docker", *headers, "", ""]
    connection = h11.Connection(h11.SERVER)
    return routes.find(head.parse("\r\n".join(lines).encode(), connection))


@pytest.mark.parametrize("does", sorted({route.does for route in routes.ROUTES}))
def test_one_handler(does: str) -> None:
    """What a route does is a method of one class of handlers."""
    assert [hasattr(handlers, does) for handlers in _HANDLERS].count(True) == 1


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
def test_routes(call: str, does: str, name: str) -> None:
    """A call takes its route; what it is about is told as the client names it."""
    found = _find(call)

    assert (found.route.does, found.name) == (does, name)


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
        "GET /containers/json?all=1&all=1",
    ],
)
def test_no_route(call: str) -> None:
    """A call that is not known, by a name that nothing has, or with more to it, has no route."""
    with pytest.raises(Refusal):
        _find(call)


def test_repeated_parameters() -> None:
    """Parameters that make a list may stand more than once."""
    assert _find("POST /build?t=a&t=b", "Content-Length: 1").query["t"] == ["a", "b"]


def test_body_and_upgrade() -> None:
    """A body or an upgrade where none belongs is refused."""
    for call, header in (
        ("GET /info", "Content-Length: 1"),
        ("GET /info", "Transfer-Encoding: chunked"),
        ("POST /containers/create", "Transfer-Encoding: chunked"),
    ):
        with pytest.raises(Refusal, match="body"):
            _find(call, header)
    for call, protocol in (
        ("GET /info", "tcp"),
        ("POST /containers/x/attach", "h2c"),
        ("POST /session", "tcp"),
    ):
        with pytest.raises(Refusal, match="no call to upgrade to that"):
            _find(call, "Connection: Upgrade", f"Upgrade: {protocol}")
