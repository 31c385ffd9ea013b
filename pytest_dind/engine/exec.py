"""Commands in a running container: stdin, both outputs, the exit code, and a time-out."""

from __future__ import annotations

import contextlib
import math
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO
from uuid import uuid4

if TYPE_CHECKING:
    import docker

# Run by a shell, a command that isn't there, or can't be run, has an exit code that says so; of the
# runtimes only runc gives it one.
_PLAIN = 'exec "$@"'
# Changes to the command's directory, as a runtime does. What is said where that isn't there comes
# as the command's output, which Podman drops when its runtime says it.
_INSIDE = 'cd -- "$1" || { echo "chdir to cwd $1" >&2; exit 126; }; shift; exec "$@"'
# Writes the command's process id down for a time-out. The command is to lead a group, which has all
# of its children: one that docker exec starts does with runc (setns init), not with crun.
_ANNOUNCED = """
echo $$ >"$1" && shift || exit
read -r _ _ _ _ group _ </proc/$$/stat
[ "$group" = $$ ] || ! command -v setsid >/dev/null || set -- setsid "$@"
exec "$@"
"""
_KILL = 'kill -KILL -"$(cat "$0")" || kill -KILL "$(cat "$0")"; rm -rf "$0" "$1"'
_FORGET = 'rm -rf "$0" "$1"'
# Lends credentials to the docker CLI: a config in memory, of which nothing is left at its end. All
# else of the container's own config is there too. A container that has a config.json keeps to it;
# a CLI that knows the variable (from 28 on) finds them there.
_LENDING = """
lent=$1 own=${DOCKER_CONFIG:-$HOME/.docker}
shift
if [ ! -e "$own/config.json" ] && mkdir -m 700 "$lent"; then
    trap 'rm -rf "$lent"' EXIT
    [ ! -d "$own" ] || ln -s "$own"/* "$lent"
    printf %s "$DOCKER_AUTH_CONFIG" >"$lent/config.json"
    unset DOCKER_AUTH_CONFIG
    export DOCKER_CONFIG="$lent" BUILDX_CONFIG="${BUILDX_CONFIG:-$own/buildx}"
fi
"$@"
"""
_KILLED_WITHIN_SECONDS = 5
_TICK_SECONDS = 0.25

# The head of a frame of the engine's multiplexed stream: which output, and how many bytes
# (Engine API, "Attach to a container").
_FRAME = struct.Struct(">BxxxL")
_STDOUT, _STDERR = 1, 2

Sink = Callable[[bytes], object]
"""Takes what a command writes."""


@dataclass(frozen=True)
class Command:
    """A command in a container.

    Attributes:
        argv: The program and its arguments.
        env: Its further environment variables.
        workdir: The directory that it runs in; None for the container's own.
        stdin: Its input, whole or in chunks that are made as they are sent; None for an empty one.
        timeout: Seconds until it is killed; None for no limit.
        credentials: Those that the docker CLI has while the command runs, as JSON of a docker
            config; empty for none.
        stdout: Called with what it writes there, as it comes; without, that is kept for the result.
        stderr: The same for its other output.
        patience: Seconds until it is given up without being killed, where there is no `timeout`:
            for a command that ends with its input, on an engine that may hang. None for no limit.
        tick: Called now and then while it runs, by the thread that waits for it.
    """

    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    workdir: str | None = None
    stdin: bytes | Iterable[bytes] | None = None
    timeout: float | None = None
    # Not in a text that is logged.
    credentials: str = field(default="", repr=False)
    stdout: Sink | None = None
    stderr: Sink | None = None
    patience: float | None = None
    tick: Callable[[], object] | None = None


def run(
    engine: docker.DockerClient, container: str, command: Command
) -> subprocess.CompletedProcess[bytes]:
    """Run a command in a container and wait for its end.

    Raises:
        subprocess.TimeoutExpired: it did not end in time and was killed; the exception has the
            output so far.
        TimeoutError: its patience is at an end.
        Exception: what making its input, or taking its output, has raised.
    """
    argv, timeout = list(command.argv), command.timeout
    name = f"pytest-dind-exec-{uuid4().hex}"
    pid_file, lent = f"/run/{name}", f"/dev/shm/{name}"
    script = [_PLAIN, "sh"] if timeout is None else [_ANNOUNCED, "sh", pid_file]
    if command.workdir is not None:
        script += ["sh", "-c", _INSIDE, "sh", command.workdir]
    environment = dict(command.env)
    if command.credentials:
        script += ["sh", "-c", _LENDING, "sh", lent]
        environment["DOCKER_AUTH_CONFIG"] = command.credentials
    api = engine.api
    exec_id = api.exec_create(
        container,
        # A shell's own messages begin with its name.
        ["sh", "-c", *script, *command.argv],
        stdin=command.stdin is not None,
        environment=environment,
    )["Id"]
    stream = _Stream(api.exec_start(exec_id, socket=True), command)
    try:
        if command.stdin is not None:
            stdin = command.stdin
            stream.feed([stdin] if isinstance(stdin, bytes) else stdin)
        ended = stream.wait(command.patience if timeout is None else timeout)
        if timeout is None and not ended:
            raise TimeoutError(f"A command in the container ran for {command.patience:g} s.")
        if timeout is not None:
            _in_container(engine, container, _FORGET if ended else _KILL, pid_file, lent)
        if timeout is not None and not ended:
            stream.wait(_KILLED_WITHIN_SECONDS)
            raise subprocess.TimeoutExpired(argv, timeout, stream.stdout, stream.stderr)
    finally:
        stream.close()
    if stream.failure is not None:
        raise stream.failure
    code = api.exec_inspect(exec_id)["ExitCode"]
    return subprocess.CompletedProcess(argv, code, stream.stdout, stream.stderr)


