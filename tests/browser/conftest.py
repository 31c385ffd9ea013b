"""The browser of these tests, and the runs that they look at."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import runs
from .chrome import Browser

_PROGRAMS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
_HOW = "tox run -e browser, or: python tools/browser.py DIRECTORY, and PYTEST_DIND_AXE as it says"


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser with a page of a desktop's size."""
    program = next(filter(None, map(shutil.which, _PROGRAMS)), None)
    assert program, f"There is no browser: {_HOW}"
    made = Browser(program, tmp_path_factory.mktemp("profile"))
    yield made
    made.close()


@pytest.fixture(autouse=True)
def _desktop(browser: Browser) -> None:
    browser.size(1440, 860)


@pytest.fixture(scope="session")
def axe() -> str:
    """The script of axe-core."""
    path = os.environ.get("PYTEST_DIND_AXE", "")
    assert path, f"PYTEST_DIND_AXE does not name axe-core: {_HOW}"
    return Path(path).read_text()


@pytest.fixture(scope="session")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of reports, which gets the pictures of them too."""
    return tmp_path_factory.mktemp("pages")


@pytest.fixture(scope="session")
def small(pages: Path) -> Path:
    """The report of a small run in which much goes wrong."""
    return runs.small(pages / "small.html")


@pytest.fixture(scope="session")
def large(pages: Path) -> Path:
    """The report of a run of 2,000 tests and 5,000 containers."""
    return runs.large(pages / "large.html")
