"""The process of a forwarder: one for each daemon, which ends with the last that uses it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import resource
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..lifetime import labels, layout
from . import config as configs
from .binds import Binds
from .follower import Follower
from .listeners import Listeners, Way
from .loop import HAS_EDGES, IN, Loop

if TYPE_CHECKING:
    from .config import ForwarderConfig
    from .follower import Port
    from .tunnel import Tunnels

# Between two checks that the home still exists.
_LOOK_SECONDS = 2
# A container beside this process answers in a fraction of a millisecond.
_REACHED_SECONDS = 1
_NO_PORT = 1


def main(text: str) -> None:
    """Forward until the last process that uses the daemon has ended.

    Args:
        text: The configuration.
    """
    if os.fork():
        # This process ends at once, so its parent can wait for it; the child goes on as init's.
        return
    os.umask(0o077)
    config = configs.load(text)
    home = Path(config.home)
    # Where the home is gone, or has a forwarder already, there is nothing to do.
    with contextlib.suppress(FileNotFoundError, BlockingIOError):
        # Its descriptor is not for processes that this one might start.
        lock = os.open(home / layout.FORWARDER, os.O_RDWR | os.O_CLOEXEC)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        lease = os.open(home / layout.LEASE, os.O_RDONLY | os.O_NONBLOCK)
        os.ftruncate(lock, 0)
        os.write(lock, (labels.process() or str(os.getpid())).encode())
        with (home / layout.FORWARDER_LOG).open("a") as log:
            os.dup2(log.fileno(), sys.stderr.fileno())
        _forward(config, lease)


def _forward(config: ForwarderConfig, lease: int) -> None:
    """Forward, until there is no lease that a process holds, or no home."""
    _raise_limit()
    home = Path(config.home)
    loop = Loop()

    def read(events: int) -> None:
        with contextlib.suppress(BlockingIOError):
            if not os.read(lease, 4096):
                loop.end()

    def look() -> None:
        if home.is_dir():
            loop.later(_LOOK_SECONDS, look)
        else:
            loop.end()

    def tunnels() -> Tunnels:
        # Loaded only where one is needed: it needs ssl.
        from .tunnel import Tunnels

        return Tunnels(config.engine, config.container)

    is_direct = HAS_EDGES and config.address and is_reached(config.address)
    address = config.address if is_direct else ""

    def note(opened: dict[Port, int], taken: dict[Port, str]) -> None:
        content = {
            "direct": bool(address),
            "opened": {f"{port}/{kind}": at for (port, kind), at in opened.items()},
            "taken": {f"{port}/{kind}": why for (port, kind), why in taken.items()},
        }
        # No home: this process is about to end.
        with contextlib.suppress(FileNotFoundError):
            aside = home / f"{layout.FORWARDED}.new"
            aside.write_text(json.dumps(content))
            aside.replace(home / layout.FORWARDED)

    listeners = Listeners(loop, Way(loop, address, tunnels), note)
    # Users that ended before this process started cause no event later.
    read(IN)
    loop.watch(lease, read)
    look()
    binds = Binds(config.daemon, config.engine, config.container, home / layout.BINDS)
    binds.start()
    Follower(
        config.daemon,
        lambda published: loop.soon(lambda: listeners.update(published)),
        binds.created,
    ).start()
    loop.run()
    # Not by the interpreter's end, which would wait for nothing but cost time.
    os._exit(0)


def is_reached(address: str) -> bool:
    """Whether packets of this process come to an address, and an answer back."""
    try:
        socket.create_connection((address, _NO_PORT), _REACHED_SECONDS).close()
    except OSError as error:
        return error.errno == errno.ECONNREFUSED
    return True


def _raise_limit() -> None:
    """Allow as many open sockets as this user may have."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    # macOS has a lower limit of its own.
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
