"""Starting the guard's process and ending it, from the processes that use it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

from ..lifetime import labels
from ..lifetime.layout import GUARD, LOG
from .orders import READY, Orders

_POLL_SECONDS = 0.01
_END_SECONDS = 60


def start(orders: Orders, seconds: float) -> bool:
    """Start a guard, and wait until it serves; whether it does.

    It holds the lock on the file `guard` in the home as long as it lives, and writes down there
    which process it is.
    """
    home = Path(orders.home)
    lock = os.open(home / GUARD, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # What is in it is an earlier guard's.
        os.ftruncate(lock, 0)
        with (home / LOG).open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", __package__, json.dumps(asdict(orders)), str(lock)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                # Where nothing lies that Python could take for a module.
                cwd="/",
                pass_fds=(lock,),
                start_new_session=True,
            )
    finally:
        os.close(lock)
    with process:
        assert process.stdout is not None
        # This process forks the one that stays, and ends; the pipe is the other's.
        readable, _, _ = select.select([process.stdout], [], [], seconds)
        return bool(readable) and os.read(process.stdout.fileno(), len(READY)) == READY


def is_alive(home: Path) -> bool:
    """Whether the guard of this home is there."""
    try:
        with (home / GUARD).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def pid(written: str) -> int | None:
    """The pid of the guard that wrote this in its file; None where that process is gone."""
    if written.isdecimal() and not labels.process():
        # Without /proc there is nothing to know it by.
        return int(written)
    return labels.pid(written)


def end(home: Path) -> None:
    """End the guard of this home, and leave what its tests made to the caller."""
    deadline = time.monotonic() + _END_SECONDS
    asked = False
    while is_alive(home) and time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            # Nothing is in it while a guard begins.
            written = "" if asked else (home / GUARD).read_text()
            guard = pid(written)
            if guard is not None:
                os.kill(guard, signal.SIGUSR1)
                asked = True
            elif written:
                # Another one has its pid, or it is of another pid namespace, out of reach.
                return
        time.sleep(_POLL_SECONDS)
