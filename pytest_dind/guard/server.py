"""The guard's server: reads one request on each connection, and has its handler answer it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
from collections.abc import Callable
from pathlib import Path

import h11

from .handlers import table
from .handlers.base import Context
from .handlers.exchange import Exchange
from .http import head
from .http.client import Client
from .http.proxy import Proxy
from .http.refusal import Refusal, malformed
from .http.reply import Reply, dump, reply_to
from .http.upstream import Upstream
from .objects.journal import Journal
from .objects.own_images import OwnImages
from .objects.ownership import Ownership
from .objects.run_labels import RunLabels
from .rules.policy import Policy

Log = Callable[[str], None]

# Of a socket that is closed, or whose other end is.
_OF_SOCKETS = frozenset({errno.EBADF, errno.ENOTCONN})


class Server(Proxy):
    """The guard as a server.

    Args:
        engine: The outer engine.
        labels: The run's labels.
        policy: The rules.
        home: The daemon's directory.
        log: Takes a line for each request that is refused.
    """

    def __init__(
        self, engine: Upstream, labels: RunLabels, policy: Policy, home: Path, log: Log
    ) -> None:
        super().__init__(engine)
        self._log = log
        self._making: set[asyncio.Future[None]] = set()
        ownership = Ownership(engine, labels, policy)
        journal = Journal(home)
        images = OwnImages(engine, labels, policy, journal)
        self._routes = table.routes(Context(engine, ownership, images, labels, policy, journal))

    async def drain(self, seconds: float) -> None:
        """Wait until no request is making anything, so that what was made can be removed."""
        if self._making:
            await asyncio.wait(self._making, timeout=seconds)

    async def serve(self, client: Client) -> bool:
        """Answer a request, by its handler or with a refusal."""
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=head.LIMIT)
        asked = "what could not be read"
        exchange: Exchange | None = None
        try:
            raw = await _read_head(client.reader)
            if not raw:
                return False
            asked = raw.split(b"\r\n", 1)[0].decode("ascii", "backslashreplace")
            request = head.parse(raw, connection)
            match = self._routes.find(request)
            exchange = Exchange(request, match, self._engine, connection, client)
            await self._handle(exchange)
        except Refusal as refusal:
            self._log(f"{refusal.status} {asked}: {refusal.message}")
            await _refuse(connection, client.writer, refusal)
        except Exception as error:
            if _is_of_a_side_that_left(error):
                # There is nobody to tell.
                return False
            self._log(f"500 {asked}: {error!r}")
            failure = Refusal(500, f"pytest-dind guard: {error!r}")
            await _refuse(connection, client.writer, failure)
        return exchange is None or exchange.unread

    async def _handle(self, exchange: Exchange) -> None:
        route = exchange.match.route
        if not route.finishes:
            return await route.handler(exchange)
        # The engine goes on with it to its end when the client leaves, so the guard must.
        exchange.go_on_without_client()
        making = asyncio.ensure_future(route.handler(exchange))
        self._making.add(making)
        try:
            await making
        finally:
            self._making.discard(making)
        return None


def _is_of_a_side_that_left(error: Exception) -> bool:
    """Whether an error says that the client or the engine is gone; one of a file does not."""
    if isinstance(error, (ConnectionError, TimeoutError, h11.RemoteProtocolError)):
        return True
    return isinstance(error, OSError) and error.errno in _OF_SOCKETS


async def _read_head(reader: asyncio.StreamReader) -> bytes:
    """Read the head of a request; empty if the client leaves without a request."""
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise malformed("the head has no end") from None
        return b""
    except asyncio.LimitOverrunError:
        raise malformed("the head is too long") from None


async def _refuse(
    connection: h11.Connection, writer: asyncio.StreamWriter, refusal: Refusal
) -> None:
    """Answer with a refusal, unless an answer has begun."""
    if connection.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
        return
    body = dump({"message": refusal.message}) + b"\n"
    with contextlib.suppress(OSError, h11.ProtocolError):
        await reply_to(connection, writer, Reply(refusal.status, b"application/json", body))
