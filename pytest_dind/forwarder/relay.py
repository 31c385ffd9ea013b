"""Connections and datagrams that the forwarder passes on to a daemon's own address."""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
import time
from collections.abc import Callable
from typing import Any

from .loop import ENDS, OUT, Loop

_CHUNK = 1 << 18
# A connection that never waits must not keep the others waiting.
_CHUNKS_AT_ONCE = 8
_RESETS = struct.pack("ii", 1, 0)
_LARGEST_DATAGRAM = 1 << 16
# As Docker's own proxy.
_IDLE_SECONDS = 90
_LOOK_SECONDS = 15

Address = tuple[Any, ...]


class _Flow:
    """One direction of a connection.

    Attributes:
        waits: Whether it waits for its target to take more.
        ended: Whether its end has been passed on.
    """

    def __init__(self, source: socket.socket, target: socket.socket) -> None:
        self._source = source
        self._target = target
        self._rest = memoryview(b"")
        self.waits = False
        self.ended = False

    def pump(self, buffer: memoryview, *, to_the_end: bool) -> bool:
        """Pass on what is there, as far as the target takes it.

        Args:
            buffer: Where it is read into.
            to_the_end: Whether the source has said that it has ended.

        Returns:
            Whether there may be more.

        Raises:
            OSError: one of the two sides is gone.
        """
        try:
            for _ in range(_CHUNKS_AT_ONCE):
                if self.waits:
                    self._rest = self._rest[self._target.send(self._rest) :]
                    self.waits = bool(self._rest)
                    continue
                count = self._source.recv_into(buffer)
                if not count:
                    self.ended = True
                    self._target.shutdown(socket.SHUT_WR)
                    return False
                try:
                    sent = self._target.send(buffer[:count])
                except BlockingIOError:
                    # The last one filled it to the brim.
                    sent = 0
                if sent < count:
                    self._keep(buffer[sent:count])
                elif count < _CHUNK and not to_the_end:
                    # That was all; the loop tells when there is more.
                    return False
        except BlockingIOError:
            return False
        return True

    def _keep(self, rest: memoryview) -> None:
        # The buffer is everybody's.
        self._rest = memoryview(bytes(rest))
        self.waits = True


class Relay:
    """A connection that is passed on, both ways, each to its own end.

    Args:
        loop: The loop.
        client: The connection.
        target: The address that it is passed on to.
        buffer: Where all relays read into.
    """

    def __init__(
        self, loop: Loop, client: socket.socket, target: Address, buffer: memoryview
    ) -> None:
        self._loop = loop
        self._buffer = buffer
        self._client = client
        client.setblocking(False)
        self._server = socket.socket(_family(target), socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self._server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._there = _Flow(client, self._server)
        self._back = _Flow(self._server, client)
        if self._server.connect_ex(target) not in (0, errno.EINPROGRESS):
            self._abort()
            return
        loop.watch_changes(self._server.fileno(), self._connected)

    def _connected(self, events: int) -> None:
        if self._server.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._abort()
            return
        self._loop.change(self._server.fileno(), self._at_server)
        self._loop.watch_changes(self._client.fileno(), self._at_client)
        if events & ~OUT:
            self._at_server(events)

    def _at_client(self, events: int) -> None:
        self._pump(events, self._there, self._back)

    def _at_server(self, events: int) -> None:
        self._pump(events, self._back, self._there)

    def _pump(self, events: int, from_it: _Flow, to_it: _Flow) -> None:
        """Pass on after events of one side."""
        if events & ~OUT:
            self._run(from_it, to_the_end=bool(events & ENDS))
        # What waited was read without regard to whether its source had ended since.
        if events & OUT and to_it.waits:
            self._run(to_it, to_the_end=True)

    def _run(self, flow: _Flow, *, to_the_end: bool) -> None:
        if flow.ended or self._client.fileno() == -1:
            return
        try:
            more = flow.pump(self._buffer, to_the_end=to_the_end)
        except OSError:
            self._abort()
            return
        if self._there.ended and self._back.ended:
            self._loop.close(self._client)
            self._loop.close(self._server)
        elif more:
            self._loop.soon(lambda: self._run(flow, to_the_end=True))

    def _abort(self) -> None:
        """Reset both sides, as the one that is gone did, or was never there."""
        for one in (self._client, self._server):
            with contextlib.suppress(OSError):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESETS)
            self._loop.close(one)


class Datagrams:
    """A UDP port: each client's datagrams go out by a socket of its own, which takes the answers.

    Args:
        loop: The loop.
        listener: The port's socket.
        connect: Makes a client's socket, which leads to the daemon.
    """

    def __init__(
        self, loop: Loop, listener: socket.socket, connect: Callable[[], socket.socket]
    ) -> None:
        self._loop = loop
        self._listener = listener
        self._connect = connect
        self._clients: dict[Address, tuple[socket.socket, float]] = {}
        loop.watch(listener.fileno(), self._out)
        loop.later(_LOOK_SECONDS, self._forget)

    def close(self) -> None:
        """Close the port."""
        for client in tuple(self._clients):
            self._drop(client)
        self._loop.close(self._listener)

    def _out(self, events: int) -> None:
        with contextlib.suppress(OSError):
            data, client = self._listener.recvfrom(_LARGEST_DATAGRAM)
            if client in self._clients:
                outward = self._clients[client][0]
            else:
                outward = self._connect()
                outward.setblocking(False)
                self._loop.watch(outward.fileno(), lambda events: self._back(client, outward))
            self._clients[client] = outward, time.monotonic()
            outward.send(data)

    def _back(self, client: Address, outward: socket.socket) -> None:
        try:
            data = outward.recv(_LARGEST_DATAGRAM)
            # The far end of a tunnel is gone, where the other kind has an empty datagram.
            gone = not data and outward.family == socket.AF_UNIX
        except BlockingIOError:
            return
        except ConnectionRefusedError:
            # Nobody listens there, which UDP has no way to tell the client.
            return
        except OSError:
            gone = True
        if gone:
            self._drop(client)
            return
        self._clients[client] = outward, time.monotonic()
        with contextlib.suppress(OSError):
            self._listener.sendto(data, client)

    def _drop(self, client: Address) -> None:
        self._loop.close(self._clients.pop(client)[0])

    def _forget(self) -> None:
        """Drop the clients that have been silent for long."""
        if self._listener.fileno() == -1:
            return
        before = time.monotonic() - _IDLE_SECONDS
        for client, (_, used) in tuple(self._clients.items()):
            if used < before:
                self._drop(client)
        self._loop.later(_LOOK_SECONDS, self._forget)


def buffer() -> memoryview:
    """Return the buffer that all relays of a loop read into."""
    return memoryview(bytearray(_CHUNK))


def datagram_socket(target: Address) -> socket.socket:
    """Return a UDP socket that leads to an address."""
    made = socket.socket(_family(target), socket.SOCK_DGRAM)
    made.connect(target)
    return made


def _family(target: Address) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in target[0] else socket.AF_INET
