"""The strict parser of request heads: what it accepts, an engine can't read in another way."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, unquote, urlencode

import h11

from ...engine.versions import OLDEST_API, READ_API, api, dotted
from .refusal import malformed

LIMIT = 64 * 1024
"""Bytes a head may have."""

_REQUEST_LINE = re.compile(rb"([A-Z]+) (/[!-~]*) HTTP/1\.1")
_VERSIONED = re.compile(r"/v(1\.[0-9]{1,3})(/.*)")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_LENGTH = re.compile(rb"[0-9]{1,15}")
# Headers that may stand once: of several, the engine might choose another one.
_ONCE = {b"content-length", b"content-type", b"transfer-encoding", b"upgrade", b"connection"}
_UPGRADES = {b"", b"tcp", b"h2c", b"websocket"}

# The headers that are passed on. All others are for a server in between, or unknown.
_PASSED = {
    b"user-agent",
    b"x-registry-auth",
    b"x-registry-config",
}
_PASSED_PREFIXES = (b"x-docker-expose-session-", b"x-meta-", b"sec-websocket-")


@dataclass(frozen=True)
class Head:
    """A parsed head: what the request asks for.

    Attributes:
        method: GET, POST, ...
        path: Its path without the API's version, decoded.
        version: The API's version; None where the path names none.
        query: Its parameters, decoded, in order.
        headers: What is passed on, names in lower case.
        content_type: The type of its body; empty where the head has none.
        length: Its body's length; 0 without a body, None where the body comes in chunks.
        upgrade: The protocol to upgrade to, empty for none.
    """

    method: str
    path: str
    version: tuple[int, int] | None
    query: tuple[tuple[str, str], ...]
    headers: tuple[tuple[bytes, bytes], ...]
    length: int | None
    upgrade: bytes
    content_type: bytes = b""


def parse(raw: bytes, connection: h11.Connection) -> Head:
    """Parse a head, which ends with its empty line.

    Args:
        raw: The bytes.
        connection: Reads the head, and afterwards the body.

    Raises:
        Refusal: it is not a head that all parsers read alike.
    """
    first = _first_line(raw)
    try:
        connection.receive_data(raw)
        event = connection.next_event()
    except h11.RemoteProtocolError as error:
        raise malformed(f"the head is not valid HTTP ({error})") from None
    if not isinstance(event, h11.Request):
        raise malformed("the head is not a request's")
    headers = dict(event.headers)
    version, path = _path(first[2].partition(b"?")[0].decode())
    return Head(
        method=first[1].decode(),
        path=path,
        version=version,
        query=_query(first[2].partition(b"?")[2].decode()),
        headers=tuple((name, value) for name, value in event.headers if _is_passed(name)),
        length=_body_length(headers),
        upgrade=_upgrade(headers),
        content_type=headers.get(b"content-type", b""),
    )


def _first_line(raw: bytes) -> re.Match[bytes]:
    """Match the first line of a head, and check that no line can be read in two ways.

    Raises:
        Refusal: a line can.
    """
    if len(raw) > LIMIT:
        raise malformed("the head is too long")
    lines = raw[:-4].split(b"\r\n")
    if not raw.endswith(b"\r\n\r\n") or any(
        byte < 32 and byte != 9 for line in lines for byte in line
    ):
        raise malformed("the head has a control character, or a line that ends in half of CR LF")
    if any(line[:1] in (b" ", b"\t") for line in lines):
        raise malformed("a header is folded, or begins with a space")
    first = _REQUEST_LINE.fullmatch(lines[0])
    if first is None:
        raise malformed("the first line is not METHOD /PATH HTTP/1.1")
    names = [line.partition(b":")[0].lower() for line in lines[1:]]
    for name in _ONCE:
        if names.count(name) > 1:
            raise malformed(f"there are two headers {name.decode()}")
    for name, line in zip(names, lines[1:], strict=True):
        # h11 takes "2, 2" for 2, as RFC 9110 allows; an engine might not.
        value = line.partition(b":")[2].strip(b" \t")
        if name == b"content-length" and not _LENGTH.fullmatch(value):
            raise malformed("its Content-Length is not a number")
    return first


def _is_passed(name: bytes) -> bool:
    return name in _PASSED or name.startswith(_PASSED_PREFIXES)


def _body_length(headers: Mapping[bytes, bytes]) -> int | None:
    length, coding = headers.get(b"content-length"), headers.get(b"transfer-encoding")
    if coding is not None:
        if length is not None:
            raise malformed("it has both Content-Length and Transfer-Encoding")
        if coding.lower() != b"chunked":
            raise malformed("its Transfer-Encoding is not chunked")
        return None
    return int(length or 0)


def _upgrade(headers: Mapping[bytes, bytes]) -> bytes:
    tokens = {token.strip().lower() for token in headers.get(b"connection", b"").split(b",")}
    protocol = headers.get(b"upgrade", b"").lower()
    if not tokens <= {b"", b"close", b"keep-alive", b"upgrade"}:
        raise malformed("its Connection header names headers to leave out")
    if (b"upgrade" in tokens) != bool(protocol) or protocol not in _UPGRADES:
        raise malformed("its Upgrade and Connection headers do not go together")
    return protocol


def _path(raw: str) -> tuple[tuple[int, int] | None, str]:
    """The API's version and the rest of a path, decoded."""
    if _BAD_ESCAPE.search(raw):
        raise malformed("the path has a % that no two hex digits follow")
    try:
        path = unquote(raw, errors="strict")
    except UnicodeDecodeError:
        raise malformed("the path is not UTF-8") from None
    # An escaped slash is one for some routers and none for others; an escaped % hides another.
    if raw.count("/") != path.count("/") or "%" in path or "\\" in path:
        raise malformed("the path has an escaped slash, % or backslash")
    if any(part in ("", ".", "..") for part in path[1:].split("/")):
        raise malformed("the path has an empty part, . or ..")
    if not path.isascii() or not path.isprintable() or "#" in path or "?" in path:
        raise malformed("the path has a character that no name has")
    match = _VERSIONED.fullmatch(path)
    if match is None:
        if re.match(r"/v[0-9.]+(/|$)", path):
            raise malformed("the path begins with an API version that is not 1.x")
        return None, path
    major, minor = api(match[1])
    if not OLDEST_API <= (major, minor) <= READ_API or match[1] != f"{major}.{minor}":
        raise malformed(
            f"the API version {match[1]} is not known; known are {dotted(OLDEST_API)} to "
            f"{dotted(READ_API)}"
        )
    return (major, minor), match[2]


def _query(raw: str) -> tuple[tuple[str, str], ...]:
    if not raw:
        return ()
    if _BAD_ESCAPE.search(raw) or ";" in raw:
        # Go took a semicolon for another & until 1.17, and refuses it since.
        raise malformed("the query has a bare ; or a % that no two hex digits follow")
    try:
        found = parse_qsl(raw, keep_blank_values=True, errors="strict")
    except (UnicodeDecodeError, ValueError):
        raise malformed("the query is not UTF-8, or too long") from None
    if any("\0" in part for pair in found for part in pair):
        raise malformed("the query has a NUL character")
    return tuple(found)


def target(version: tuple[int, int] | None, path: str, query: Mapping[str, list[str]]) -> bytes:
    """A request's target as it is passed on, written anew from what was understood."""
    prefix = f"/v{dotted(version)}" if version else ""
    parameters = urlencode(query, doseq=True)
    written = quote(path, safe="/:@!$&'()*+,;=")
    return f"{prefix}{written}{'?' if parameters else ''}{parameters}".encode()
