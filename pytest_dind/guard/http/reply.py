"""Whole answers: one as it came from the engine, and one as it is written to a client."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass
from typing import Any

import h11


@dataclass(frozen=True)
class Reply:
    """A whole answer, of the engine or in its place."""

    status: int
    content_type: bytes
    body: bytes

    @property
    def ok(self) -> bool:
        """Whether its status tells of success."""
        return 200 <= self.status < 300

    def json(self) -> Any:
        """Its body, parsed as JSON."""
        return json.loads(self.body)


def dump(content: Any) -> bytes:
    """Write a value as JSON, in the form in which it is passed on."""
    return json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


async def reply_to(connection: h11.Connection, writer: asyncio.StreamWriter, reply: Reply) -> None:
    """Write a whole answer to a client, as the only one on its connection."""
    headers = [
        (b"Content-Type", reply.content_type),
        (b"Content-Length", b"%d" % len(reply.body)),
        (b"Connection", b"close"),
    ]
    writer.write(connection.send(h11.Response(status_code=reply.status, headers=headers)) or b"")
    # An answer to HEAD has the length of a body, but none, as h11 knows.
    with contextlib.suppress(h11.LocalProtocolError):
        writer.write(connection.send(h11.Data(data=reply.body)) or b"")
    await writer.drain()
