"""The ports of this machine's loopback that lead to a daemon's published ones."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Callable, Sequence
from functools import partial
from ipaddress import ip_address
from typing import TYPE_CHECKING

from . import relay
from .loop import Loop

if TYPE_CHECKING:
    from .follower import Port, Published
    from .tunnel import Tunnels

LOOPBACKS = ("127.0.0.1", "::1")
_EVERYWHERE = ("0.0.0.0", "::")
_BACKLOG = 1024


class Way:
    """The way from here to the ports of a daemon's container.

    Args:
        loop: The loop.
        address: The container's address; empty where that isn't reached from here.
        tunnels: Makes the tunnels into the container, once one is needed.
    """

    def __init__(self, loop: Loop, address: str, tunnels: Callable[[], Tunnels]) -> None:
        self.address = address
        self._loop = loop
        self._tunnels = tunnels
        self._buffer = relay.buffer()

    def _is_direct(self, host: str) -> bool:
        return host == self.address

    def host(self, hosts: frozenset[str]) -> str:
        """Return the address to connect to for a port that is published on these.

        What is not reached at the container's own address is reached in the container.
        """
        version = ip_address(self.address).version if self.address else 0
        everywhere = {4: "0.0.0.0", 6: "::"}.get(version, "")
        if self.address and hosts & {self.address, everywhere}:
            return self.address
        for host, inside in zip(_EVERYWHERE, LOOPBACKS, strict=True):
            if host in hosts:
                return inside
        return min(hosts)

    def stream(self, client: socket.socket, host: str, port: int) -> None:
        """Pass a connection on."""
        if self._is_direct(host):
            relay.Relay(self._loop, client, (host, port), self._buffer)
        else:
            self._tunnels().serve(client, host, port, "tcp")

    def datagrams(self, host: str, port: int) -> socket.socket:
        """Return a socket for one client's datagrams."""
        if self._is_direct(host):
            return relay.datagram_socket((host, port))
        return self._tunnels().pair(host, port)


class _Opened:
    """A published port that is open here.

    Attributes:
        port: Its port here.
    """

    def __init__(self, port: int, closes: Sequence[Callable[[], None]]) -> None:
        self.port = port
        self._closes = closes

    def close(self) -> None:
        """Close it, on all addresses."""
        for close in self._closes:
            close()


class Listeners:
    """Opens ports, and closes them.

    Args:
        loop: The loop.
        way: The way to the daemon.
        note: Takes what is open, and what could not be opened and why, whenever that changes.
    """

    def __init__(
        self,
        loop: Loop,
        way: Way,
        note: Callable[[dict[Port, int], dict[Port, str]], None],
    ) -> None:
        self._loop = loop
        self._way = way
        self._note = note
        self._opened: dict[Port, _Opened] = {}
        self._hosts: dict[Port, str] = {}
        # Also those of containers that have ended since: it is told at the run's end.
        self._taken: dict[Port, str] = {}

    def update(self, published: Published) -> None:
        """Open the ports that are published now, and close the others."""
        for gone in self._opened.keys() - published.keys():
            self._opened.pop(gone).close()
        for key, hosts in published.items():
            self._hosts[key] = self._way.host(hosts)
            if key not in self._opened:
                opened = self._open(key)
                if opened is not None:
                    self._opened[key] = opened
        self._note({key: one.port for key, one in self._opened.items()}, self._taken)

    def _open(self, key: Port) -> _Opened | None:
        port, protocol = key
        sockets = []
        for host in LOOPBACKS:
            try:
                sockets.append(bound(host, port, protocol))
            except OSError as error:
                if not _has_no_ipv6(error):
                    self._taken[key] = os.strerror(error.errno or 0)
        if self._way.address or any(one.family == socket.AF_INET for one in sockets):
            return self._serve(sockets, key) if sockets else None
        # Nothing else leads there, so `address()` gives another port.
        for one in sockets:
            one.close()
        return self._serve([bound(LOOPBACKS[0], 0, protocol)], key)

    def _serve(self, sockets: list[socket.socket], key: Port) -> _Opened:
        _, protocol = key
        closes: list[Callable[[], None]] = []
        for one in sockets:
            serve = self._serve_datagrams if protocol == "udp" else self._serve_streams
            closes.append(serve(one, key))

        return _Opened(sockets[0].getsockname()[1], closes)

    def _serve_datagrams(self, listener: socket.socket, key: Port) -> Callable[[], None]:
        def connect() -> socket.socket:
            return self._way.datagrams(self._hosts[key], key[0])

        return relay.Datagrams(self._loop, listener, connect).close

    def _serve_streams(self, listener: socket.socket, key: Port) -> Callable[[], None]:
        def accept(events: int) -> None:
            # A client may be gone already, or there are too many for this process.
            with contextlib.suppress(OSError):
                client, _ = listener.accept()
                self._way.stream(client, self._hosts[key], key[0])

        self._loop.watch(listener.fileno(), accept)
        return partial(self._loop.close, listener)


def bound(host: str, port: int, protocol: str) -> socket.socket:
    """Return a socket on a port of this machine, which listens if it is TCP's.

    Raises:
        OSError: it can't be had there.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM)
    try:
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if protocol == "tcp":
            # Else a connection that has ended keeps the port for a minute.
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            # The connections that it accepts have it too.
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.bind((host, port))
        if protocol == "tcp":
            made.listen(_BACKLOG)
        made.setblocking(False)
    except BaseException:
        made.close()
        raise
    return made


def _has_no_ipv6(error: OSError) -> bool:
    return error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
