"""The client of the outer engine: one connection to its unix socket for each request."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import h11

from ...engine import versions
from .head import target as written_target
from .refusal import Refusal
from .reply import Reply, dump
from .source import BUFFER, Source, connect

Headers: TypeAlias = "tuple[tuple[bytes, bytes], ...]"


@dataclass(frozen=True)
class Request:
    """A request to the engine, but for its body.

    Attributes:
        method: GET, POST, ...
        path: The path without the API's version.
        query: The parameters.
        version: The API version to ask in; None for none.
        headers: Headers beside those that each request has.
        upgrade: The protocol to upgrade to, empty for none.
    """

    method: str
    path: str
    query: Mapping[str, list[str]] = field(default_factory=dict)
    version: tuple[int, int] | None = None
    headers: Headers = ()
    upgrade: bytes = b""


class Upstream:
    """The outer engine.

    Args:
        path: Its socket.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self.version = versions.READ_API

    async def negotiate_version(self) -> None:
        """Find the API version for the guard's own calls, and for requests that name none."""
        newest = (await self.ask(Request("GET", "/version"))).json()["ApiVersion"]
        self.version = min(versions.READ_API, versions.api(newest))

    @contextlib.asynccontextmanager
    async def connected(self) -> AsyncIterator[tuple[Source, asyncio.StreamWriter]]:
        """Open a connection, for as long as the context lasts.

        Raises:
            Refusal: the engine does not accept it.
        """
        try:
            reader, writer = await connect(self._path)
        except OSError as error:
            raise Refusal(502, f"pytest-dind guard: the engine is not there ({error})") from error
        try:
            yield reader, writer
        finally:
            # The engine sees the end even where a child of this process has the socket too.
            with contextlib.suppress(OSError):
                writer.get_extra_info("socket").shutdown(socket.SHUT_RDWR)
            writer.transport.abort()

    async def call(
        self, method: str, path: str, query: Mapping[str, list[str]] | None = None, body: Any = None
    ) -> Reply:
        """Ask something of the guard's own, and wait for the whole answer.

        Args:
            method: GET, POST, ...
            path: The path without the API's version.
            query: The parameters.
            body: The value to send as JSON; None for no body.
        """
        return await self.ask(Request(method, path, query or {}, self.version), body)

    async def ask(self, request: Request, body: Any = None) -> Reply:
        """Send a request, with a body of JSON if any, and wait for the whole answer.

        Raises:
            Refusal: the engine is not there, or breaks off.
        """
        content = b"" if body is None else dump(body)
        if content:
            json = (b"content-type", b"application/json")
            request = replace(request, headers=(*request.headers, json))
        connection = h11.Connection(h11.CLIENT)
        async with self.connected() as (reader, writer):
            writer.write(head(connection, request, len(content)) + end(connection, content))
            try:
                return await _answer(connection, reader)
            except (OSError, h11.RemoteProtocolError) as error:
                raise Refusal(
                    502, f"pytest-dind guard: the engine broke its answer off ({error})"
                ) from error


async def _answer(connection: h11.Connection, reader: asyncio.StreamReader) -> Reply:
    status, kind, parts = 0, b"", []
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(BUFFER))
        elif isinstance(event, h11.Response):
            status = event.status_code
            kind = dict(event.headers).get(b"content-type", b"application/json")
        elif isinstance(event, h11.Data):
            parts.append(bytes(event.data))
        elif isinstance(event, h11.EndOfMessage):
            return Reply(status, kind, b"".join(parts))
        elif isinstance(event, h11.ConnectionClosed):
            raise Refusal(502, "pytest-dind guard: the engine closed the connection")


def head(connection: h11.Connection, request: Request, length: int | None) -> bytes:
    """The head of a request to the engine, which is to be the only one on its connection.

    Args:
        connection: Writes the head, and afterwards the body.
        request: The request.
        length: The body's length; None for chunks.
    """
    hop = [(b"Host", b"docker"), (b"Connection", b"close")]
    if request.upgrade:
        # Podman knows no upgrade with a "close" beside it.
        hop[1:] = [(b"Connection", b"Upgrade"), (b"Upgrade", request.upgrade)]
    if length is None:
        hop.append((b"Transfer-Encoding", b"chunked"))
    elif length or request.method in ("POST", "PUT"):
        hop.append((b"Content-Length", b"%d" % length))
    headers = [*hop, *request.headers]
    target = written_target(request.version, request.path, request.query)
    return (
        connection.send(h11.Request(method=request.method, target=target, headers=headers)) or b""
    )


def end(connection: h11.Connection, content: bytes) -> bytes:
    """The body of a request whose head is written, whole, and its end."""
    body = connection.send(h11.Data(data=content)) if content else b""
    return (body or b"") + (connection.send(h11.EndOfMessage()) or b"")
