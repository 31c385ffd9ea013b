"""Runs of pytest by processes that need not load it: forks of one that has.

Loading pytest and what the plugin's runs need takes longer than most of these runs. What the runs
are about, the plugin and pytest's other plugins, each fork loads itself.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NoReturn

_PYTEST = ("pytest", "_pytest.config")
_LIBRARIES = (
    *("docker", "docker.errors", "docker.types", "filelock", "tenacity", "h11", "execnet"),
    *("asyncio", "concurrent.futures", "email.utils", "hashlib", "tarfile", "tempfile", "uuid"),
)
_MOST = 1 << 20
"""The most bytes of a request: a command line and an environment."""


class Fork:
    """A run of pytest; as `subprocess.Popen`, as far as tests use that.

    Args:
        pid: Its process id, which is its process group's, too.
        status: From where its exit code is read.
        output: From where its output is read; None where it goes elsewhere.
    """

    # It reads nothing.
    stdin = None

    def __init__(self, pid: int, status: IO[bytes], output: IO[str] | None) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._read: list[str] = []
        self._threads = [threading.Thread(target=self._wait, args=(status,), daemon=True)]
        if output is not None:
            self._threads.append(
                threading.Thread(target=self._collect, args=(output,), daemon=True)
            )
        for thread in self._threads:
            thread.start()

    def _wait(self, status: IO[bytes]) -> None:
        with status:
            self.returncode = int(status.read())

    def _collect(self, output: IO[str]) -> None:
        with output:
            self._read.append(output.read())

    def poll(self) -> int | None:
        """The exit code; None while it runs."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; the exit code, negative for a signal."""
        self._join(self._threads[:1], timeout)
        assert self.returncode is not None
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, None]:
        """Wait for its end and that of its output; the output."""
        self._join(reversed(self._threads), timeout)
        return "".join(self._read), None

    def _join(self, threads: Any, timeout: float | None) -> None:
        for thread in threads:
            thread.join(timeout)
            if thread.is_alive():
                raise subprocess.TimeoutExpired("pytest", timeout or 0)

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.returncode is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send it SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send it SIGKILL."""
        self.send_signal(signal.SIGKILL)


class Forks:
    """The process that forks; it ends with the one that has made this.

    Args:
        modules: The modules that it loads.
    """

    def __init__(self, modules: Sequence[str]) -> None:
        self._lock = threading.Lock()
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._requests.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _MOST)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno()), *modules],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                # Of the kind that the runs' own output is, for which Python buffers it.
                stdout=subprocess.PIPE,
                start_new_session=True,
            )
        atexit.register(self._close)

    def _close(self) -> None:
        self._requests.close()
        self._process.communicate()

    def start(
        self,
        arguments: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        stdout: int | None = None,
        stderr: int | None = None,
    ) -> Fork:
        """Start `python -m pytest` with these arguments, in a process group of its own.

        Args:
            arguments: Those of pytest.
            cwd: The directory that it runs in.
            env: Its environment.
            stdout: Where its output goes; None gives it, with the errors, to `communicate`.
            stderr: Where its errors go.
        """
        status, reported = os.pipe()
        output = None
        ours = [reported]
        if stdout is None:
            reading, stdout = os.pipe()
            stderr = stdout
            ours.append(stdout)
            output = os.fdopen(reading, encoding="utf-8", errors="replace")
        assert stderr is not None
        request = json.dumps([list(arguments), str(cwd), dict(env)]).encode()
        with self._lock:
            socket.send_fds(self._requests, [request], [reported, stdout, stderr])
            pid = int(self._requests.recv(100))
        for fd in ours:
            os.close(fd)
        return Fork(pid, os.fdopen(status, "rb"), output)


@functools.cache
def with_libraries() -> Forks:
    """Forks for runs that have a daemon."""
    return Forks([*_PYTEST, *_LIBRARIES])


@functools.cache
def with_pytest() -> Forks:
    """Forks for runs that may have none; what these load is nobody else's doing."""
    return Forks(_PYTEST)


def _serve(requests: socket.socket) -> list[str]:
    """Fork for each request; return in the fork alone, with the arguments of its run."""
    # Who waits for a run is a fork of its own, and nobody waits for that.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        request, descriptors, _, _ = socket.recv_fds(requests, _MOST, 3)
        if not request:
            # Not by way of an exit from Python: what the libraries do then is for runs.
            os._exit(0)
        if os.fork() == 0:
            status, stdout, stderr = descriptors
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            run = os.fork()
            if run:
                for fd in (stdout, stderr):
                    os.close(fd)
                requests.send(str(run).encode())
                requests.close()
                _, code = os.waitpid(run, 0)
                with os.fdopen(status, "w") as file, contextlib.suppress(BrokenPipeError):
                    file.write(str(os.waitstatus_to_exitcode(code)))
                    file.flush()
                os._exit(0)
            requests.close()
            os.setsid()
            os.dup2(stdout, 1)
            os.dup2(stderr, 2)
            for fd in {*descriptors}:
                os.close(fd)
            arguments, cwd, env = json.loads(request)
            os.chdir(cwd)
            os.environ.clear()
            os.environ.update(env)
            path = [part for part in env.get("PYTHONPATH", "").split(os.pathsep) if part]
            sys.path[:0] = [cwd, *path]
            return list(arguments)
        for fd in descriptors:
            os.close(fd)


def _main(descriptor: str, *modules: str) -> NoReturn:
    # Its own directory, of which the runs know nothing.
    sys.path[:] = [path for path in sys.path if Path(path) != Path(__file__).parent]
    for module in modules:
        importlib.import_module(module)
    arguments = _serve(socket.socket(fileno=int(descriptor)))
    sys.argv[:] = ["pytest", *arguments]
    runpy.run_module("pytest", run_name="__main__", alter_sys=True)
    raise SystemExit(0)


if __name__ == "__main__":
    _main(*sys.argv[1:])
