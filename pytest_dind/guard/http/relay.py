"""Answers and streams that are moved from one side to the other without a look into them."""

from __future__ import annotations

import asyncio
import select
import sys
from typing import Any

from .client import Client
from .refusal import Refusal
from .source import BUFFER, Source

# The types of answers after which the connection is a raw stream both ways.
_RAW = (b"application/vnd.docker.raw-stream", b"application/vnd.docker.multiplexed-stream")
_LOOK_SECONDS = 0.5
_END = b"\r\n\r\n"


async def read_head(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Read the head of the engine's answer; returns it and the bytes that came behind it.

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
    """Whether the engine has taken over the connection as a raw stream, by its answer."""
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
    client: Client, engine: Source, to_engine: asyncio.StreamWriter, *, until_engine_ends: bool
) -> None:
    """Move bytes both ways.

    Args:
        client: The client, which may end its side long before the engine does.
        engine: Reads what the engine sends.
        to_engine: Writes to the engine.
        until_engine_ends: Whether the engine's end is the end of all; without, the client's is
            waited for, too.
    """
    sent = asyncio.ensure_future(_send(client.reader, to_engine))
    heard = asyncio.ensure_future(_answer(engine, client.writer))
    # A side that is gone for good makes its pump fail, and the other has nobody to serve.
    end = heard if until_engine_ends else asyncio.gather(sent, heard)
    client_left = asyncio.ensure_future(_wait_for_leave(sent, client.writer))
    pumps: list[asyncio.Future[Any]] = [end, client_left, sent, heard]
    try:
        await asyncio.wait([end, client_left], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)


async def _wait_for_leave(sent: asyncio.Future[None], writer: asyncio.StreamWriter) -> None:
    """Wait until a client that has nothing more to send is gone for good.

    A reader can't tell the two apart. On a quiet stream, such as that of a container that prints
    nothing, a write would not tell for long, either.
    """
    await asyncio.wait([sent])
    poll = select.poll()
    poll.register(writer.get_extra_info("socket"), 0)
    # Elsewhere than on Linux the end of what it sends is a hang-up already.
    while sys.platform != "linux" or not poll.poll(0):
        await asyncio.sleep(_LOOK_SECONDS)


async def _send(client: asyncio.StreamReader, to_engine: asyncio.StreamWriter) -> None:
    while data := await client.read(BUFFER):
        to_engine.write(data)
        await to_engine.drain()
    to_engine.write_eof()


async def _answer(engine: Source, to_client: asyncio.StreamWriter) -> None:
    await engine.pour(to_client)
    to_client.write_eof()
