"""Files of a running container, written and read by commands in it.

The engine's own copy (`docker cp`) fails for a container that runs under Sysbox
(nestybox/sysbox#1017); a command works in each mode, so there is no other way.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from . import exec as exec_module
from . import tars

if TYPE_CHECKING:
    import docker

# Whoever waits for the mark finds in it the process whose end is the command's own, too.
_UNPACK = """
(umask 077 && mkdir -p "$(dirname "$1")") && cd / && $tar -xpf - && echo $$ >"$1"
"""
# In its place, at once: who reads it meanwhile finds the one before.
_WRITE = 'umask 077 && cat >"$1.new" && mv "$1.new" "$1"'
_READ = '[ -f "$1" ] && exec cat "$1"'


def unpack(
    client: docker.DockerClient, container: str, entries: Iterable[tars.Entry], mark: str
) -> None:
    """Have files in a container, and then a mark that says so.

    Args:
        client: The engine's client; its time-out is that of the command, too.
        container: The container.
        entries: The files; their names are relative to the root.
        mark: The path of a file with the command's process id; its directory is root's alone.

    Raises:
        tars.Failed: they can't be written; the text is the container's.
        TimeoutError: the engine hangs.
    """
    _run(client, container, tars.FIND + _UNPACK, mark, stdin=tars.pack(entries))


def write(client: docker.DockerClient, container: str, path: str, content: bytes) -> None:
    """Write a file for root alone.

    Raises:
        tars.Failed: it can't be written; the text is the container's.
        TimeoutError: the engine hangs.
    """
    _run(client, container, _WRITE, path, stdin=content)


def read(client: docker.DockerClient, container: str, path: str) -> bytes:
    """Read a file.

    Raises:
        tars.Failed: there is none, or it can't be read; the text is the container's.
        TimeoutError: the engine hangs.
    """
    return _run(client, container, _READ, path)


def _run(
    client: docker.DockerClient,
    container: str,
    script: str,
    path: str,
    stdin: bytes | Iterable[bytes] | None = None,
) -> bytes:
    argv = ["sh", "-c", script, "sh", path]
    command = exec_module.Command(argv, stdin=stdin, patience=client.api.timeout)
    done = exec_module.run(client, container, command)
    if done.returncode:
        said = (done.stdout + done.stderr).decode(errors="replace").strip()
        raise tars.Failed(said or f"A command in the container ended with {done.returncode}.")
    return done.stdout
