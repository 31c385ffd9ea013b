"""Commands in a daemon's container, with the manners of `subprocess.run`."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import DaemonLost, SettingsError

if TYPE_CHECKING:
    from ..backends.protocol import Backend, Record


class CommandFailed(subprocess.CalledProcessError):
    """A `CalledProcessError` that shows both outputs in its text."""

    def __str__(self) -> str:
        stdout, stderr = _text(self.stdout), _text(self.stderr)
        return f"{super().__str__()}\nstdout: {stdout}\nstderr: {stderr}"


def run(
    backend: Backend,
    record: Record,
    command: Sequence[str | os.PathLike[str]],
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
        SettingsError: it is one string, or empty, or an argument is of another type, or its
            directory is not there.
        DaemonLost: the daemon is gone.
    """
    from docker.errors import APIError, NotFound

    command = _words(command)
    if not isinstance(stdin, (str, bytes, type(None))):
        raise bad("exec", "stdin", stdin, "text, bytes or None")
    if not isinstance(timeout, (int, float, type(None))):
        raise bad("exec", "timeout", timeout, "a number of seconds, or None")
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


def environment(inside: str, env: Mapping[str, str] | None) -> dict[str, str]:
    """A command's environment variables.

    Args:
        inside: The daemon's URL in its own container, where it is not the usual one.
        env: What the caller gives.

    Raises:
        SettingsError: it is no mapping.
    """
    if not isinstance(env, (Mapping, type(None))):
        raise bad("exec", "env", env, 'a dict, such as {"NAME": "value"}')
    return {**({"DOCKER_HOST": inside} if inside else {}), **(env or {})}


def _words(command: Sequence[str | os.PathLike[str]]) -> list[str]:
    """The program and its arguments, paths as text."""
    if isinstance(command, (str, bytes)) or not isinstance(command, Sequence) or not command:
        evidence = "A command is a list: the program, then its arguments."
    else:
        words = [os.fspath(word) if isinstance(word, os.PathLike) else word for word in command]
        odd = [word for word in words if not isinstance(word, str)]
        if not odd:
            return words
        evidence = f"It takes text and paths; not so: {', '.join(map(repr, odd))}."
    raise SettingsError(
        f"exec: {command!r} is not a command.",
        evidence=evidence,
        remedy=['Give a list: ["docker", "ps"].', 'Have a shell take it: ["sh", "-c", "..."].'],
    )


def bad(call: str, name: str, value: object, valid: str) -> SettingsError:
    """The error for an argument of another type than the handle's call takes."""
    return SettingsError(
        f"{call}: {name}={value!r} is not a valid value.",
        evidence=f"Its type is {type(value).__name__}.",
        remedy=[f"Give {name} {valid}."],
    )


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
