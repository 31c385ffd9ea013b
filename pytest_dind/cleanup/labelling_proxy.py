"""A proxy to a daemon that labels what is made through it: one in each process that shares it.

Several processes make containers, networks and volumes in one daemon at the same time, and nothing
in the daemon tells who made which. So each process has a socket of its own, in front of the
daemon's. It adds a label to the calls that make something, and hands on all else byte for byte.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import socket
import threading
from itertools import filterfalse
from pathlib import Path
from typing import Any
from urllib.parse import quote

import h11

from ..guard.http import relay
from ..guard.http.client import Client
from ..guard.http.proxy import BACKLOG, Proxy, bound
from ..guard.http.refusal import Refusal
from ..guard.http.source import BUFFER
from ..guard.http.upstream import Request, Upstream
from ..guard.rules.mounts import with_anonymous
from ..lifetime.labels import BY

_CREATE = re.compile(
    rb"POST (?:http://[^/ ]*)?(?:/v[\d.]+)?/(containers|networks|volumes)/create(?:\?\S*)? HTTP/"
)
_END = b"\r\n\r\n"
_SECONDS = 60
_BAD_REQUEST = 400


class LabellingProxy(Proxy):
    """A proxy on a socket at `path`, which serves in a thread until it is closed.

    Unlike the guard it is lenient: it understands nothing but the calls that make something, and
    leaves it to the daemon to refuse what is malformed.

    Attributes:
        by: The value of the label; set to another text at any time.
        path: Its own socket.
        target: The URL of the daemon's socket.
    """

    def __init__(self, path: Path, target: Path) -> None:
        super().__init__(Upstream(str(target)))
        self.by = ""
        self.path = path
        self.target = f"unix://{target}"
        self._process = os.getpid()
        self._listening = bound(str(path))
        path.chmod(0o660)
        # From here on clients wait, where the thread is not yet there to accept them.
        self._listening.listen(BACKLOG)
        self._loop = asyncio.new_event_loop()
        self._closing = asyncio.Event()
        threading.Thread(target=self._work, name="pytest-dind labelling", daemon=True).start()

    def close(self) -> None:
        """Take no further connections; those that are open go on."""
        # The socket is shared with a child that was forked, and the thread is not in it.
        if os.getpid() != self._process or self._listening.fileno() < 0:
            return
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self.path.unlink(missing_ok=True)
        self._loop.call_soon_threadsafe(self._closing.set)

    def _work(self) -> None:
        # A connection that can't be accepted for want of descriptors is accepted later, and what
        # comes of one that breaks off is told by its client: there is nothing to log.
        self._loop.set_exception_handler(lambda loop, context: None)
        try:
            self._loop.run_until_complete(self._serve_all())
        finally:
            self._loop.close()

    async def _serve_all(self) -> None:
        """Serve until it is closed, and then until the last connection has ended."""
        listener = await self.listen(self._listening.dup())
        await self._closing.wait()
        listener.close()
        while self._serving:
            await asyncio.wait(self._serving)

    async def serve(self, client: Client) -> bool:
        """Hand on a request and all that follows on its connection."""
        client.expect_half_open()
        try:
            head = await client.reader.readuntil(_END)
            request = await self._request(head, client)
            async with self._engine.connected() as (reader, writer):
                writer.write(request)
                await relay.both_ways(client, reader, writer, until_engine_ends=True)
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.TimeoutError):
            return False
        except (Refusal, ValueError, h11.RemoteProtocolError):
            # To the client it is the daemon that breaks off.
            return False
        return True

    async def _request(self, head: bytes, client: Client) -> bytes:
        """The request as the daemon gets it, as far as it has come."""
        create = _CREATE.match(head)
        if create and self.by:
            # Larger than any head, which has been read already.
            connection = h11.Connection(h11.SERVER, max_incomplete_event_size=2 * BUFFER)
            connection.receive_data(head)
            if isinstance(connection.next_event(), h11.Request):
                body = await client.read_body(connection)
                labelled = await self._labelled(create[1].decode(), body)
                kept = _without(head, "connection|content-length|transfer-encoding|expect|upgrade")
                return kept + b"Connection: close\r\nContent-Length: %d\r\n\r\n%b" % (
                    len(labelled),
                    labelled,
                )
        if re.search(rb"(?i)\r\nupgrade *:", head):
            return head
        # One request to a connection, so that nothing but its head has to be understood.
        return _without(head, "connection") + b"Connection: close" + _END

    async def _labelled(self, kind: str, body: bytes) -> bytes:
        """The body of a call that makes something, with the label."""
        try:
            asked = json.loads(body)
        except ValueError:
            # The daemon refuses it.
            return body
        try:
            asked["Labels"] = {**(asked.get("Labels") or {}), BY: self.by}
            if kind == "containers":
                asked["HostConfig"] = await self._host_settings(asked)
        except (AttributeError, TypeError):
            # It is of another shape than the API's: the daemon refuses it, too.
            return body
        return json.dumps(asked).encode()

    async def _host_settings(self, asked: dict[str, Any]) -> dict[str, Any]:
        """The host settings of a new container, with the label on all of its volumes."""
        host = asked.get("HostConfig") or {}
        self._label_mounts(host.get("Mounts") or [])
        for bind in host.get("Binds") or []:
            await self._make_volume(str(bind).partition(":")[0], host.get("VolumeDriver") or "")
        return await self._with_volumes(asked, host)

    async def _with_volumes(self, asked: dict[str, Any], host: dict[str, Any]) -> dict[str, Any]:
        """The host settings of a new container, with the label on volumes without a name."""
        inherited: list[str] = []
        for other in host.get("VolumesFrom") or []:
            name = quote(other.partition(":")[0])
            there = await self._ask("GET", f"/containers/{name}/json") or {}
            inherited += (mount["Destination"] for mount in there.get("Mounts") or [])
        name = quote(str(asked.get("Image")), safe="/:@")
        image = await self._ask("GET", f"/images/{name}/json") or {}
        of_image = (image.get("Config") or {}).get("Volumes") or {}
        declared = {*(asked.get("Volumes") or {}), *of_image}
        return with_anonymous(host, declared, inherited, {BY: self.by})

    def _label_mounts(self, mounts: list[dict[str, Any]]) -> None:
        for mount in mounts:
            if mount.get("Type") == "volume":
                options = mount.setdefault("VolumeOptions", {}) or {}
                options["Labels"] = {**(options.get("Labels") or {}), BY: self.by}
                mount["VolumeOptions"] = options

    async def _make_volume(self, name: str, driver: str) -> None:
        """Make a volume as the container's start would, with the label; an existing one stays."""
        if not name or "/" in name:
            return
        asked = {"Name": name, "Labels": {BY: self.by}, **({"Driver": driver} if driver else {})}
        await self._ask("POST", "/volumes/create", asked)

    async def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Ask the daemon something of the proxy's own; gives the answer, None for a refusal."""
        asked = self._engine.ask(Request(method, path), body)
        reply = await asyncio.wait_for(asked, _SECONDS)
        return reply.json() if reply.status < _BAD_REQUEST else None


def _without(head: bytes, names: str) -> bytes:
    """A request's head without the headers of these names, and without the end of the head."""
    first, *lines = head[: -len(_END)].split(b"\r\n")
    dropped = re.compile(rf"(?i)({names}) *:".encode())
    return b"".join(line + b"\r\n" for line in [first, *filterfalse(dropped.match, lines)])
