"""The start and the end of a guard's process, as the processes that use it see to them."""

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
from .config import READY, GuardConfig

_POLL_SECONDS = 0.01
_END_SECONDS = 60


def start(config: GuardConfig, seconds: float) -> bool:
    """Start a guard's process, and wait until it serves; returns whether it does in time.

    The process holds the lock on the file `guard` in the home as long as it lives, and writes into
    the file which process it is.

    Raises:
        BlockingIOError: a guard of this home is there already.
    """
    home = Path(config.home)
    lock = os.open(home / GUARD, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _lock(lock, seconds)
        # Its content is an earlier guard's.
        os.ftruncate(lock, 0)
        with (home / LOG).open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", __package__, json.dumps(asdict(config)), str(lock)],
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


def _lock(lock: int, seconds: float) -> None:
    """Take a guard's lock, which others may share for the moment of a look at it.

    Raises:
        BlockingIOError: a guard has it.
    """
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        # With a guard this fails: its lock is not one to share.
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        if time.monotonic() > deadline:
            raise BlockingIOError("other processes look at the lock all the time")
        fcntl.flock(lock, fcntl.LOCK_UN)
        time.sleep(_POLL_SECONDS)


def is_alive(home: Path) -> bool:
    """Whether the guard of a home runs."""
    try:
        with (home / GUARD).open("rb") as lock:
            # Shared, so that others who look at the same time do not take this for the guard.
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def pid(written: str) -> int | None:
    """The pid of the guard that wrote `written` into its file; None if that process has ended."""
    if written.isdecimal() and not labels.process():
        # Without /proc there is nothing to know it by.
        return int(written)
    return labels.pid(written)


def end(home: Path) -> None:
    """End the guard of a home, which leaves the removal of what tests made to the caller."""
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
