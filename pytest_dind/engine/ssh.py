"""Tunnels: an engine on another machine as a unix socket here, by the installed ssh."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

from ..errors import EngineUnavailable
from ..lifetime import directories
from .polling import poll

_SOCKET = "/var/run/docker.sock"
_CONNECT_SECONDS = 10
_POLL_SECONDS = 0.02

# Ends with its stdin, that is with this process, however that ends, and removes the directory.
_TUNNEL = 'trap "" INT; directory=$1; shift; "$@"; rm -rf "$directory"'
_OPTIONS = (
    # Never asks for a password, so that it never hangs.
    *("-o", "BatchMode=yes"),
    *("-o", f"ConnectTimeout={_CONNECT_SECONDS}"),
    *("-o", "ExitOnForwardFailure=yes"),
    *("-o", "ControlPath=none"),
)


class Tunnel:
    """A socket that leads to the engine at `ssh://[user@]host[:port][/path/of/docker.sock]`.

    Attributes:
        host: The socket's URL.

    Raises:
        EngineUnavailable: ssh can't connect.
        ValueError: the text is no URL.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        # Before the directory is made: a text that is no URL leaves none.
        command, destination = _command(url), _destination(url)
        remote = urlsplit(url).path.rstrip("/") or _SOCKET
        parent = directories.temp("dind-01234567/s")
        self._directory = Path(tempfile.mkdtemp(prefix="dind-", dir=parent))
        path = self._directory / "s"
        # Not a pipe, which nobody would read later.
        self._said = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            # cat: a command that ends with its stdin, where ssh alone would go on.
            [
                *("sh", "-c", _TUNNEL, "sh", str(self._directory)),
                *(*command, "-L", f"{path}:{remote}", *destination, "cat"),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._said,
            start_new_session=True,
        )
        self.host = f"unix://{path}"
        try:
            self._wait(path)
        except BaseException:
            self.close()
            raise

    def _wait(self, path: Path) -> None:
        def listens() -> bool | None:
            """Whether the tunnel is there; None while it may still come."""
            return _listens(path) or (None if self._process.poll() is None else False)

        if not poll(listens, seconds=2 * _CONNECT_SECONDS, every=_POLL_SECONDS):
            self._said.seek(0)
            raise EngineUnavailable(
                f"The Docker engine at {self._url} cannot be used.",
                evidence=self._said.read().decode(errors="replace") or "No answer in time.",
                remedy=[
                    f"Try it by hand: ssh {_destination(self._url)[-1]} docker version.",
                    "It must ask for no password: use a key that ssh-agent has.",
                ],
            )

    def close(self) -> None:
        """End the tunnel."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(_CONNECT_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._said.close()
        shutil.rmtree(self._directory, ignore_errors=True)


def address(url: str) -> str:
    """The host that ssh connects to; the URL may have an alias of ssh's own configuration."""
    host = urlsplit(url).hostname or ""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        said = subprocess.run(
            [*_command(url), "-G", *_destination(url)],
            capture_output=True,
            text=True,
            timeout=_CONNECT_SECONDS,
            check=False,
        ).stdout
        for line in said.splitlines():
            if line.startswith("hostname "):
                return line.removeprefix("hostname ")
    return host


def _command(url: str) -> list[str]:
    port = urlsplit(url).port
    return ["ssh", "-T", *_OPTIONS, *(("-p", str(port)) if port else ())]


def _destination(url: str) -> list[str]:
    parts = urlsplit(url)
    host = parts.hostname or ""
    return ["--", f"{parts.username}@{host}" if parts.username else host]


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as knocking:
        try:
            knocking.connect(str(path))
        except OSError:
            return False
    return True
