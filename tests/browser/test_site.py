"""The site of the documentation in a browser, opened as files: what is on it, and its search."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ..support import until
from .chrome import Browser

_ROOT = Path(__file__).parents[2]
_RESULTS = (
    "[...document.querySelectorAll('.md-search-result__item h1, .md-search-result__item h2')]"
)
# What the theme makes of code: the button for a copy, and a box that scrolls.
_RULES = (
    "{rules: {"
    + ", ".join(
        f"'{rule}': {{enabled: false}}"
        for rule in ("landmark-unique", "scrollable-region-focusable")
    )
    + "}}"
)
_PAGES = ["index", "migrate", "options", "security"]


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built."""
    made = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict"]
    env = {**os.environ, "NO_MKDOCS_2_WARNING": "true"}
    subprocess.run([*command, f"--site-dir={made}"], cwd=_ROOT, env=env, check=True)
    return made


def _open(browser: Browser, page: Path) -> None:
    browser.messages.clear()
    browser.requests.clear()
    browser.ask("Page.navigate", url=page.as_uri())
    ready = f"location.href === {page.as_uri()!r} && document.readyState === 'complete'"
    until(lambda: browser.run(ready), 30, "the page is there")
    browser.settle()


@pytest.mark.parametrize(
    ("width", "dark"), [(1440, False), (420, True)], ids=["wide-light", "narrow-dark"]
)
@pytest.mark.parametrize("page", _PAGES)
def test_page(browser: Browser, site: Path, axe: str, page: str, width: int, dark: bool) -> None:
    """A page asks nothing of other hosts, fits its window, and axe-core finds no fault with it."""
    browser.size(width, 860, dark=dark)
    _open(browser, site / f"{page}.html")

    assert [url for url in browser.requests if not url.startswith(("file:", "data:"))] == []
    assert browser.messages == []
    assert browser.run("document.documentElement.scrollWidth <= innerWidth")
    browser.run(axe)
    found: list[Any] = browser.run(f"axe.run('.md-content', {_RULES}).then(f => f.violations)")
    texts = [f"{one['id']}: {one['help']}: {[n['html'] for n in one['nodes']]}" for one in found]
    assert texts == []


@pytest.mark.parametrize("words", ["--dind-mount", "dind_mount", "mount"])
def test_search(browser: Browser, site: Path, words: str) -> None:
    """An option is found as it is written, with its minus signs, and without a server."""
    _open(browser, site / "index.html")
    browser.run("document.querySelector('.md-search__input').focus()")
    browser.type(words[:-1])
    browser.key(words[-1], words[-1])

    until(lambda: browser.run(f"{_RESULTS}.length"), 20, "something is found")
    found = browser.run(f"{_RESULTS}.map(result => result.textContent)")
    assert "--dind-mount" in found
    assert browser.messages == []
