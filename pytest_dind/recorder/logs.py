"""The log of a container, followed while it runs: it outlives the container that way.

An engine gives no log of a container that it is removing, and one with `--rm` may be removed before
the log is asked for. So whoever follows a new container attaches to it before it starts, as `docker
run` does. What comes that way is read where the log could not be had; else it is let go, since a
container waits for those who are attached and don't read.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
from collections.abc import Callable

from ..engine import http as engine_http

KEPT_BYTES = 64 * 1024
"""How much of the end of a log is kept."""
# A container that writes more than this at once is left alone for a moment: to read all of it would
# take the processor from the tests.
_BURST_BYTES = 1024 * 1024
_PAUSE_SECONDS = 1.0
_CONNECT_SECONDS = 10
_ATTACHED_SECONDS = 1.0
_HEAD = 8
# The stream of the engine's own errors, after stdin and both outputs (moby's stdcopy.Systemerr).
_ERROR = 3
_BROKEN = (OSError, ValueError, AttributeError, http.client.HTTPException)


class Tail:
    """The end of a log, of as many bytes as are kept."""

    def __init__(self) -> None:
        self._data = bytearray()
        self.is_cut = False

    def add(self, data: bytes) -> None:
        """Add what was written."""
        self._data += data
        if len(self._data) > 2 * KEPT_BYTES:
            del self._data[:-KEPT_BYTES]
            self.is_cut = True

    def __bytes__(self) -> bytes:
        return bytes(self._data)


class Demultiplexer:
    """A reader of the frames in which an engine sends both outputs of a container.

    A container with a terminal has one output, which comes without frames: its first bytes tell.

    Attributes:
        error: What the engine itself has said in between: why it can't go on.
    """

    def __init__(self) -> None:
        self.error = ""
        self._rest = b""
        self._is_framed: bool | None = None

    def feed(self, data: bytes) -> bytes:
        """Take what the engine sent; return what the container wrote."""
        self._rest += data
        if self._is_framed is None and self._rest:
            head = self._rest[:4]
            self._is_framed = head[0] <= _ERROR and head[1:] == bytes(len(head) - 1)
        if not self._is_framed:
            found, self._rest = self._rest, b""
            return found
        written = b""
        start = 0
        while start + _HEAD <= len(self._rest):
            size = int.from_bytes(self._rest[start + 4 : start + _HEAD], "big")
            if start + _HEAD + size > len(self._rest):
                break
            content = self._rest[start + _HEAD : start + _HEAD + size]
            if self._rest[start] == _ERROR:
                self.error = content.decode(errors="replace").strip()
            else:
                written += content
            start += _HEAD + size
        self._rest = self._rest[start:]
        return written


class Connection:
    """A request whose answer is a stream, which another thread may break off.

    Args:
        host: The daemon's URL.
        certificates: The directory of the client's certificates; empty for a unix socket.
    """

    def __init__(self, host: str, certificates: str) -> None:
        self._connection = engine_http.new_connection(host, certificates, _CONNECT_SECONDS)
        self._socket: socket.socket | None = None

    def open(self, target: str, method: str = "GET") -> http.client.HTTPResponse:
        """Send the request; return the answer.

        Raises:
            OSError: it can't be had.
            http.client.HTTPException: the answer is no HTTP.
        """
        self._connection.connect()
        self._socket = self._connection.sock
        self._connection.request(method, target)
        response = self._connection.getresponse()
        if response.status != http.client.OK:
            raise Refused(_message(response.read()))
        # The next line may come whenever it likes.
        self._socket.settimeout(None)
        return response

    def limit(self, seconds: float) -> None:
        """Have a read fail when nothing comes for so long."""
        if self._socket is not None:
            self._socket.settimeout(seconds)

    def break_off(self) -> None:
        """Have the thread that reads come to the stream's end."""
        if self._socket is not None:
            with contextlib.suppress(OSError, ValueError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close it."""
        self._connection.close()
        if self._socket is not None:
            self._socket.close()


class Refused(OSError):
    """An engine refused a request; the text is its own."""


def _message(body: bytes) -> str:
    try:
        return str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        return body.decode(errors="replace")


class Follower:
    """What a container has written last, followed in a thread of its own.

    Attributes:
        thread: The thread.

    Args:
        connect: Makes a connection to the daemon.
        container: The container's id.
        lines: How many lines of what it wrote before are of interest.
        is_new: Whether the container has not been started: `started` tells that it has.
    """

    def __init__(
        self, connect: Callable[[], Connection], container: str, lines: int, *, is_new: bool = False
    ) -> None:
        self._connect = connect
        self._target = f"/containers/{container}/logs?follow=1&stdout=1&stderr=1&tail={lines}"
        self._attach_target = f"/containers/{container}/attach?stream=1&stdout=1&stderr=1"
        self._is_new = is_new
        # What it writes from its start on; None where that is not needed, or can't be had.
        self._attached: tuple[Connection, http.client.HTTPResponse] | None = None
        self._started = threading.Event()
        self._ended = threading.Event()
        self._closed = False
        self._connection: Connection | None = None
        self._tail = Tail()
        self._refusal = ""
        self.thread = threading.Thread(target=self._work, name="pytest-dind log", daemon=True)

    def start(self) -> None:
        """Begin to follow it."""
        if not self._is_new:
            self._started.set()
        self.thread.start()

    @property
    def waits(self) -> bool:
        """Whether it waits for the container's start."""
        return not self._started.is_set()

    def started(self) -> None:
        """Take note that the container has started."""
        self._started.set()

    def ended(self) -> None:
        """Take note that the container has ended: what it wrote last is read without a pause."""
        self._ended.set()

    def result(self, seconds: float) -> tuple[bytes, bool, str]:
        """Wait for the rest of the log of a container that has ended, this long at most.

        Returns:
            The log's end, whether its beginning was cut off, and why there is none.
        """
        if self._ended.is_set():
            self.thread.join(seconds)
        tail = self._tail
        data = bytes(tail)
        return data, tail.is_cut, "" if data else self._refusal

    def close(self) -> None:
        """Follow it no more."""
        self._closed = True
        self._started.set()
        self._ended.set()
        attached = self._attached
        for connection in (self._connection, attached and attached[0]):
            if connection is not None:
                connection.break_off()

    def _work(self) -> None:
        if self._is_new:
            with contextlib.suppress(*_BROKEN):
                self._attach()
        self._started.wait()
        # A log that can't be had is told as such; a stream that breaks ends.
        try:
            while not self._closed and self._read():
                self._ended.wait(_PAUSE_SECONDS)
        except Refused as error:
            self._refusal = str(error)
        except _BROKEN:
            pass
        with contextlib.suppress(*_BROKEN):
            self._read_attached()
        self._let_go()

    def _attach(self) -> None:
        connection = self._connect()
        try:
            self._attached = connection, connection.open(self._attach_target, "POST")
        except BaseException:
            connection.close()
            raise

    def _let_go(self) -> None:
        attached, self._attached = self._attached, None
        if attached is not None:
            connection, response = attached
            response.close()
            connection.close()

    def _read_attached(self) -> None:
        """Read what has come otherwise, where nothing came of the log."""
        if self._attached is None or self._closed:
            return
        connection, response = self._attached
        # The container has ended; if it had when it was attached to, nothing will come.
        connection.limit(_ATTACHED_SECONDS)
        tail, frames, count = Tail(), Demultiplexer(), 0
        while data := response.read1(KEPT_BYTES):
            tail.add(frames.feed(data))
            count += len(data)
            if count > _BURST_BYTES:
                # It has not ended, and its log can't be read.
                self._tail = Tail()
                return
            self._tail = tail

    def _read(self) -> bool:
        """Read on; return whether it was too much at once, and is to be read anew."""
        connection = self._connection = self._connect()
        with contextlib.closing(connection):
            response = connection.open(self._target)
            if self._closed:
                return False
            tail, frames, count = Tail(), Demultiplexer(), 0
            while data := response.read1(KEPT_BYTES):
                written = frames.feed(data)
                if frames.error:
                    raise Refused(frames.error)
                self._let_go()
                tail.add(written)
                # Only now: what was read before stands until there is something newer.
                self._tail = tail
                count += len(data)
                if count > _BURST_BYTES and not self._ended.is_set():
                    return True
        return False
