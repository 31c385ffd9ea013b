"""What the tools say, how they show progress, and how they run a program."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

PROGRESS_SECONDS = 2.0
LAST_LINES = 12


class Problem(Exception):
    """Something failed: what it was, what was seen, and what to do about it."""

    def __init__(self, what: str, evidence: str, remedy: str) -> None:
        super().__init__(what)
        self.what = what
        self.evidence = evidence
        self.remedy = remedy

    def __str__(self) -> str:
        evidence = self.evidence.strip().replace("\n", "\n    ")
        remedy = self.remedy.strip().replace("\n", "\n    ")
        return f"{self.what}\n  seen: {evidence}\n  to fix: {remedy}"


def say(text: str) -> None:
    """Print one line at once."""
    print(text, flush=True)


class Step:
    """A piece of work under way; `detail` is what its progress line shows."""

    def __init__(self, title: str) -> None:
        self.detail = ""
        self._title = title
        self._started = time.monotonic()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._show, daemon=True)
        self._rewrites = sys.stdout.isatty()

    def start(self) -> None:
        """Say the title, and from now on how it goes."""
        say(f"{self._title} ...")
        self._thread.start()

    def end(self, outcome: str) -> None:
        """Say how it ended, if it took long enough for anyone to wonder."""
        self._ended.set()
        self._thread.join()
        elapsed = time.monotonic() - self._started
        if elapsed > PROGRESS_SECONDS:
            say(f"{self._clear()}  {outcome} after {elapsed:.1f} s")

    def _clear(self) -> str:
        return "\r\x1b[K" if self._rewrites else ""

    def _show(self) -> None:
        while not self._ended.wait(PROGRESS_SECONDS):
            elapsed = time.monotonic() - self._started
            line = f"  {elapsed:3.0f} s  {self.detail}"[:100].rstrip()
            print(f"{self._clear()}{line}", end="" if self._rewrites else "\n", flush=True)


@contextlib.contextmanager
def step(title: str) -> Iterator[Step]:
    """Name a piece of work, and show its progress every two seconds."""
    current = Step(title)
    current.start()
    try:
        yield current
    except BaseException:
        current.end("stopped")
        raise
    current.end("done")


def run(
    command: Sequence[str],
    shown: Step,
    *,
    what: str,
    remedy: str,
    env: Mapping[str, str] | None = None,
    stop_with: signal.Signals = signal.SIGTERM,
    detail: Callable[[str], str] = str.strip,
) -> None:
    """Run a program; the step's detail is its last line, or what `detail` makes of that.

    Raises:
        Problem: it is not there or fails; the evidence is its last lines.
    """
    lines: deque[str] = deque(maxlen=LAST_LINES)
    try:
        process = subprocess.Popen(
            command,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
    except OSError as error:
        raise Problem(what, str(error), remedy) from error
    assert process.stdout is not None
    try:
        with process.stdout:
            for line in process.stdout:
                if line.strip():
                    lines.append(line.rstrip())
                    shown.detail = detail(line)
        status = process.wait()
    finally:
        end(process, stop_with)
    if status:
        evidence = "\n".join([f"exit status {status} of: {' '.join(command)}", *lines])
        raise Problem(what, evidence, remedy)


def end(process: subprocess.Popen[Any], first: signal.Signals, patience: float = 10.0) -> None:
    """Make sure that a child has ended: ask it with a signal, then kill it."""
    if process.poll() is None:
        process.send_signal(first)
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
