"""Commands in a daemon's container, with the manners of `subprocess.run`."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .errors import DaemonLost, SettingsError

if TYPE_CHECKING:
    from .backends.protocol import Backend, Record


class CommandFailed(subprocess.CalledProcessError):
    """A `CalledProcessError` that shows both outputs in its text."""

    def __str__(self) -> str:
        stdout, stderr = _text(self.stdout), _text(self.stderr)
        return f"{super().__str__()}\nstdout: {stdout}\nstderr: {stderr}"


def run(
    backend: Backend,
    record: Record,
    command: Sequence[str],
    *,
    check: bool,
    env: Mapping[str, str] | None,
    workdir: str | None,
    stdin: str | bytes | None,
    timeout: float | None,
    text: bool,
) -> subprocess.CompletedProcess[Any]:
    """Run a command where the daemon's docker CLI is; `Daemon.exec` says how.

    Raises:
        subprocess.CalledProcessError: it failed, and `check` is true.
        subprocess.TimeoutExpired: it was killed after `timeout` seconds.
        SettingsError: it is one string, or empty, or its directory is not there.
        DaemonLost: the daemon is gone.
    """
    from docker.errors import APIError, NotFound

    if isinstance(command, (str, bytes)) or not command:
        raise SettingsError(
            f"exec: {command!r} is not a command.",
            evidence="A command is a list: the program, then its arguments.",
            remedy=['Give a list: ["docker", "ps"].', 'Have a shell take it: ["sh", "-c", "..."].'],
        )
    try:
        done = backend.exec(
            record,
            command,
            env=env,
            workdir=workdir,
            stdin=stdin.encode() if isinstance(stdin, str) else stdin,
            timeout=timeout,
        )
    except NotFound as error:
        raise gone(record, error) from error
    except APIError as error:
        raise _refused(command, workdir, str(error.explanation or error)) from error
    # What the runtime says of a directory that is not there comes as the command's own output.
    if workdir is not None and done.returncode and b"chdir to cwd" in done.stdout + done.stderr:
        raise _refused(command, workdir, _text(done.stdout + done.stderr))
    stdout: Any = _text(done.stdout) if text else done.stdout
    stderr: Any = _text(done.stderr) if text else done.stderr
    if check and done.returncode:
        raise CommandFailed(done.returncode, done.args, stdout, stderr)
    return subprocess.CompletedProcess(done.args, done.returncode, stdout, stderr)


def gone(record: Record, error: Exception) -> DaemonLost:
    """The error for a daemon whose container is not there."""
    return DaemonLost(
        f"The daemon {record.home.name!r} is gone; nothing can be done in it.",
        evidence=str(getattr(error, "explanation", error)),
        remedy=["Start another one with dind_factory; one that was stopped stays so."],
    )


def _refused(command: Sequence[str], workdir: str | None, evidence: str) -> SettingsError:
    where = "" if workdir is None else f" in the directory {workdir}"
    return SettingsError(
        f"exec: {command[0]!r} could not be started{where}.",
        evidence=evidence,
        remedy=["Check the directory, which must be there in the daemon's container, and `env`."],
    )


def _text(output: str | bytes) -> str:
    return output if isinstance(output, str) else output.decode(errors="replace")
