"""Commands in a daemon's container, with the interface of `subprocess.run`."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from ..backends import engine_errors
from ..engine.exec import Command
from ..errors import SettingsError
from ..validation import is_text, shown
from . import arguments

if TYPE_CHECKING:
    from ..backends.protocol import Backend, Record


# The docker CLI's commands that may ask a registry for something, wherever they stand in the line.
_ASK_REGISTRIES = frozenset(
    {
        *("bake", "build", "buildx", "compose", "create", "deploy", "install", "manifest", "pull"),
        *("push", "run", "search", "trust", "update"),
    }
)
_CLIS = frozenset({"docker", "docker-compose", "docker-buildx"})
_OWN_CREDENTIALS = frozenset({"DOCKER_CONFIG", "DOCKER_AUTH_CONFIG"})


class CommandFailed(subprocess.CalledProcessError):
    """A `CalledProcessError` that shows both outputs in its text.

    Attributes:
        note: What else may explain it; empty where nothing is known.
    """

    note = ""

    def __str__(self) -> str:
        stdout, stderr = _text(self.stdout), _text(self.stderr)
        text = f"{super().__str__()}\nstdout: {stdout}\nstderr: {stderr}"
        return f"{text.rstrip()}\n{self.note}" if self.note else text


def command(
    argv: Sequence[str | os.PathLike[str]],
    env: Mapping[str, str] | None,
    workdir: str | None,
    stdin: str | bytes | None,
    timeout: float | None,
) -> Command:
    """Check the arguments of `Daemon.exec`; gives the command that they make.

    Raises:
        SettingsError: the command is one string, or empty, or an argument is of another type.
    """
    arguments.demand("exec", env=env, workdir=workdir, stdin=stdin, timeout=timeout)
    words = _words(argv)
    given = stdin.encode() if isinstance(stdin, str) else stdin
    return Command(words, env or {}, workdir, given, timeout, _credentials(words, env or {}))


def asks_registries(words: Sequence[str]) -> bool:
    """Whether this is a command of the docker CLI that may ask a registry for something."""
    program = PurePath(words[0]).name
    return program in _CLIS and not _ASK_REGISTRIES.isdisjoint({program[7:], *words[1:]})


def _credentials(words: Sequence[str], env: Mapping[str, str]) -> str:
    """The user's credentials for registries, if the docker CLI may need them for this command."""
    if not asks_registries(words) or not _OWN_CREDENTIALS.isdisjoint(env):
        return ""
    from ..engine import credentials

    return credentials.as_config()


def run(
    backend: Backend, record: Record, command: Command, *, check: bool, text: bool
) -> subprocess.CompletedProcess[Any]:
    """Run a command where the daemon's docker CLI is.

    Args:
        backend: The daemon's backend.
        record: The daemon's record.
        command: The command.
        check: Whether to raise when it fails.
        text: Whether to give its outputs as text.

    Raises:
        subprocess.CalledProcessError: it failed, and `check` is true.
        subprocess.TimeoutExpired: it did not end in time, and was killed.
        SettingsError: its directory is not there.
        DaemonLost: the daemon is gone.
    """
    from docker.errors import APIError, NotFound

    try:
        done = backend.exec(record, command)
    except NotFound as error:
        raise engine_errors.gone(record.home, error) from error
    except APIError as error:
        raise _refused(command, str(error.explanation or error)) from error
    return finished(command, done, check=check, text=text)


def finished(
    command: Command,
    done: subprocess.CompletedProcess[bytes],
    *,
    check: bool,
    text: bool,
) -> subprocess.CompletedProcess[Any]:
    """A command that has ended, as `subprocess.run` gives it; for the arguments see `run`.

    Raises:
        subprocess.CalledProcessError: it failed, and `check` is true.
        SettingsError: its directory is not there.
    """
    # The word on a directory that is not there comes as the command's own output.
    if command.workdir is not None and done.returncode:
        said = done.stdout + done.stderr
        if b"chdir to cwd" in said:
            raise _refused(command, _text(said))
    stdout: Any = _text(done.stdout) if text else done.stdout
    stderr: Any = _text(done.stderr) if text else done.stderr
    if check and done.returncode:
        raise CommandFailed(done.returncode, done.args, stdout, stderr)
    return subprocess.CompletedProcess(done.args, done.returncode, stdout, stderr)


def _words(argv: Sequence[str | os.PathLike[str]]) -> list[str]:
    """Check the program and its arguments, and turn paths into text."""
    if isinstance(argv, (str, bytes)) or not isinstance(argv, Sequence) or not argv:
        evidence = "A command is a list: the program, then its arguments."
    else:
        words = [os.fspath(word) if isinstance(word, os.PathLike) else word for word in argv]
        odd = [word for word in words if not is_text(word)]
        if not odd:
            return words
        evidence = (
            "It takes text that UTF-8 has, without NUL, and paths; not so: "
            f"{', '.join(map(shown, odd))}."
        )
    raise SettingsError(
        f"exec: {shown(argv)} is not a command.",
        evidence=evidence,
        remedy=['Give a list: ["docker", "ps"].', 'Have a shell take it: ["sh", "-c", "..."].'],
    )


def _refused(command: Command, evidence: str) -> SettingsError:
    where = "" if command.workdir is None else f" in the directory {command.workdir}"
    return SettingsError(
        f"exec: {command.argv[0]!r} could not be started{where}.",
        evidence=evidence,
        remedy=["Check the directory, which must be there in the daemon's container, and `env`."],
    )


def _text(output: str | bytes) -> str:
    return output if isinstance(output, str) else output.decode(errors="replace")
