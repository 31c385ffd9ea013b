"""The way to a daemon: HTTP over a unix socket."""

from __future__ import annotations

import http.client
import socket

_ACCEPT_SECONDS = 5


class _UnixConnection(http.client.HTTPConnection):
    """HTTP on a unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket's path instead of to a host."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def is_served(host: str) -> bool:
    """Whether anything accepts connections at `host`; a server that is merely busy does."""
    connection = _UnixConnection(host.removeprefix("unix://"), _ACCEPT_SECONDS)
    try:
        connection.connect()
    except (FileNotFoundError, ConnectionRefusedError):
        return False
    except OSError:
        # A full backlog, or a time-out: somebody has the socket.
        return True
    finally:
        connection.close()
    return True


def ping(host: str, *, timeout: float = 5) -> str | None:
    """Ask the daemon at `host` for a sign of life.

    docker-py's own ping wants a client, and a client wants a daemon that answers already.

    Returns:
        The newest API version the daemon speaks, or None while it does not serve.
    """
    connection = _UnixConnection(host.removeprefix("unix://"), timeout)
    try:
        connection.request("GET", "/_ping")
        response = connection.getresponse()
        response.read()
        return response.getheader("Api-Version") if response.status == 200 else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
