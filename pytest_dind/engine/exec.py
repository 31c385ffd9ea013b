"""Commands in a container: stdin, both outputs, the exit code, and a time-out that ends them."""

from __future__ import annotations

import contextlib
import socket
import struct
import subprocess
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO
from uuid import uuid4

if TYPE_CHECKING:
    import docker

# A shell tells a command that isn't there, or can't be run, by its exit code; of the runtimes only
# runc does.
_PLAIN = 'exec "$@"'
# Leaves the command's process id where a time-out finds it. A command that docker exec starts
# leads a session of its own (runc, setns init), so its group has all of its children.
_ANNOUNCED = 'echo $$ >"$1" && shift && exec "$@"'
_KILL = 'kill -KILL -"$(cat "$0")"; rm -f "$0"'
_FORGET = 'rm -f "$0"'
_KILLED_WITHIN_SECONDS = 5

# The head of a frame of the engine's multiplexed stream: which output, and how many bytes
# (Engine API, "Attach to a container").
_FRAME = struct.Struct(">BxxxL")
_STDOUT, _STDERR = 1, 2


def run(
    engine: docker.DockerClient,
    container: str,
    command: Sequence[str],
    *,
    env: Mapping[str, str] | None,
    workdir: str | None,
    stdin: bytes | None,
    timeout: float | None,
) -> subprocess.CompletedProcess[bytes]:
    """Run `command` in `container` and wait for its end.

    Raises:
        subprocess.TimeoutExpired: it did not end in `timeout` seconds and was killed; the
            exception has what it had written.
    """
    pid_file = f"/run/pytest-dind-exec-{uuid4().hex}"
    script = [_PLAIN, "sh"] if timeout is None else [_ANNOUNCED, "sh", pid_file]
    api = engine.api
    exec_id = api.exec_create(
        container,
        # A shell's own messages begin with its name.
        ["sh", "-c", *script, *command],
        stdin=stdin is not None,
        environment=dict(env or {}),
        workdir=workdir,
    )["Id"]
    stream = _Stream(api.exec_start(exec_id, socket=True))
    try:
        if stdin is not None:
            stream.feed(stdin)
        ended = stream.wait(timeout)
        if timeout is not None:
            _in_container(engine, container, _FORGET if ended else _KILL, pid_file)
        if timeout is not None and not ended:
            stream.wait(_KILLED_WITHIN_SECONDS)
            raise subprocess.TimeoutExpired(list(command), timeout, stream.stdout, stream.stderr)
    finally:
        stream.close()
    code = api.exec_inspect(exec_id)["ExitCode"]
    return subprocess.CompletedProcess(list(command), code, stream.stdout, stream.stderr)


def _in_container(engine: docker.DockerClient, container: str, script: str, argument: str) -> None:
    exec_id = engine.api.exec_create(container, ["sh", "-c", script, argument])["Id"]
    engine.api.exec_start(exec_id)


def attach(engine: docker.DockerClient, container: str, command: Sequence[str]) -> Attached:
    """Start `command` in `container`, with its stdin open for as long as the connection is."""
    exec_id = engine.api.exec_create(container, list(command), stdin=True)["Id"]
    return Attached(engine.api.exec_start(exec_id, socket=True))


class Attached:
    """A connection that became a command's stdin and outputs."""

    def __init__(self, raw: Any) -> None:
        self._response = raw._response
        # With TLS docker-py gives the socket, else a file of it.
        self._socket: socket.socket = getattr(raw, "_sock", raw)
        # Not `raw`, which docker-py reads itself: the first bytes of output may have come with the
        # response's head, and are in this buffer then.
        self._file: BinaryIO = self._response.raw._fp.fp

    def fileno(self) -> int:
        """The connection's descriptor."""
        return self._socket.fileno()

    def expect(self, output: bytes) -> None:
        """Wait until the command has written this.

        Raises:
            OSError: it ended, or wrote something else.
        """
        head = self._file.read(_FRAME.size)
        length = _FRAME.unpack(head)[1] if len(head) == _FRAME.size else 0
        found = self._file.read(length)
        if found != output:
            raise OSError(f"Instead of {output!r} the command wrote {found!r}.")

    def close(self) -> None:
        """Close the connection, but for copies of its descriptor."""
        self._response.close()


class _Stream(Attached):
    """A connection of which threads feed the command and collect its outputs meanwhile."""

    def __init__(self, raw: Any) -> None:
        super().__init__(raw)
        self._socket.settimeout(None)
        self._outputs = {_STDOUT: bytearray(), _STDERR: bytearray()}
        # Waited for instead of the thread, see `Ahead`.
        self._ended = threading.Event()
        threading.Thread(target=self._collect, daemon=True).start()
        self._writer: threading.Thread | None = None

    @property
    def stdout(self) -> bytes:
        return bytes(self._outputs[_STDOUT])

    @property
    def stderr(self) -> bytes:
        return bytes(self._outputs[_STDERR])

    def feed(self, data: bytes) -> None:
        """Send `data` as the command's stdin, and then its end."""
        self._writer = threading.Thread(target=self._send, args=(data,), daemon=True)
        self._writer.start()

    def wait(self, timeout: float | None) -> bool:
        """Wait for the end of the command's output; False when it did not come in time."""
        return self._ended.wait(timeout)

    def close(self) -> None:
        """Close the connection and end the threads."""
        self._shutdown(socket.SHUT_RDWR)
        self._ended.wait()
        if self._writer is not None:
            self._writer.join()
        super().close()

    def _shutdown(self, how: int) -> None:
        # Not a TLS socket's own, which would go on reading in clear.
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._socket, how)

    def _collect(self) -> None:
        # A connection that breaks ends the output; the exit code is asked for separately.
        try:
            with contextlib.suppress(OSError):
                while len(head := self._file.read(_FRAME.size)) == _FRAME.size:
                    output, length = _FRAME.unpack(head)
                    self._outputs[output] += self._file.read(length)
        finally:
            self._ended.set()

    def _send(self, data: bytes) -> None:
        # A command may end without reading all of its stdin.
        with contextlib.suppress(OSError):
            self._socket.sendall(data)
        self._shutdown(socket.SHUT_WR)
