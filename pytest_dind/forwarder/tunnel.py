"""Tunnels: connections that go through a command in a daemon's container, which its engine runs."""

from __future__ import annotations

import contextlib
import http.client
import select
import socket
import ssl
import struct
import sys
import threading

from .endpoint import Endpoint

TOOLS = ("busybox", "socat", "nc", "bash")
"""The commands in a container of which one is enough for a tunnel."""
# Which tool there is, is the image's choice. The first two pass on the end of either direction
# alone; the others end some seconds after it, or with the connection.
_SCRIPT = """
host=$1 port=$2 protocol=$3
option=
if [ "$protocol" = udp ]; then option=-u; fi
if command -v busybox >/dev/null && busybox nc --help 2>&1 | grep -q -e "${option:-Usage}"; then
	exec busybox nc $option "$host" "$port"
fi
if command -v socat >/dev/null; then
	case $host in *:*) at="[$host]" ;; *) at=$host ;; esac
	exec socat -t 3600 - "$protocol:$at:$port"
fi
if command -v nc >/dev/null; then
	exec nc $option "$host" "$port"
fi
if command -v bash >/dev/null; then
	# In the background its stdin would be empty.
	exec bash -c 'exec 3<>"/dev/$2/$0/$1" 4<&0 && { cat <&4 >&3 & exec cat <&3; }' "$@"
fi
echo "no busybox, socat, nc or bash" >&2
exit 127
"""
# The same to a unix socket. The docker CLI's own command for it, which it runs over ssh, is in each
# image that has the CLI.
_SOCKET_SCRIPT = """
path=$1
if command -v socat >/dev/null; then
	exec socat -t 3600 - "UNIX-CONNECT:$path"
fi
if command -v docker >/dev/null; then
	unset DOCKER_CONTEXT DOCKER_TLS DOCKER_TLS_VERIFY DOCKER_CERT_PATH
	exec docker -H "unix://$path" system dial-stdio
fi
echo "no socat or docker" >&2
exit 127
"""
_ANSWER_SECONDS = 30
_CHUNK = 1 << 16
# The head of a frame of the engine's multiplexed stream: which output, and how many bytes
# (Engine API, "Attach to a container").
_FRAME = struct.Struct(">BxxxL")
_STDOUT = 1


