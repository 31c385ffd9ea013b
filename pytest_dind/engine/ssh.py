"""An engine on another machine, brought here by the machine's own ssh, as a unix socket."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

from ..errors import EngineUnavailable
from ..lifetime import directories

_SOCKET = "/var/run/docker.sock"
_CONNECT_SECONDS = 10
_POLL_SECONDS = 0.02

# Ends with its stdin, that is with this process, however that ends; leaves no directory then.
_TUNNEL = 'trap "" INT; directory=$1; shift; "$@"; rm -rf "$directory"'
_OPTIONS = (
    # Asks nobody anything, so that it never hangs.
    *("-o", "BatchMode=yes"),
    *("-o", f"ConnectTimeout={_CONNECT_SECONDS}"),
    *("-o", "ExitOnForwardFailure=yes"),
    *("-o", "ControlPath=none"),
)


class Tunnel:
    """The socket of the engine at a URL `ssh://[user@]host[:port][/path/of/docker.sock]`.

    Raises:
        EngineUnavailable: ssh doesn't get there.
        ValueError: it is no URL.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        # Read first: what is no URL is to leave nothing.
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
        deadline = time.monotonic() + 2 * _CONNECT_SECONDS
        while not _listens(path):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self._said.seek(0)
                raise EngineUnavailable(
                    f"The Docker engine at {self._url} cannot be used.",
                    evidence=self._said.read().decode(errors="replace") or "No answer in time.",
                    remedy=[
                        f"Try it by hand: ssh {_destination(self._url)[-1]} docker version.",
                        "It must ask for no password: use a key that ssh-agent has.",
                    ],
                )
            time.sleep(_POLL_SECONDS)

    def close(self) -> None:
        """End it."""
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
    """The host that ssh connects to for a URL, which may have one of ssh's own aliases."""
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
