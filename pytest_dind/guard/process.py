"""The process of a guard: one for each daemon, which ends with the last process that uses it.

Each run in mode socket waits for its start, so it imports as little as it can.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
from pathlib import Path

from ..engine.own_container import Share, SharedFiles
from ..lifetime import labels
from .config import READY, GuardConfig
from .http.proxy import bound
from .http.upstream import Upstream
from .objects.run_labels import RunLabels
from .rules.policy import Policy, real_roots
from .server import Server

# The time for requests that are making something when the last user has ended.
_GRACE_SECONDS = 5
# Between two checks that the home still exists.
_LOOK_SECONDS = 5


def main(arguments: list[str]) -> None:
    """Serve until the last process that uses the daemon has ended, and then clean up."""
    if os.fork():
        # This process ends at once, so its parent can wait for it; the child goes on as init's.
        return
    os.umask(0o077)
    config = GuardConfig(**json.loads(arguments[0]))
    lock = int(arguments[1])
    os.set_inheritable(lock, False)
    # Without /proc (macOS) a process can't be told from a later one of its pid.
    os.write(lock, (labels.process() or str(os.getpid())).encode())
    if asyncio.run(_serve(config)):
        _clean_up(config)


def _clean_up(config: GuardConfig) -> None:
    """Remove what the tests made, and then the home, and the run's directory with its last."""
    from ..engine.engine import Engine as Outer
    from .objects.leftovers import purge

    home = Path(config.home)
    with contextlib.closing(Outer(f"unix://{config.engine}")) as outer:
        purge(outer, home)
    shutil.rmtree(home, ignore_errors=True)
    with contextlib.suppress(FileNotFoundError):
        if not any(path.is_dir() for path in home.parent.iterdir()):
            shutil.rmtree(home.parent, ignore_errors=True)


async def _serve(config: GuardConfig) -> bool:
    """Serve to the end; returns whether to remove what the tests made."""
    home = Path(config.home)
    engine = Upstream(config.engine)
    await engine.negotiate_version()
    shared = None if config.shared is None else [Share(*mount) for mount in config.shared]
    policy = Policy(
        guard=config.guard,
        allow=frozenset(config.allow),
        roots=real_roots(config.roots),
        engine=config.engine,
        socket=config.socket,
        private=str(home.parent.parent),
        read_only=real_roots(config.read_only),
        shared=None if shared is None else SharedFiles(shared),
    )
    server = Server(engine, RunLabels(config.labels), policy, home, _log)
    ending: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    _watch(config, ending)
    listener = await server.listen(bound(config.socket))
    os.write(sys.stdout.fileno(), READY)
    _silence()
    removes = await ending
    listener.close()
    await server.drain(_GRACE_SECONDS)
    return removes


def _log(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _silence() -> None:
    """Close the pipe to the process that waits for the start; nothing more is written there."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)


def _watch(config: GuardConfig, ending: asyncio.Future[bool]) -> None:
    """Set `ending` on a signal, or when the last process that uses the daemon has ended."""
    loop = asyncio.get_running_loop()
    lease = os.open(config.lease, os.O_RDONLY | os.O_NONBLOCK)

    def finish(removes: bool) -> None:
        if not ending.done():
            ending.set_result(removes)

    def read() -> None:
        if os.read(lease, 4096):
            return
        loop.remove_reader(lease)
        # A guard that is kept is ended by whoever removes it.
        if not Path(config.kept).exists():
            finish(True)

    with contextlib.suppress(BlockingIOError):
        # Users that ended before this process started cause no event later.
        read()
    loop.add_reader(lease, read)

    def look() -> None:
        if Path(config.home).is_dir():
            loop.call_later(_LOOK_SECONDS, look)
        else:
            # A cleaner removed the home: nobody can reach this guard any more, or end it.
            finish(True)

    loop.call_later(_LOOK_SECONDS, look)
    loop.add_signal_handler(signal.SIGTERM, finish, True)
    loop.add_signal_handler(signal.SIGUSR1, finish, False)
