"""The one line of a terminal that is written over while something goes on."""

from __future__ import annotations

import os
import shutil
import sys
import unicodedata
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest

_XDIST_KEY = "pytest_dind_lines"
_BEGIN = "\r"
_CLEAR = "\x1b[K"
"""Clears the line from the cursor on (ECMA-48, "EL")."""
_CUT = "..."
_LEAST_COLUMNS = 10


def fits(config: pytest.Config) -> bool:
    """Tell whether pytest writes to a terminal whose last line is free to be written over.

    The reporters of pytest-rich, and of a process that has xdist's workers, draw there themselves.
    """
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or has_workers(config):
        return False
    # Of pytest it is called and looked at alike, of older ones it is a plain bool.
    return bool(reporter.isatty) and os.environ.get("TERM") != "dumb"


def rich_reporter(config: pytest.Config) -> Any:
    """Return the reporter of pytest-rich, if that has taken the place of pytest's own."""
    return config.pluginmanager.get_plugin("rich-terminal-reporter")


def has_workers(config: pytest.Config) -> bool:
    """Tell whether this process has xdist's workers, and no tests."""
    return bool(config.pluginmanager.hasplugin("dsession"))


def hear(node: Any) -> None:
    """Write what an xdist worker has to say while the run goes on.

    A channel of execnet's leads here from the worker, on whichever machine that is.

    Args:
        node: xdist's end of the worker.
    """
    write = writer(node.config)
    if write is not None:
        channel = node.gateway.newchannel()
        channel.setcallback(lambda text: write(f"[{node.gateway.id}] {text}"))
        node.workerinput[_XDIST_KEY] = channel


def writer(config: pytest.Config) -> Callable[[str], object] | None:
    """Return what writes a line to pytest's output, in an xdist worker to that of the run.

    None where there is no output.
    """
    channel = getattr(config, "workerinput", {}).get(_XDIST_KEY)
    if channel is not None:
        return partial(_send, channel)
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None:
        return partial(_write_line, config, reporter)
    rich = rich_reporter(config)
    # By its console, which knows what it has drawn itself.
    return None if rich is None else partial(rich.console.out, highlight=False)


def _send(channel: Any, text: str) -> None:
    # The process at its other end may have been killed.
    with suppress(OSError):
        channel.send(text)


def _write_line(config: pytest.Config, reporter: Any, text: str) -> None:
    # Workers' outcomes stand behind one another, of which the reporter does not know.
    if has_workers(config) and config.get_terminal_writer().width_of_current_line:
        config.get_terminal_writer().line()
    reporter.write_line(text)


class LiveLine:
    """A line that is written over, and leaves no trace.

    Its methods are called while pytest does not capture.

    Attributes:
        is_shown: Whether it is there.
    """

    def __init__(self) -> None:
        self.is_shown = False

    def draw(self, text: str, config: pytest.Config) -> None:
        """Show a text, in place of what the line has."""
        if not self.is_shown:
            self.is_shown = True
            _begin_line(config)
        _write(_BEGIN + cut(text, shutil.get_terminal_size().columns - 1) + _CLEAR)

    def erase(self) -> None:
        """Take the line away."""
        if self.is_shown:
            self.is_shown = False
            _write(_BEGIN + _CLEAR)


def _begin_line(config: pytest.Config) -> None:
    """Have the cursor at the begin of a line, so that nothing is written over."""
    reporter: Any = config.pluginmanager.get_plugin("terminalreporter")
    reporter.ensure_newline()
    writer = config.get_terminal_writer()
    if writer.width_of_current_line:
        writer.line()
    if config.option.capture == "no":
        # What a test has written is not known.
        writer.line()
    writer.flush()


def _write(text: str) -> None:
    # Not by pytest's writer, which would count it to its own line.
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    sys.stdout.write(text.encode(encoding, "replace").decode(encoding))
    sys.stdout.flush()


def cut(text: str, columns: int) -> str:
    """As much of a text as a line has room for, without what a terminal would obey."""
    columns = max(columns, _LEAST_COLUMNS)
    plain = "".join(one if one.isprintable() else " " for one in text)
    if _width(plain) <= columns:
        return plain
    while _width(plain) > columns - len(_CUT):
        plain = plain[:-1]
    return plain + _CUT


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(one) in "WF" else 1 for one in text)
