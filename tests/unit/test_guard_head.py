"""Heads of requests: what is read, and what is not."""

from __future__ import annotations

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_dind.guard.http import head
from pytest_dind.guard.http.refusal import Refusal


def _parse(raw: bytes) -> head.Head:
    return head.parse(raw, h11.Connection(h11.SERVER, max_incomplete_event_size=head.LIMIT))


def _get(target: str, *headers: str) -> bytes:
    lines = [f"GET {target} HTTP/1.1", "Host: docker", *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1")


def test_head() -> None:
    """A head is its method, path, version, parameters and length; of its headers few are kept."""
    raw = (
        b"POST /v1.41/containers/create?name=a%2Fb&x= HTTP/1.1\r\nHost: docker\r\n"
        b"X-Registry-Auth: abc\r\nX-Docker-Expose-Session-Grpc-Method: /a\r\n"
        b"X-Docker-Expose-Session-Grpc-Method: /b\r\nCookie: c\r\n"
        b"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n"
    )
    found = _parse(raw)

    assert (found.method, found.path, found.version) == ("POST", "/containers/create", (1, 41))
    assert found.query == (("name", "a/b"), ("x", ""))
    assert (found.length, found.upgrade, found.content_type) == (2, b"", b"application/json")
    assert found.headers == (
        (b"x-registry-auth", b"abc"),
        (b"x-docker-expose-session-grpc-method", b"/a"),
        (b"x-docker-expose-session-grpc-method", b"/b"),
    )


def test_no_version() -> None:
    """A path without a version is taken as one; an image may begin with a v."""
    assert (_parse(_get("/_ping")).version, _parse(_get("/_ping")).path) == (None, "/_ping")
    assert _parse(_get("/images/v1.2/json")).path == "/images/v1.2/json"


@pytest.mark.parametrize("version", ["1.24", "1.41", "1.57"])
def test_known_versions(version: str) -> None:
    """Versions from the oldest to the newest that is known are taken."""
    assert _parse(_get(f"/v{version}/info")).path == "/info"


@pytest.mark.parametrize(
    "version", ["1.23", "1.58", "1.0", "2.0", "1.041", "1", "1.41.1", ".", "1."]
)
def test_unknown_versions(version: str) -> None:
    """Others are not."""
    with pytest.raises(Refusal, match="API version"):
        _parse(_get(f"/v{version}/info"))


def test_chunks_and_upgrade() -> None:
    """A body in chunks has no length; an upgrade is told with its protocol."""
    assert _parse(_get("/x", "Transfer-Encoding: chunked")).length is None
    assert _parse(_get("/x", "Connection: Upgrade", "Upgrade: TCP")).upgrade == b"tcp"


def test_target_is_written_anew() -> None:
    """What is passed on is written from what was understood."""
    target = head.target((1, 41), "/images/a:b/json", {"f": ['{"a b"}'], "t": ["1", "2"]})

    assert target == b"/v1.41/images/a:b/json?f=%7B%22a+b%22%7D&t=1&t=2"


@given(st.binary(max_size=300))
def test_any_bytes(raw: bytes) -> None:
    """Any bytes are a head or a refusal with status 400, and nothing else."""
    try:
        _parse(raw + b"\r\n\r\n")
    except Refusal as refusal:
        assert refusal.status == 400  # noqa: PT017


@given(st.text(st.sampled_from("/.%2fF5eE0cCvV1a\\?#;&= \x00é"), max_size=30))
def test_any_path(text: str) -> None:
    """Whatever the path, what is understood has no empty part, dots, escape or odd character.

    A space is none: networks can have one in their names.
    """
    try:
        found = _parse(_get("/" + text))
    except (Refusal, UnicodeEncodeError):
        return
    parts = found.path[1:].split("/")
    assert not {"", ".", ".."}.intersection(parts)
    assert not set(found.path) & set("%\\?#\x00")
    written = head.target(found.version, found.path, {key: [value] for key, value in found.query})
    again = _parse(_get(written.decode()))
    assert (again.path, again.version) == (found.path, found.version)


@given(st.lists(st.tuples(st.text(max_size=8), st.text(max_size=8)), max_size=5))
def test_any_parameters(pairs: list[tuple[str, str]]) -> None:
    """Parameters come out as they went in, whatever is in them."""
    from urllib.parse import urlencode

    try:
        written = urlencode(pairs)
    except UnicodeEncodeError:
        return
    if "%00" in written:
        return
    assert _parse(_get(f"/x?{written}")).query == tuple(pairs)