def converse(raw: Any, command: Command) -> tuple[bytes, bytes]:
    """Send a command its input, and take both outputs to their end, on a connection that is there.

    Args:
        raw: The connection, as docker-py gives it.
        command: Its `stdin`, `stdout`, `stderr`, `patience` and `tick` count.

    Returns:
        The outputs.

    Raises:
        TimeoutError: its patience is at an end.
        Exception: what making its input, or taking its output, has raised.
    """
    stream = _Stream(raw, command)
    try:
        if command.stdin is not None:
            stdin = command.stdin
            stream.feed([stdin] if isinstance(stdin, bytes) else stdin)
        if not stream.wait(command.patience):
            raise TimeoutError(f"A container did not end within {command.patience:g} s.")
    finally:
        stream.close()
    if stream.failure is not None:
        raise stream.failure
    return stream.stdout, stream.stderr


def _in_container(
    engine: docker.DockerClient, container: str, script: str, *arguments: str
) -> None:
    exec_id = engine.api.exec_create(container, ["sh", "-c", script, *arguments])["Id"]
    engine.api.exec_start(exec_id)


def attach(engine: docker.DockerClient, container: str, argv: Sequence[str]) -> Attached:
    """Start a command in a container; its stdin is open for as long as the connection is."""
    exec_id = engine.api.exec_create(container, list(argv), stdin=True)["Id"]
    return Attached(engine.api.exec_start(exec_id, socket=True))


class Attached:
    """A connection that carries a command's stdin and outputs."""

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

    def frames(self) -> Iterator[tuple[int, bytes]]:
        """What the command writes, as it comes: 1 for its stdout and 2 for its stderr, and data.

        A connection that breaks ends the output; the exit code is asked for separately.
        """
        with contextlib.suppress(OSError):
            while len(head := self._file.read(_FRAME.size)) == _FRAME.size:
                output, length = _FRAME.unpack(head)
                yield output, self._file.read(length)

    def close(self) -> None:
        """Close the connection, but for copies of its descriptor."""
        self._response.close()

    def _shutdown(self, how: int) -> None:
        # Not a TLS socket's own, which would go on reading in clear.
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._socket, how)


class _Stream(Attached):
    """An attached connection whose threads feed the command and collect its outputs.

    Attributes:
        failure: What making the input, or taking an output, has raised.
    """

    def __init__(self, raw: Any, command: Command) -> None:
        super().__init__(raw)
        self.failure: Exception | None = None
        self._socket.settimeout(None)
        self._outputs = {_STDOUT: bytearray(), _STDERR: bytearray()}
        self._sinks: dict[int, Sink] = {
            _STDOUT: command.stdout or self._outputs[_STDOUT].extend,
            _STDERR: command.stderr or self._outputs[_STDERR].extend,
        }
        # Waited for instead of the thread, see `BackgroundStart`.
        self._ended = threading.Event()
        self._tick = command.tick
        threading.Thread(target=self._collect, daemon=True).start()
        self._writer: threading.Thread | None = None

    @property
    def stdout(self) -> bytes:
        return bytes(self._outputs[_STDOUT])

    @property
    def stderr(self) -> bytes:
        return bytes(self._outputs[_STDERR])

    def feed(self, chunks: Iterable[bytes]) -> None:
        """Send `chunks` as the command's stdin, and then its end."""
        self._writer = threading.Thread(target=self._send, args=(chunks,), daemon=True)
        self._writer.start()

    def wait(self, timeout: float | None) -> bool:
        """Wait for the end of the command's output; False when it did not come in time."""
        if self._tick is None:
            return self._ended.wait(timeout)
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        while not self._ended.is_set() and (left := deadline - time.monotonic()) > 0:
            self._ended.wait(min(left, _TICK_SECONDS))
            self._tick()
        return self._ended.is_set()

    def close(self) -> None:
        """Close the connection and end the threads."""
        self._shutdown(socket.SHUT_RDWR)
        self._ended.wait()
        if self._writer is not None:
            self._writer.join()
        super().close()

    def _collect(self) -> None:
        try:
            for output, data in self.frames():
                self._take(output, data)
        finally:
            self._ended.set()

    def _take(self, output: int, data: bytes) -> None:
        # A command whose output nobody takes any more would not end: the rest is read and dropped.
        try:
            self._sinks[output](data)
        except Exception as error:
            self.failure = self.failure or error
            self._sinks[output] = len

    def _send(self, chunks: Iterable[bytes]) -> None:
        try:
            for chunk in chunks:
                if not self._sent(chunk):
                    break
        except Exception as error:
            self.failure = error
        self._shutdown(socket.SHUT_WR)

    def _sent(self, chunk: bytes) -> bool:
        """Whether a chunk went out: a command may end without reading all of its stdin."""
        try:
            self._socket.sendall(chunk)
        except OSError:
            return False
        return True
