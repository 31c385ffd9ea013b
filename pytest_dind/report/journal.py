"""The page of a report while the run goes on: what becomes known is appended to it.

All processes of a run append to the one file. Each entry is one write, so that entries of several
processes don't mix, and what is there opens at any time, also after a `SIGKILL`.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..errors import SettingsError
from . import document, page

MOST_TEXT = 64 * 1024
"""How many characters of a text, such as a log, an entry has: the last ones."""


def data_path(path: Path) -> Path:
    """Return where the data of a report are, beside its page."""
    return path.with_name(f"{path.name}.json")


def begin(given: str) -> Path:
    """Begin a report: make its page, and remove the data of an earlier one; return its path.

    Raises:
        SettingsError: it can't be written.
    """
    try:
        path = Path(given).expanduser().resolve()
        path.parent.mkdir(parents=True, exist_ok=True)
        # Such as /dev/null, which is not to become a file.
        if path.exists() and not stat.S_ISREG(path.stat().st_mode):
            raise OSError(f"It is there already, and is no file: {path}")
        path.write_text(page.head(), encoding="utf-8")
        data_path(path).unlink(missing_ok=True)
        data_path(path).touch()
        data_path(path).unlink()
    # A ValueError: a NUL in the path. A RuntimeError: there is no such user, or links in a circle.
    except (OSError, ValueError, RuntimeError) as error:
        raise SettingsError(
            f"--dind-report: {given!r} can't be written.",
            evidence=str(error),
            remedy=["Name a file in a directory that can be written, such as report.html."],
        ) from error
    return path


class Journal:
    """A report that this process appends to; may be used by several threads.

    Args:
        path: The report's page, which another process may have begun.
        began: The time of the run's start, from which its times are counted.

    Raises:
        OSError: it can't be written; a worker on another machine doesn't have it.
    """

    def __init__(self, path: Path, began: float) -> None:
        self.path = path
        self.began = began
        self.error = ""
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND)

    def at(self, moment: float | None) -> float | None:
        """Return a time, as `time.time` gives it, in seconds since the run's start."""
        return None if moment is None else round(moment - self.began, 4)

    def put(self, kind: str, name: str, /, **facts: Any) -> None:
        """Add facts on something; of a fact that is given again, the last value counts.

        Args:
            kind: One of `document.KINDS`.
            name: What it is known by, unique in its kind.
            facts: Its facts, as the schema names them; None is left out: not known yet.
        """
        known = {key: _bounded(value) for key, value in facts.items() if value is not None}
        # A line that a full disk cut short ends before the next one.
        content = memoryview(f"\n{document.line(kind, name, known)}\n".encode())
        try:
            written = os.write(self._file, content)
            if written < len(content):
                self.error = f"only {written} of {len(content)} bytes could be written"
        except OSError as error:
            self.error = str(error)

    def finish(self) -> None:
        """End the page, and write the data beside it; all other processes have ended.

        Raises:
            OSError: they can't be written.
            DindError: the page can't be read.
        """
        os.write(self._file, page.TAIL.encode())
        document.write(data_path(self.path), document.read(self.path))

    def close(self) -> None:
        """Append no more."""
        with suppress(OSError):
            os.close(self._file)


def _bounded(value: Any) -> Any:
    """Return a value without the beginnings of long texts."""
    if isinstance(value, str) and len(value) > MOST_TEXT:
        return f"[{len(value) - MOST_TEXT} characters left out]\n{value[-MOST_TEXT:]}"
    return value
