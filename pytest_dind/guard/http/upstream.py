"""The way to the outer engine: a connection for each request, on its unix socket."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any, TypeAlias

import h11

from .head import NEWEST, target
from .refusal import Refusal
from .reply import Reply, dump
from .source import BUFFER, Source, connect

Headers: TypeAlias = "tuple[tuple[bytes, bytes], ...]"


class Upstream:
    """The outer engine.

    Args:
        path: Its socket.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self.version = NEWEST

    async def negotiate_version(self) -> None:
        """Find out the API version for the guard's own calls, and for those that name none."""
        newest = (await self.call("GET", "/version", version=None)).json()["ApiVersion"]
        major, minor = (int(number) for number in newest.split("."))
        self.version = min(NEWEST, (major, minor))

    @contextlib.asynccontextmanager
    async def connected(self) -> AsyncIterator[tuple[Source, asyncio.StreamWriter]]:
        """A connection of its own.

        Raises:
            Refusal: the engine does not take it.
        """
        try:
            reader, writer = await connect(self._path)
        except OSError as error:
            raise Refusal(502, f"pytest-dind guard: the engine is not there ({error})") from error
        try:
            yield reader, writer
        finally:
            writer.transport.abort()

    async def call(
        self,
        method: str,
        path: str,
        query: Mapping[str, list[str]] | None = None,
        body: Any = None,
        *,
        headers: Headers = (),
        version: tuple[int, int] | None = (0, 0),
    ) -> Reply:
        """Ask, and wait for the whole answer.

        Args:
            method: GET, POST, ...
            path: The path without the API's version.
            query: The parameters.
            body: What to send as JSON, if anything.
            headers: Further headers.
            version: The API version to ask in; None for none, and the guard's own by default.
        """
        content = b"" if body is None else dump(body)
        written = target(self.version if version == (0, 0) else version, path, query or {})
        sent = (*headers, (b"content-type", b"application/json")) if content else headers
        connection = h11.Connection(h11.CLIENT)
        async with self.connected() as (reader, writer):
            writer.write(head(connection, method, written, sent, length=len(content)))
            writer.write(end(connection, content))
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


def head(
    connection: h11.Connection,
    method: str,
    written: bytes,
    headers: Headers,
    *,
    length: int | None,
    upgrade: bytes = b"",
) -> bytes:
    """The head of a request to the engine, which is to be the only one on its connection.

    Args:
        connection: Writes the head, and afterwards the body.
        method: GET, POST, ...
        written: The target.
        headers: The headers that are the client's own.
        length: The body's length; None for chunks.
        upgrade: The protocol to upgrade to, empty for none.
    """
    # "close" also with an upgrade: an engine that declines it does not wait for another request.
    hop = [(b"Host", b"docker"), (b"Connection", b"close")]
    if upgrade:
        hop[1:] = [(b"Connection", b"Upgrade, close"), (b"Upgrade", upgrade)]
    if length is None:
        hop.append((b"Transfer-Encoding", b"chunked"))
    elif length or method in ("POST", "PUT"):
        hop.append((b"Content-Length", b"%d" % length))
    request = h11.Request(method=method, target=written, headers=[*hop, *headers])
    return connection.send(request) or b""


def end(connection: h11.Connection, content: bytes) -> bytes:
    """The rest of a request that has a head already: its body, whole."""
    body = connection.send(h11.Data(data=content)) if content else b""
    return (body or b"") + (connection.send(h11.EndOfMessage()) or b"")
