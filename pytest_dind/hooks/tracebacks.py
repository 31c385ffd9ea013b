"""The traceback of this plugin's errors in a failed test: the test's own lines, and the text."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Generator
from types import FrameType, TracebackType
from typing import Any

import pytest

from ..errors import DindError

_PYTEST = {"_pytest", "pluggy"}
_PLUGIN = {__name__.partition(".")[0]}


def shortened(
    config: pytest.Config, info: pytest.ExceptionInfo[BaseException], error: BaseException
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Make the report of a test that failed on this error, without the plugin's own lines.

    It is the body of a wrapper of `pytest_runtest_makereport`.

    Args:
        config: pytest's configuration.
        info: The error, as pytest has it.
        error: The error: the plugin's, or that of a command, which may not be the plugin's.
    """
    # Without pytest's terminal there are no such options.
    style = config.getoption("tbstyle", "auto")
    if style == "native" or config.getoption("fulltrace", False) or not _is_ours(error):
        return (yield)
    last = _last(info.tb)
    if last is None:
        report = yield
        shown: Any = info.getrepr(style="value", chain=False)
        # As pytest shows an error below a traceback: marked, and in its colour.
        entry = shown.reprtraceback.reprentries[-1]
        entry.style, entry.lines = "long", [f"E   {line}" for line in info.exconly().splitlines()]
        report.longrepr = shown
    else:
        rest, last.tb_next = last.tb_next, None
        whole, info.traceback = info.traceback, type(info.traceback)(info.tb)
        try:
            report = yield
        finally:
            last.tb_next, info.traceback = rest, whole
        shown = report.longrepr
        if hasattr(shown, "chain") and not _is_tests(error.__cause__):
            shown.chain = shown.chain[-1:]
    if getattr(shown, "reprcrash", None) is not None:
        # The line of the summary is cut where the terminal ends.
        what = error.what if isinstance(error, DindError) else str(error).partition("\n")[0]
        shown.reprcrash.message = f"{type(error).__name__}: {what}"
    return report


def _is_ours(error: BaseException) -> bool:
    """Tell whether an error is the plugin's by its kind, or was raised by the plugin's own line."""
    if isinstance(error, DindError):
        return True
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return bool(frames) and _package(frames[-1]) in _PLUGIN


def _last(entry: TracebackType | None) -> TracebackType | None:
    """Return the last entry of the test or a fixture; None where pytest called the plugin."""
    found = None
    below_plugin = False  # What the plugin calls, such as tenacity, is no line of the test's.
    while entry is not None:
        package = _package(entry.tb_frame)
        if package in _PYTEST:
            found, below_plugin = None, False
        elif package in _PLUGIN:
            below_plugin = True
        elif not below_plugin and package not in sys.stdlib_module_names:
            found = entry
        entry = entry.tb_next
    return found


def _is_tests(error: BaseException | None) -> bool:
    """Tell whether an error came up through pytest, as the error that a test fails on does."""
    entry = error.__traceback__ if error is not None else None
    while entry is not None:
        if _package(entry.tb_frame) in _PYTEST:
            return True
        entry = entry.tb_next
    return False


def _package(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]
