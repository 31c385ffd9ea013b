"""A stream reader that can pour what comes into a writer, without a buffer in between."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Iterable
from typing import Protocol, SupportsIndex

from .refusal import Refusal

BUFFER = 512 * 1024
"""The most bytes of a stream that are read, or wait to be written, at a time."""


class Body(Protocol):
    """Finds the end of a body in a stream."""

    @property
    def done(self) -> bool:
        """Whether the end was found."""

    def feed(self, data: bytes) -> int:
        """Take the next bytes; returns how many of them belong to the body."""


class Source(asyncio.StreamReader):
    """A stream reader that hands on what comes as it comes: `read` would copy it twice."""

    def __init__(self) -> None:
        super().__init__(limit=BUFFER)
        self._from: asyncio.ReadTransport | None = None
        self._into: asyncio.StreamWriter | None = None
        self._body: Body | None = None
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._draining: asyncio.Future[None] | None = None
        self._dropping, self._dropped = False, 0
        self._closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def pour(self, writer: asyncio.StreamWriter, body: Body | None = None) -> None:
        """Move all that comes from here on to a writer, up to the end.

        Args:
            writer: Takes it.
            body: Finds the end; without, the end is that of the stream.

        Raises:
            Refusal: `body` finds that it is no body.
        """
        # Behind an end, `read` gives what has come so far without waiting.
        super().feed_eof()
        before = await self.read()
        self._into, self._body = writer, body
        self._hand_on(before)
        try:
            await self._ended
        finally:
            if self._draining is not None:
                self._draining.cancel()
        await writer.drain()

    def set_transport(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport, which can pause the reading."""
        assert isinstance(transport, asyncio.ReadTransport)
        self._from = transport
        super().set_transport(transport)

    def feed_data(self, data: Iterable[SupportsIndex]) -> None:
        """Hand on what came; while the writer is full, the rest waits in the kernel."""
        if self._dropping:
            self._dropped += 1
        elif self._into is None:
            super().feed_data(data)
        elif not self._ended.done():
            self._hand_on(bytes(data) if not isinstance(data, bytes) else data)

    def _hand_on(self, data: bytes) -> None:
        assert self._into is not None
        if self._body is not None:
            try:
                data = data[: self._body.feed(data)]
            except Refusal as refusal:
                self._end(refusal)
                return
            if self._body.done:
                self._end(None)
        self._into.write(data)
        if self._into.transport.get_write_buffer_size() > BUFFER and self._from is not None:
            self._from.pause_reading()
            self._draining = asyncio.ensure_future(self._drain(self._from, self._into))

    async def drop(self, quiet: float, longest: float) -> None:
        """Drop all that comes from here on, up to the end or until nothing comes for a while.

        Args:
            quiet: Seconds without anything after which to stop.
            longest: Seconds after which to stop in any case.
        """
        self._dropping = True
        if self._from is not None and not self._from.is_closing():
            self._from.resume_reading()
        deadline = time.monotonic() + longest
        dropped = -1
        while dropped != self._dropped and time.monotonic() < deadline:
            dropped = self._dropped
            if (await asyncio.wait([self._closed], timeout=quiet))[0]:
                return

    async def _drain(self, source: asyncio.ReadTransport, writer: asyncio.StreamWriter) -> None:
        try:
            await writer.drain()
        except OSError as error:
            self._end(error)
        else:
            source.resume_reading()

    def feed_eof(self) -> None:
        """End the pouring: the stream has ended."""
        self._close()
        self._end(None)
        super().feed_eof()

    def set_exception(self, error: BaseException) -> None:
        """End the pouring with an error: the stream broke off."""
        self._close()
        self._end(error if self._into else None)
        super().set_exception(error)  # type: ignore[arg-type]

    def _close(self) -> None:
        if not self._closed.done():
            self._closed.set_result(None)

    def _end(self, error: BaseException | None) -> None:
        if self._ended.done():
            return
        if error is None:
            self._ended.set_result(None)
        else:
            self._ended.set_exception(error)


class QuietProtocol(asyncio.StreamReaderProtocol):
    """A connection that may break off without a word in the log."""

    _closed: asyncio.Future[None]

    def connection_lost(self, error: Exception | None) -> None:
        """Take the error for told: nobody waits for the close, of which readers and writers hear.

        asyncio logs an error that nobody has asked for, with a traceback, unless the collector of
        garbage comes to the protocol before it comes to the future.
        """
        super().connection_lost(error)
        if self._closed.done() and not self._closed.cancelled():
            self._closed.exception()


class _Protocol(QuietProtocol):
    """Keeps what the other side has sent before it closed.

    A server may answer and close before it has read all of a request. The next write fails then,
    and asyncio drops what was not read yet, the answer.
    """

    _transport: asyncio.BaseTransport

    def __init__(self, reader: Source) -> None:
        super().__init__(reader, loop=asyncio.get_running_loop())
        self._reader = reader

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport, whose socket is open until after the end."""
        self._transport = transport
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        """Read what is there, if it was a write that failed."""
        unread = b""
        if isinstance(error, ConnectionError):
            with contextlib.suppress(OSError):
                descriptor = self._transport.get_extra_info("socket").fileno()
                while data := os.read(descriptor, BUFFER):
                    unread += data
        if unread:
            self._reader.feed_data(unread)
            error = None
        super().connection_lost(error)


async def connect(path: str) -> tuple[Source, asyncio.StreamWriter]:
    """Connect to a unix socket.

    Raises:
        OSError: nobody accepts connections there.
    """
    loop = asyncio.get_running_loop()
    reader = Source()
    protocol = _Protocol(reader)
    transport, _ = await loop.create_unix_connection(lambda: protocol, path)
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)