class Tunnels:
    """Tunnels into a container.

    Args:
        engine: The engine that has the container.
        container: The container's id.
    """

    def __init__(self, engine: Endpoint, container: str) -> None:
        self._engine = engine
        self._container = container

    def serve(self, near: socket.socket, host: str, port: int, protocol: str) -> None:
        """Connect a socket to a port as the container sees it, in threads of their own.

        Args:
            near: The socket, which is closed in the end.
            host: The address to connect to in the container.
            port: The port.
            protocol: `tcp` or `udp`.
        """
        self._begin(near, _SCRIPT, host, str(port), protocol)

    def serve_socket(self, near: socket.socket, path: str) -> None:
        """Connect a socket to a unix socket in the container, in threads of their own.

        Args:
            near: The socket, which is closed in the end.
            path: The path in the container.
        """
        self._begin(near, _SOCKET_SCRIPT, path)

    def _begin(self, near: socket.socket, script: str, *arguments: str) -> None:
        command = ["sh", "-c", script, "sh", *arguments]
        threading.Thread(target=self._serve, args=(near, command), daemon=True).start()

    def pair(self, host: str, port: int) -> socket.socket:
        """Return a socket whose datagrams go to a UDP port as the container sees it."""
        # A datagram socket does not tell that its other end is closed.
        kind = socket.SOCK_SEQPACKET if sys.platform == "linux" else socket.SOCK_DGRAM
        near, far = socket.socketpair(socket.AF_UNIX, kind)
        self.serve(far, host, port, "udp")
        return near

    def _serve(self, near: socket.socket, command: list[str]) -> None:
        with contextlib.closing(near):
            try:
                _, stream, first = self._attach(command)
            except (OSError, ValueError, http.client.HTTPException) as error:
                print(f"a tunnel could not be made: {error}", file=sys.stderr, flush=True)
                return
            far = _Channel(stream)
            here = _Channel(near)
            threading.Thread(target=_send, args=(here, far), daemon=True).start()
            with contextlib.closing(stream):
                with contextlib.suppress(OSError):
                    _receive(first, far, here)
                # Wakes the other thread, and a client that reads or writes.
                far.shut(socket.SHUT_RDWR)
                here.shut(socket.SHUT_RDWR)

    def run(self, script: str, *arguments: str) -> int:
        """Run a shell script in the container, and give its exit code.

        Raises:
            OSError: the engine does not answer, or refuses.
        """
        made, stream, _ = self._attach(["sh", "-c", script, "sh", *arguments])
        with contextlib.closing(stream):
            while stream.recv(_CHUNK):
                pass
        details = self._engine.ask("GET", f"/exec/{made}/json", timeout=_ANSWER_SECONDS)
        return int(details["ExitCode"])

    def _attach(self, command: list[str]) -> tuple[str, socket.socket, bytes]:
        """Run a command in the container.

        Returns:
            The engine's id of it, the connection that has its stdin and outputs, and the first
            bytes of these.
        """
        wanted = {
            "AttachStdin": True,
            "AttachStdout": True,
            "AttachStderr": True,
            "Cmd": command,
        }
        target = f"/containers/{self._container}/exec"
        made = self._engine.ask("POST", target, wanted, timeout=_ANSWER_SECONDS)
        start = {"Detach": False, "Tty": False}
        target = f"/exec/{made['Id']}/start"
        return made["Id"], *self._engine.upgrade(target, start, timeout=_ANSWER_SECONDS)


class _Channel:
    """A socket that one thread reads while another writes, also where it is a TLS one.

    OpenSSL lets only one thread at a time into a connection, so neither may wait in there.
    """

    def __init__(self, wrapped: socket.socket) -> None:
        wrapped.setblocking(False)
        self._socket = wrapped
        self._lock = threading.Lock()

    def receive(self) -> bytes:
        """Wait for bytes; none at the end."""
        while True:
            with contextlib.suppress(BlockingIOError, ssl.SSLWantReadError), self._lock:
                return self._socket.recv(_CHUNK)
            self._wait(select.POLLIN)

    def send(self, data: bytes) -> None:
        """Send all bytes."""
        rest = memoryview(data)
        while rest:
            with (
                contextlib.suppress(BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError),
                self._lock,
            ):
                rest = rest[self._socket.send(rest) :]
                continue
            self._wait(select.POLLOUT)

    def shut(self, how: int) -> None:
        """End one direction, or both."""
        # Not a TLS socket's own, which would go on reading in clear.
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._socket, how)

    def _wait(self, event: int) -> None:
        waiting = select.poll()
        waiting.register(self._socket.fileno(), event)
        waiting.poll()


def _send(here: _Channel, far: _Channel) -> None:
    """Send what comes from a socket to the command, and then its end."""
    with contextlib.suppress(OSError, ValueError):
        while data := here.receive():
            far.send(data)
    far.shut(socket.SHUT_WR)


def _receive(first: bytes, far: _Channel, here: _Channel) -> None:
    """Pass on the command's output, frame by frame, to the command's end."""
    buffered = bytearray(first)

    def more() -> bool:
        data = far.receive()
        buffered.extend(data)
        return bool(data)

    while True:
        while len(buffered) < _FRAME.size:
            if not more():
                return
        output, length = _FRAME.unpack_from(buffered)
        while len(buffered) < _FRAME.size + length:
            if not more():
                return
        content = bytes(buffered[_FRAME.size : _FRAME.size + length])
        del buffered[: _FRAME.size + length]
        if output == _STDOUT:
            here.send(content)
        else:
            print(content.decode(errors="replace"), end="", file=sys.stderr, flush=True)
