"""The way to an engine: what comes of an engine that closes while it is being sent something."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest

from pytest_dind.guard.http.client import Client, protocol
from pytest_dind.guard.http.source import QuietProtocol, Source, connect

_SECONDS = 20


@pytest.mark.parametrize("answer", [b"HTTP/1.1 404 Not Found\r\n\r\n", b"x" * 100_000, b""])
def test_answer_before_the_end_of_the_request(short_path: Path, answer: bytes) -> None:
    """An answer is heard although the engine has closed, and the rest of a request can't be sent.

    Engines answer a refused upload so.
    """

    async def ask(listening: socket.socket) -> bytes:
        reader, writer = await connect(str(short_path / "e"))
        engine, _ = listening.accept()
        with engine:
            engine.sendall(answer)
        # Fails at once, before what has come is looked at.
        writer.write(b"the rest")
        try:
            return await asyncio.wait_for(reader.read(), _SECONDS)
        finally:
            writer.close()

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(str(short_path / "e"))
        listening.listen()
        if answer:
            assert asyncio.run(ask(listening)) == answer
        else:
            with pytest.raises(BrokenPipeError):
                asyncio.run(ask(listening))


def test_connection_that_breaks_off() -> None:
    """A client that hangs up, and an engine, leave no error that asyncio would log."""

    async def play() -> list[bool]:
        async def serve(_: Client) -> None:
            """Nobody is to be served."""

        told = []
        loop = asyncio.get_running_loop()
        for made in (protocol(serve), QuietProtocol(Source(), loop=loop)):
            lost: Any = made
            lost.connection_lost(BrokenPipeError())
            assert lost._closed.done()
            told.append(lost._closed._log_traceback)
        return told

    assert asyncio.run(play()) == [False, False]
