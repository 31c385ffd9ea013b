"""`python -m benchmarks.forward`: what the forwarder adds to connections, and how fast it streams.

The daemon is another address of loopback here, so that nothing but the forwarder is measured.
Direct and forwarded connections are taken by turns. Needs no engine.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import socket
import time
from collections.abc import Iterator
from statistics import median

from pytest_dind.forwarder.listeners import Listeners, Way
from pytest_dind.forwarder.loop import Loop

_HERE, _DAEMON = "127.0.0.1", "127.0.0.2"
_CONNECTIONS = 2000
_STREAMS = 5
_CHUNK, _CHUNKS = 1 << 18, 4096


def _serve(listener: socket.socket) -> None:
    """Answer a byte with a byte, or with a GiB."""
    block = bytes(_CHUNK)
    while True:
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError):
            if connection.recv(1) == b"s":
                for _ in range(_CHUNKS):
                    connection.sendall(block)
            else:
                connection.sendall(b"x")


def _forward(port: int) -> None:
    def no_tunnels() -> None:
        raise AssertionError("no tunnel is needed")

    loop = Loop()
    way = Way(loop, _DAEMON, no_tunnels)  # type: ignore[arg-type]
    listeners = Listeners(loop, way, lambda opened, taken: None)
    listeners.update({(port, "tcp"): frozenset(["0.0.0.0"])})
    loop.run()


@contextlib.contextmanager
def _processes() -> Iterator[int]:
    """A server on the daemon's address and its forwarder; gives the port of both."""
    with socket.create_server((_DAEMON, 0)) as listener:
        port = listener.getsockname()[1]
        made = [
            multiprocessing.Process(target=_serve, args=(listener,), daemon=True),
            multiprocessing.Process(target=_forward, args=(port,), daemon=True),
        ]
        for one in made:
            one.start()
        try:
            deadline = time.monotonic() + 10
            while time.monotonic() < deadline:
                with contextlib.suppress(ConnectionRefusedError):
                    _connect(_HERE, port)
                    break
            yield port
        finally:
            for one in made:
                one.terminate()
                one.join()


def _connect(host: str, port: int) -> float:
    """The milliseconds of a connection, with a byte there and one back."""
    began = time.perf_counter()
    with socket.create_connection((host, port)) as connection:
        connection.sendall(b"p")
        while connection.recv(1):
            pass
        return (time.perf_counter() - began) * 1e3


def _stream(host: str, port: int) -> float:
    """The MB/s of a stream."""
    buffer, count = bytearray(_CHUNK), 0
    began = time.perf_counter()
    with socket.create_connection((host, port)) as connection:
        connection.sendall(b"s")
        while read := connection.recv_into(buffer):
            count += read
    return count / (time.perf_counter() - began) / 1e6


def main() -> None:
    """Measure, and print medians."""
    with _processes() as port:
        pairs = [(_connect(_DAEMON, port), _connect(_HERE, port)) for _ in range(_CONNECTIONS)]
        direct, forwarded = (median(column) for column in zip(*pairs, strict=True))
        print(f"connection: {direct:.3f} ms direct, {forwarded:.3f} ms forwarded")
        print(f"added at the median: {forwarded - direct:.3f} ms (goal: at most 0.2)")
        rates = [(_stream(_DAEMON, port), _stream(_HERE, port)) for _ in range(_STREAMS)]
        direct, forwarded = (median(column) for column in zip(*rates, strict=True))
        print(f"stream: {direct:.0f} MB/s direct, {forwarded:.0f} MB/s forwarded (goal: 500)")


if __name__ == "__main__":
    main()
