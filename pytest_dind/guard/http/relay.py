"""Bytes on their way: answers and streams that are not looked into."""

from __future__ import annotations

import asyncio
import select
import sys
from typing import Any

from .refusal import Refusal
from .source import BUFFER, Source

# What the engine says of an answer that is none of HTTP's, but bytes both ways from here on.
_RAW = (b"application/vnd.docker.raw-stream", b"application/vnd.docker.multiplexed-stream")
_LOOK_SECONDS = 0.5
_END = b"\r\n\r\n"


class Client(asyncio.StreamReaderProtocol):
    """A client's side, which tells when the client has nothing more to send, or is gone.

    Attributes:
        task: What serves the client, and is to end when the client is gone, if anything.
        half_open: Whether the client may have nothing more to send, and still listen for long.
    """

    # A client that ends its side early may still wait for the answer to what it sent.
    _GRACE_SECONDS = 1

    task: asyncio.Task[None] | None = None
    half_open = False

    def eof_received(self) -> bool | None:
        """Take note that the client sends no more."""
        if self.task is not None and not self.half_open:
            asyncio.get_running_loop().call_later(self._GRACE_SECONDS, self._end)
        return super().eof_received()

    def connection_lost(self, error: Exception | None) -> None:
        """Take note that the client is gone."""
        self._end()
        super().connection_lost(error)

    def _end(self) -> None:
        if self.task is not None:
            self.task.cancel()


async def read_head(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """The head of the engine's answer, and what came with it.

    Raises:
        Refusal: the engine left without an answer.
    """
    data = b""
    while _END not in data:
        try:
            more = await reader.read(BUFFER)
        except OSError:
            more = b""
        if not more:
            raise Refusal(502, "pytest-dind guard: the engine closed the connection")
        data += more
    head, end, rest = data.partition(_END)
    return head + end, rest


def is_hijacked(status: int, head: bytes) -> bool:
    """Whether the engine reads from the connection what is no request any more."""
    if status == 101:
        return True
    lines = head.lower().split(b"\r\n")[1:]
    fields = {name: value.strip() for name, _, value in (line.partition(b":") for line in lines)}
    return (
        status == 200
        and b"content-length" not in fields
        and b"transfer-encoding" not in fields
        and fields.get(b"content-type") in _RAW
    )


async def both_ways(
    client: asyncio.StreamReader,
    to_client: asyncio.StreamWriter,
    engine: Source,
    to_engine: asyncio.StreamWriter,
) -> None:
    """Move bytes both ways until both ends have come; one end may come long before the other."""
    sent = asyncio.ensure_future(_sent(client, to_engine))
    # A side that is gone for good makes its pump fail, and the other has nobody to serve.
    pumps = asyncio.gather(sent, _heard(engine, to_client))
    left = asyncio.ensure_future(_left(sent, to_client))
    both: list[asyncio.Future[Any]] = [pumps, left]
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for one in both:
            one.cancel()
        await asyncio.gather(*both, return_exceptions=True)


async def _left(sent: asyncio.Future[None], writer: asyncio.StreamWriter) -> None:
    """Wait until a client that has nothing more to send is gone for good.

    To who reads from it both look the same. On what is quiet, such as a container that says
    nothing, a write would not tell for long.
    """
    await asyncio.wait([sent])
    poll = select.poll()
    poll.register(writer.get_extra_info("socket"), 0)
    # Elsewhere than on Linux the end of what it sends is a hang-up already.
    while sys.platform != "linux" or not poll.poll(0):
        await asyncio.sleep(_LOOK_SECONDS)


async def _sent(client: asyncio.StreamReader, to_engine: asyncio.StreamWriter) -> None:
    while data := await client.read(BUFFER):
        to_engine.write(data)
        await to_engine.drain()
    to_engine.write_eof()


async def _heard(engine: Source, to_client: asyncio.StreamWriter) -> None:
    await engine.pour(to_client)
    to_client.write_eof()
