"""Engines as the forwarder reaches them: plain HTTP over a unix socket, TCP or TLS."""

from __future__ import annotations

import http.client
import json
import socket
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from ..lifetime import unix_http


class Endpoint(NamedTuple):
    """Where an engine is reached, and the files by which both sides prove themselves.

    Attributes:
        url: Its URL, `unix://…` or `tcp://…`.
        ca: The certificate of its CA; empty without TLS, or for the system's CAs.
        certificate: The client's certificate; empty where there is none.
        key: The client's private key.
        tls: Whether it is reached over TLS.
        verify: Whether its certificate is checked.
    """

    url: str
    ca: str = ""
    certificate: str = ""
    key: str = ""
    tls: bool = False
    verify: bool = True

    def connection(self, timeout: float | None) -> http.client.HTTPConnection:
        """Return an HTTP connection to it, which connects with its first request."""
        if self.url.startswith(unix_http.SCHEME):
            return unix_http.UnixConnection(self.url.removeprefix(unix_http.SCHEME), timeout)
        host, port = urlsplit(self.url).hostname or "", urlsplit(self.url).port
        if not self.tls:
            return http.client.HTTPConnection(host, port, timeout=timeout)
        # Its import takes as long as all others, and most engines have a unix socket.
        import ssl

        context = ssl.create_default_context(cafile=self.ca or None)
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.certificate:
            context.load_cert_chain(self.certificate, self.key or None)
        return http.client.HTTPSConnection(host, port, timeout=timeout, context=context)

    def ask(self, method: str, target: str, body: Any = None, *, timeout: float | None) -> Any:
        """Send one request; gives what the answer's JSON says.

        Raises:
            OSError: it does not answer, or refuses.
            http.client.HTTPException: the answer is no HTTP.
            ValueError: the answer is no JSON.
        """
        connection = self.connection(timeout)
        try:
            headers = {} if body is None else {"Content-Type": "application/json"}
            connection.request(method, target, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            answer = response.read()
            if response.status >= http.client.BAD_REQUEST:
                raise OSError(f"{method} {target}: {response.status} {answer.decode()}")
            return json.loads(answer)
        finally:
            connection.close()

    def upgrade(self, target: str, body: Any, *, timeout: float) -> tuple[socket.socket, bytes]:
        """Send a request that makes a raw stream of the connection.

        Returns:
            The connection, and the first bytes of the stream, which may have come with the head.

        Raises:
            OSError: it does not answer, or refuses.
        """
        connection = self.connection(timeout)
        connection.connect()
        text = json.dumps(body)
        stream: socket.socket = connection.sock
        try:
            stream.sendall(
                f"POST {target} HTTP/1.1\r\nHost: engine\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(text)}\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n{text}"
                "".encode()
            )
            said = b""
            while b"\r\n\r\n" not in said:
                some = stream.recv(4096)
                if not some:
                    raise OSError(f"POST {target}: the engine closed the connection")
                said += some
            head, _, rest = said.partition(b"\r\n\r\n")
            if head.split(b" ", 2)[1] not in (b"101", b"200"):
                raise OSError(f"POST {target}: {(head + rest).decode(errors='replace')}")
        except BaseException:
            stream.close()
            raise
        return stream, rest
