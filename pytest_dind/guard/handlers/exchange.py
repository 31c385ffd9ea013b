"""The exchange of one request and its answer: passed on to the engine, or answered by the guard."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import h11

from ...engine import versions
from ..http import relay
from ..http.chunks import Chunks, Length
from ..http.client import Client
from ..http.head import Head
from ..http.refusal import Refusal, malformed
from ..http.reply import Reply, dump, reply_to
from ..http.source import BUFFER
from ..http.upstream import Headers, Request, Upstream, end, head
from ..rules import body as bodies
from ..rules.body import Json
from ..rules.routes import ANY, STREAM, Match

_NEWEST = re.compile(rb"(?i)(\r\napi-version: *)[0-9.]+")
_CLOSE = (b"Connection", b"close")

Lines = Callable[[bytes], AsyncIterator[bytes]]
"""Takes a line of an answer; yields the lines that the client gets for it."""


class Exchange:
    """A request whose head is parsed and whose route is found, and the ways to answer it.

    Attributes:
        unread: Whether the client may still be sending its body.
    """

    def __init__(
        self,
        request: Head,
        match: Match,
        engine: Upstream,
        connection: h11.Connection,
        client: Client,
    ) -> None:
        self.request = request
        self.match = match
        self._engine = engine
        self._connection = connection
        self._client = client
        self.unread = request.length != 0

    async def json(self) -> Json:
        """Read the request's body as JSON; no body is an empty object.

        Raises:
            Refusal: it is too long, or JSON that parsers read in different ways.
        """
        length = self.request.length or 0
        if length > bodies.LIMIT:
            raise malformed(f"a body of {length} bytes where JSON is expected")
        if not length:
            return {}
        kind = self.request.content_type or b"application/json"
        if kind.partition(b";")[0].strip().lower() != b"application/json":
            raise malformed("a body that is not application/json where JSON is expected")
        self._client.go_ahead(self._connection)
        try:
            # Bytes behind it stay unread: in a connection that is taken over they are its stream.
            raw = await self._client.reader.readexactly(length)
        except asyncio.IncompleteReadError:
            raise malformed("the body is shorter than its Content-Length") from None
        self.unread = False
        return bodies.parse(raw)

    async def answer(self, status: int, content: Any) -> None:
        """Answer with JSON."""
        await self.reply(Reply(status, b"application/json", dump(content) + b"\n"))

    async def answer_pruned(self, report: Json) -> None:
        """Answer with the report of a prune, which is a stream's last line where one is asked for.

        Engines have such streams since `versions.STREAMED_PRUNE`.
        """
        if self.match.flag("stream") and self.version >= versions.STREAMED_PRUNE.since:
            return await self.answer_lines([{"aux": report}])
        return await self.answer(200, report)

    async def answer_lines(self, contents: Iterable[Any]) -> None:
        """Answer with a line of JSON for each content, as engines report progress."""
        raw = b"".join(dump(content) + b"\r\n" for content in contents)
        await self.reply(Reply(200, b"application/json", raw))

    async def reply(self, reply: Reply) -> None:
        """Answer with a whole reply."""
        await reply_to(self._connection, self._client.writer, reply)

    async def call(self, path: str, content: Any = None) -> Reply:
        """Ask the engine for the client, and wait for the whole answer."""
        return await self._engine.ask(self._to_engine(path, self.request.headers), content)

    def _to_engine(self, path: str, headers: Headers, upgrade: bytes = b"") -> Request:
        return Request(self.request.method, path, self.match.query, self.version, headers, upgrade)

    @property
    def version(self) -> tuple[int, int]:
        """The API version of the request, or the newest that engine and guard know."""
        return self.request.version or self._engine.version

    async def forward(
        self,
        path: str,
        content: Json | None = None,
        *,
        lines: Lines | None = None,
        newest: tuple[int, int] | None = None,
    ) -> None:
        """Pass the request on, and its answer back.

        Args:
            path: The path to ask for; the parameters are those of `match`.
            content: The JSON to send, where the request's body is JSON.
            lines: Takes each line of a successful answer, and an empty one at its end; without, the
                answer goes to the client byte for byte.
            newest: Replaces the newest API version in the answer's head.
        """
        raw = b"" if content is None else dump(content)
        streams = self.match.route.body in (STREAM, ANY)
        connection = h11.Connection(h11.CLIENT)
        headers = self._headers(content is not None)
        sent = head(
            connection,
            self._to_engine(path, headers, self.request.upgrade),
            self.request.length if streams else len(raw),
        )
        async with self._engine.connected() as (reader, writer):
            writer.write(sent if streams else sent + end(connection, raw))
            async with self._sending(connection, writer, streams):
                first, rest = await relay.read_head(reader)
                if newest is not None:
                    first = _NEWEST.sub(rb"\g<1>" + versions.dotted(newest).encode(), first)
                status = int(first[9:12])
                if lines is not None and status == 200:
                    await self._filter(connection, first + rest, reader, lines)
                    return
                self._client.writer.write(first + rest)
                if self.match.route.hijacks and relay.is_hijacked(status, first):
                    self._client.expect_half_open()
                    await relay.both_ways(self._client, reader, writer, until_engine_ends=False)
                else:
                    if self.request.upgrade:
                        # The engine declines it, and would wait for another request.
                        writer.write_eof()
                    await reader.pour(self._client.writer)

    def _headers(self, json: bool) -> Headers:
        """The headers to pass on to the engine.

        The body's type is the route's: an engine takes a form's fields for parameters, and these
        win over those in the URL.
        """
        kinds = {STREAM: b"application/x-tar", ANY: self.request.content_type}
        kind = b"application/json" if json else kinds.get(self.match.route.body, b"")
        if not kind or not (json or self.request.length != 0):
            return self.request.headers
        return (*self.request.headers, (b"content-type", kind))

    @contextlib.asynccontextmanager
    async def _sending(
        self, connection: h11.Connection, writer: asyncio.StreamWriter, streams: bool
    ) -> AsyncIterator[None]:
        """Pass a streamed body on while the context lasts."""
        if not streams or self.request.length == 0:
            if streams:
                writer.write(end(connection, b""))
            yield
            return
        self._client.go_ahead(self._connection)
        sending = asyncio.ensure_future(self._send_body(writer))
        try:
            yield
        finally:
            sending.cancel()
            # An engine may answer without having read it all, and close.
            with contextlib.suppress(asyncio.CancelledError, OSError):
                await sending

    async def _send_body(self, writer: asyncio.StreamWriter) -> None:
        """Pass the request's body on unchanged, up to its end and no further."""
        length = self.request.length
        body = Chunks() if length is None else Length(length)
        with contextlib.suppress(Refusal):
            await self._client.reader.pour(writer, body)
        self.unread = not body.done
        if self.unread:
            # The body broke off, or is malformed: the engine gets an unexpected end.
            writer.write_eof()

    def go_on_without_client(self) -> None:
        """Let the request go on to its end when the client leaves."""
        self._client.go_on_without()

    async def _filter(
        self,
        connection: h11.Connection,
        sent: bytes,
        reader: asyncio.StreamReader,
        lines: Lines,
    ) -> None:
        """Pass an answer back line by line, through `lines`."""
        connection.receive_data(sent)
        rest = b""
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(await reader.read(BUFFER))
            elif isinstance(event, h11.Response):
                kind = dict(event.headers).get(b"content-type", b"application/json")
                headers = [(b"Content-Type", kind), _CLOSE]
                await self._send(h11.Response(status_code=200, headers=headers))
            elif isinstance(event, h11.Data):
                *whole, rest = (rest + bytes(event.data)).split(b"\n")
                for line in whole:
                    await self._send_lines(lines(line + b"\n"))
            elif isinstance(event, h11.EndOfMessage):
                if rest:
                    await self._send_lines(lines(rest))
                await self._send_lines(lines(b""))
                await self._send(h11.EndOfMessage())
                return

    async def _send_lines(self, lines: AsyncIterator[bytes]) -> None:
        async for line in lines:
            if line:
                await self._send(h11.Data(data=line))

    async def _send(self, event: h11.Event) -> None:
        data = self._connection.send(event) or b""
        if self._client.writer.is_closing():
            # A request that goes on without its client has its answer read to the end, for `lines`.
            return
        self._client.writer.write(data)
        with contextlib.suppress(*(() if self._client.is_awaited else (ConnectionError,))):
            await self._client.writer.drain()
