"""The client's side of a connection, and when the client has left it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import h11

from .source import BUFFER, QuietProtocol, Source

_GO_AHEAD = b"HTTP/1.1 100 Continue\r\n\r\n"
_QUIET_SECONDS = 1
_LONGEST_SECONDS = 30


class _Protocol(QuietProtocol):
    """Ends the task that serves a client when the client leaves.

    Attributes:
        task: The task; None where it goes on without the client.
        half_open: Whether a client that sends no more is expected to listen for long.
    """

    # A client that ends its side early may still wait for the answer to what it sent.
    _GRACE_SECONDS = 1

    task: asyncio.Task[None] | None = None
    half_open = False

    def eof_received(self) -> bool | None:
        """Give a client that sends no more a moment to take its answer."""
        if self.task is not None and not self.half_open:
            asyncio.get_running_loop().call_later(self._GRACE_SECONDS, self._end)
        return super().eof_received()

    def connection_lost(self, error: Exception | None) -> None:
        """End the task: nobody waits for its answer."""
        self._end()
        super().connection_lost(error)

    def _end(self) -> None:
        if self.task is not None:
            self.task.cancel()


@dataclass(frozen=True)
class Client:
    """A client that has connected.

    Attributes:
        reader: Reads what it sends.
        writer: Writes to it.
    """

    reader: Source
    writer: asyncio.StreamWriter
    _protocol: _Protocol

    @property
    def is_awaited(self) -> bool:
        """Whether the task that serves it ends when it leaves."""
        return self._protocol.task is not None

    def go_on_without(self) -> None:
        """Have the task that serves it go on when it leaves."""
        self._protocol.task = None

    def expect_half_open(self) -> None:
        """Take the end of what it sends for a part of the stream: it may listen for long."""
        self._protocol.half_open = True

    def go_ahead(self, connection: h11.Connection) -> None:
        """Ask for the body, where the client waits to be asked (`Expect: 100-continue`)."""
        if connection.they_are_waiting_for_100_continue:
            self.writer.write(_GO_AHEAD)

    async def read_body(self, connection: h11.Connection) -> bytes:
        """Read the whole body of the request whose head `connection` has read.

        What came behind the body is dropped, so this is for calls after which nothing comes.

        Raises:
            h11.RemoteProtocolError: it is cut short, or is no body.
        """
        self.go_ahead(connection)
        parts = []
        while not isinstance(event := connection.next_event(), h11.EndOfMessage):
            if event is h11.NEED_DATA:
                connection.receive_data(await self.reader.read(BUFFER))
            elif isinstance(event, h11.Data):
                parts.append(bytes(event.data))
        return b"".join(parts)

    async def read_out(self) -> None:
        """Drop what a client still sends that has its answer.

        It may not read the answer before it has sent all, and an end in between is an error to it.
        """
        with contextlib.suppress(OSError):
            self.writer.write_eof()
            await self.reader.drop(_QUIET_SECONDS, _LONGEST_SECONDS)


def protocol(serve: Callable[[Client], Awaitable[None]]) -> asyncio.BaseProtocol:
    """Make the protocol of a new connection, which has the client served in a task of its own."""
    source = Source()
    made: _Protocol

    async def connected(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        made.task = asyncio.current_task()
        await serve(Client(source, writer, made))

    made = _Protocol(source, connected, loop=asyncio.get_running_loop())
    return made
