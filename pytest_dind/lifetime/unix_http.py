"""HTTP over a unix socket, with the standard library alone."""

from __future__ import annotations

import http.client
import socket

SCHEME = "unix://"


class UnixConnection(http.client.HTTPConnection):
    """An HTTP connection to a unix socket.

    Args:
        path: The socket's path.
        timeout: Seconds that each read and write may take.
    """

    def __init__(self, path: str, timeout: float | None) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket's path instead of to a host."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def request(
    path: str, method: str, target: str, *, timeout: float, body: bytes | None = None
) -> tuple[int, bytes]:
    """Send one request to a unix socket; gives the answer's status and body.

    Args:
        path: The socket's path.
        method: The request's method.
        target: What it is about, such as `/containers/json?all=1`.
        timeout: Seconds that each read and write may take.
        body: A JSON text to send.

    Raises:
        OSError: nobody listens there, or answers in time.
        http.client.HTTPException: the answer is no HTTP.
    """
    connection = UnixConnection(path, timeout)
    headers = {} if body is None else {"Content-Type": "application/json"}
    try:
        connection.request(method, target, body, headers)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()
