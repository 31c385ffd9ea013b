"""A proxy for HTTP/1.1 on unix sockets, which serves one request on each connection."""

from __future__ import annotations

import abc
import asyncio
import contextlib
import socket
from pathlib import Path

from . import client
from .client import Client
from .upstream import Upstream

BACKLOG = 1024
"""Clients that may wait to be accepted: more than the kernel's default, since the tests of many
workers connect at once."""


class Proxy(abc.ABC):
    """The base of the proxies: accepts clients, serves each in a task, and ends its connection.

    Each request has a connection of its own, on both sides, which ends with it. So nothing behind a
    request can be taken for another one.

    Args:
        engine: The engine behind it.
    """

    def __init__(self, engine: Upstream) -> None:
        self._engine = engine
        self._serving: set[asyncio.Task[None]] = set()

    @abc.abstractmethod
    async def serve(self, client: Client) -> bool:
        """Answer the request of a client.

        Returns:
            Whether the client may still be sending when it has its answer.

        Raises:
            OSError: one of the two sides is gone.
        """

    async def listen(self, listening: socket.socket) -> asyncio.AbstractServer:
        """Serve on a socket, which is bound already."""
        loop = asyncio.get_running_loop()
        return await loop.create_unix_server(
            lambda: client.protocol(self._run), sock=listening, backlog=BACKLOG
        )

    async def _run(self, client: Client) -> None:
        task = asyncio.current_task()
        assert task is not None
        # A loop alone does not keep a task: it would be collected when its client is gone.
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        sends = False
        try:
            # Where one of the two sides is gone, there is nobody to tell.
            with contextlib.suppress(OSError, asyncio.CancelledError):
                sends = await self.serve(client)
        finally:
            client.go_on_without()
            try:
                if sends:
                    await client.read_out()
            finally:
                # An end before the close: a forked child of this process may have the socket, too.
                with contextlib.suppress(OSError):
                    client.writer.write_eof()
                client.writer.close()


def bound(path: str) -> socket.socket:
    """Make a unix socket at a path, for `Proxy.listen`; one that an ended process left goes."""
    if Path(path).is_socket():
        Path(path).unlink()
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listening.bind(path)
    except BaseException:
        listening.close()
        raise
    listening.setblocking(False)
    return listening
