"""Sessions: a command in a container that has this process's terminal, or its stdin and outputs."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .exec import Attached
from .polling import poll

if TYPE_CHECKING:
    import docker

_CHUNK = 64 * 1024
_STDERR = 2
_CODE_SECONDS = 5.0
_SIZE_PAUSES = (0.0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4)
"""The seconds before the size is told, each time anew."""
_USUAL_SIZE = os.terminal_size((80, 24))
"""Of a terminal that says of itself that it has no columns, or no lines."""
_NOT_STARTED = 126
"""As shells have it for what can't be run."""


def run(client: docker.DockerClient, container: str, argv: Sequence[str]) -> int:
    """Run a command for the person, or the script, that runs this process; gives its exit code.

    With a terminal on both sides the command has one too, as large as this one.
    """
    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    environment = {"TERM": os.environ.get("TERM", "xterm")} if terminal else {}
    api: Any = client.api
    exec_id = api.exec_create(
        container, list(argv), stdin=True, tty=terminal, environment=environment
    )["Id"]
    with contextlib.closing(Session(api.exec_start(exec_id, tty=terminal, socket=True))) as session:
        # It may wait for a key for ever, which is no reason to wait for it.
        threading.Thread(target=session.forward, args=(sys.stdin.fileno(),), daemon=True).start()
        if terminal:
            with _raw(sys.stdin.fileno()), _resized(api, exec_id):
                session.show_terminal()
        else:
            session.show()
    return _exit_code(api, exec_id)


def _exit_code(api: Any, exec_id: str) -> int:
    """Return a command's exit code, which the engine may know a moment after the output's end."""
    code: int | None = poll(
        lambda: api.exec_inspect(exec_id)["ExitCode"], seconds=_CODE_SECONDS, every=0.05
    )
    return _NOT_STARTED if code is None else code


def follow(client: docker.DockerClient, container: str, argv: Sequence[str]) -> None:
    """Show what a command writes until it ends; its stdin ends when this process is done with it.

    An engine does not end a command whose client is gone: the command must end with its stdin.
    """
    api: Any = client.api
    exec_id = api.exec_create(container, list(argv), stdin=True)["Id"]
    with contextlib.closing(Session(api.exec_start(exec_id, socket=True))) as session:
        session.show()


class Session(Attached):
    """A connection to a command whose output is shown as it comes."""

    def __init__(self, raw: Any) -> None:
        super().__init__(raw)
        self._socket.settimeout(None)

    def forward(self, descriptor: int) -> None:
        """Send what can be read from a descriptor, up to its end; then the command's stdin ends."""
        # A command may end without reading all of its stdin.
        with contextlib.suppress(OSError):
            while data := os.read(descriptor, _CHUNK):
                self._socket.sendall(data)
        self._shutdown(socket.SHUT_WR)

    def show(self) -> None:
        """Show both outputs, each on its own, until they end."""
        for output, data in self.frames():
            target = sys.stderr if output == _STDERR else sys.stdout
            target.buffer.write(data)
            target.buffer.flush()

    def show_terminal(self) -> None:
        """Show what the command's terminal shows, until it ends."""
        reader: Any = self._file
        with contextlib.suppress(OSError):
            while data := reader.read1(_CHUNK):
                sys.stdout.buffer.write(data)
                sys.stdout.buffer.flush()

    def close(self) -> None:
        """Close the connection, which ends the command's stdin."""
        self._shutdown(socket.SHUT_RDWR)
        super().close()


@contextmanager
def _raw(descriptor: int) -> Iterator[None]:
    """A terminal that hands over each key as it is, such as Ctrl-C, which is the command's."""
    import termios
    import tty

    usual = termios.tcgetattr(descriptor)
    # What was typed already is kept.
    tty.setraw(descriptor, termios.TCSADRAIN)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, usual)


@contextmanager
def _resized(api: Any, exec_id: str) -> Iterator[None]:
    """Keep the command's terminal as large as this process's."""
    from docker.errors import APIError

    over = threading.Event()

    def resize(*_: object) -> None:
        # Not by COLUMNS and LINES, which may be another terminal's.
        size = os.get_terminal_size(sys.stdout.fileno())
        # The command may have ended just now, or not have begun.
        with contextlib.suppress(APIError):
            api.exec_resize(
                exec_id,
                height=size.lines or _USUAL_SIZE.lines,
                width=size.columns or _USUAL_SIZE.columns,
            )

    def resize_at_first() -> None:
        # Until the command has its terminal, an engine refuses the size, or takes it and forgets it
        # (containerd: a process without a console). To set the same size again signals nothing.
        for pause in _SIZE_PAUSES:
            if over.wait(pause):
                return
            resize()

    usual = signal.signal(signal.SIGWINCH, resize)
    threading.Thread(target=resize_at_first, daemon=True).start()
    try:
        yield
    finally:
        over.set()
        signal.signal(signal.SIGWINCH, usual)
