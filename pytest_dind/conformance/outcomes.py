"""A pytest plugin that writes what became of each test of the suite, for the table."""

from __future__ import annotations

import inspect
import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from pytest_dind.errors import DindError

FILE = "outcomes.json"
"""The file's name, in pytest's root directory."""

_LONGEST = 200

_outcomes: dict[str, dict[str, str]] = {}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, Any, Any]:
    """Note the outcome; that of the test itself unless its set-up or end failed."""
    report = yield
    outcome = _outcomes.setdefault(item.name, {"says": _says(item), "outcome": "passed"})
    if not report.passed and outcome["outcome"] == "passed" and call.excinfo is not None:
        outcome["outcome"] = report.outcome
        outcome["cause"] = _cause(call.excinfo.value)
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the file."""
    path = Path(session.config.rootpath, FILE)
    path.write_text(json.dumps(list(_outcomes.values())), encoding="utf-8")


def _says(item: pytest.Item) -> str:
    """What a test shows: the first line of its docstring."""
    text = inspect.getdoc(getattr(item, "obj", None)) or item.name
    return text.splitlines()[0].rstrip(".")


def _cause(error: BaseException) -> str:
    """An error in a line; one of the plugin's with the first line of its evidence."""
    if isinstance(error, DindError):
        return " ".join([error.what, *error.evidence.splitlines()[:1]])[:_LONGEST]
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:_LONGEST]
