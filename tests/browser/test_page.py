"""The report's page in a browser: what it shows, how it is used, and that nothing goes wrong in it.

Pictures of it are beside the pages, in pytest's base directory of temporary ones.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_dind.report import document

from ..support import until
from . import runs
from .chrome import Browser

_FAILED = "test_index_is_rebuilt[two nodes, one of which is slow to answer]"


def _rows(browser: Browser) -> list[str]:
    """The names of the rows in sight."""
    script = "[...document.querySelectorAll('#body .row[id] .name')].map(e => e.textContent)"
    found: list[str] = browser.run(script)
    return found


def _text(browser: Browser, selector: str) -> str:
    return str(browser.run(f"document.querySelector({selector!r}).innerText"))


def _focus(browser: Browser, selector: str) -> None:
    browser.run(f"document.querySelector({selector!r}).focus()")


def _active(browser: Browser) -> str:
    script = (
        "document.getElementById(document.getElementById('grid')"
        ".getAttribute('aria-activedescendant'))?.querySelector('.name').textContent"
    )
    return str(browser.run(script))


def _search(browser: Browser, text: str) -> None:
    _focus(browser, "#search")
    browser.run("document.getElementById('search').select()")
    browser.type(text)


def test_opens(browser: Browser, small: Path) -> None:
    """A page shows the run's lanes, tests and containers; nothing is fetched, and nothing fails."""
    browser.open(small)
    browser.screenshot(small.with_name("light.png"))

    rows = " ".join(_rows(browser))
    for name in ("daemon main", "worker gw1", "TestOrders::test_created", "orders-1", "db-2"):
        assert name in rows
    figures = _text(browser, "#figures").split()
    assert figures[:4] == ["5", "passed", "2", "failed"]
    assert browser.messages == []
    assert browser.requests == [small.as_uri()]


def test_hostile_texts(browser: Browser, small: Path) -> None:
    """What tests print and are called stays text: none of it becomes a part of the page."""
    browser.open(small)

    assert browser.run("document.title") == "shop: a test run and its Docker daemons"
    assert browser.run("document.scripts.length") == 2
    _search(browser, "document.title='taken'")
    until(lambda: "1 match" in _text(browser, "#count"), 10, "the search is done")
    browser.run("document.querySelector('#body .l2').click()")
    assert runs.HOSTILE in browser.run("document.querySelector('#content pre').textContent")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1440, 420], ids=["wide", "narrow"])
def test_accessible(browser: Browser, small: Path, axe: str, width: int, dark: bool) -> None:
    """axe-core has nothing to say on the page, with details open too; nothing is cut off."""
    browser.size(width, 860, dark=dark)
    browser.open(small)
    _focus(browser, "#grid")
    browser.key("f")
    browser.key("Enter")
    browser.screenshot(small.with_name(f"{width}{'-dark' * dark}.png"))

    browser.run(axe)
    found: list[Any] = browser.run("axe.run().then(found => found.violations)")
    texts = [f"{one['id']}: {one['help']}: {[n['html'] for n in one['nodes']]}" for one in found]
    assert texts == []
    assert browser.run("document.documentElement.scrollWidth <= innerWidth")


def test_keyboard(browser: Browser, small: Path) -> None:
    """The timeline is used by keys: to move, to find failures, to open details and to go back."""
    browser.open(small)
    browser.key("Tab")
    assert browser.run("document.activeElement.className") == "skip"
    _focus(browser, "#grid")
    browser.key("f")
    assert _FAILED in _active(browser)

    browser.key("ArrowLeft")
    assert "db-2" not in " ".join(_rows(browser))
    browser.key("ArrowRight")
    browser.key("ArrowRight")
    assert "db-2" in _active(browser)

    browser.key("Enter")
    assert browser.run("document.activeElement.id") == "subject"
    assert "No space left on device" in _text(browser, "#content")
    assert "left behind" in _text(browser, "#content")
    browser.key("Escape")
    assert browser.run("document.getElementById('details').hidden")
    assert browser.run("document.activeElement.id") == "grid"


def test_search_and_filters(browser: Browser, small: Path) -> None:
    """A search finds names, images and logs; the filters show failures, or what was left behind."""
    browser.open(small)
    _search(browser, "building the INDEX")
    until(lambda: _text(browser, "#count") == "1 match", 10, "the search is done")
    assert any("search" in name for name in _rows(browser))

    _search(browser, "no such thing")
    until(lambda: "Nothing fits" in _text(browser, "#body"), 10, "the search is done")

    browser.run("document.getElementById('search').value = ''")
    browser.run("document.querySelector('[data-filter=failed]').click()")
    assert _text(browser, "#count") == "2 matches"
    browser.run("document.querySelector('[data-filter=leaks]').click()")
    assert _text(browser, "#count") == "2 matches"
    assert any("volume data" in name for name in _rows(browser))


def test_hover(browser: Browser, small: Path) -> None:
    """A row under the pointer tells all of itself."""
    browser.open(small)
    box = browser.run(
        "(() => { const row = [...document.querySelectorAll('#body .row')]"
        ".find(e => e.textContent.includes('search:3')); const box = row.getBoundingClientRect();"
        " return [box.x + 60, box.y + 10] })()"
    )
    browser.ask("Input.dispatchMouseEvent", type="mouseMoved", x=box[0], y=box[1])
    until(lambda: "killed for memory" in _text(browser, "#tip"), 10, "the tip is there")
    assert "exit code" in _text(browser, "#tip")


def test_end_of_a_daemon(browser: Browser, small: Path) -> None:
    """What was in a daemon as it ended has ended with it."""
    browser.open(small)
    _search(browser, "mirrored")
    until(lambda: _text(browser, "#count") == "1 match", 10, "the search is done")
    assert "ended with daemon" in _text(browser, "#body .l3")
    browser.run("document.querySelector('#body .l3').click()")
    assert "with its daemon, +18.70 s" in _text(browser, "#content")
    assert not browser.run("document.querySelector('#body .l3 .open')")


def test_clusters(browser: Browser, pages: Path) -> None:
    """A cluster has a lane; a namespace is under its test, with what its pods said."""
    browser.open(runs.clusters(pages / "clusters.html"))
    browser.screenshot(pages / "clusters.png")
    text = " ".join(_rows(browser))
    for name in ("Kubernetes kubernetes1", "v1.34.2, 2 nodes", "swarm swarm1", "test-rolls-out-1"):
        assert name in text
    assert text.index("Kubernetes kubernetes1") < text.index("daemon kubernetes1")
    _search(browser, "no config")
    until(lambda: "1 match" in _text(browser, "#count"), 10, "the search is done")
    assert "pods not well" in _text(browser, "#body .l3")
    browser.run("document.querySelector('#body .l3').click()")
    assert "no config" in _text(browser, "#content pre")
    assert browser.messages == []


def test_zoom(browser: Browser, small: Path) -> None:
    """The scale of time follows the keys."""
    browser.open(small)
    whole = _text(browser, "#ticks")
    _focus(browser, "#grid")
    browser.key("+", "+")
    assert _text(browser, "#ticks") != whole
    browser.key("0", "0")
    assert _text(browser, "#ticks") == whole


def test_cut_short(browser: Browser, pages: Path) -> None:
    """The page of a run that was killed opens, and says so; an entry cut in its midst too."""
    path = runs.small(pages / "cut.html", cut_short=True)
    path.write_text(path.read_text() + '\n["tests","x",{"nodeid":"half')
    browser.open(path)

    notices = _text(browser, "#notices")
    assert "No end of this run was recorded" in notices
    assert "1 entries of this report were cut short" in notices
    assert any("test_last" in name for name in _rows(browser))
    assert browser.messages == []


def test_remade(browser: Browser, small: Path) -> None:
    """A page that is made of the data again shows the same."""
    browser.open(small)
    before = _rows(browser), _text(browser, "#figures")
    again = small.with_name("again.html")
    document.write_page(again, document.read(small.with_name("small.html.json")))
    browser.open(again)

    assert (_rows(browser), _text(browser, "#figures")) == before


def test_printed(browser: Browser, small: Path) -> None:
    """The whole timeline is printed, and is as it was on the screen afterwards."""
    browser.size(1440, 300)
    browser.open(small)
    before = _rows(browser)
    browser.pdf(small.with_name("small.pdf"))
    browser.ask("Emulation.setEmulatedMedia", media="print")
    browser.run("dispatchEvent(new Event('beforeprint'))")
    browser.screenshot(small.with_name("print.png"))
    printed = _rows(browser)
    browser.ask("Emulation.setEmulatedMedia", media="screen")
    browser.run("dispatchEvent(new Event('afterprint'))")

    assert len(printed) >= len(before)
    assert "test_slow" in printed[-1]
    assert small.with_name("small.pdf").read_bytes().startswith(b"%PDF")


def test_large(browser: Browser, large: Path) -> None:
    """2,000 tests and 5,000 containers open, scroll and are searched: few rows are there."""
    seconds = browser.open(large)
    browser.screenshot(large.with_name("large.png"))
    assert seconds < 20
    assert "2,000 tests" in _text(browser, "#count")

    # What the page itself takes of the processor, however many others want it.
    browser.ask("Performance.enable", timeDomain="threadTicks")
    before = _spent(browser)
    browser.run(
        "new Promise(done => { let n = 0; const grid = document.getElementById('grid');"
        " const step = () => { grid.scrollTop += 600; ++n < 60 ? requestAnimationFrame(step)"
        " : done(n) }; requestAnimationFrame(step) })"
    )
    # A frame of 60 in a second has 17 ms, on a machine that is not as slow as this may be.
    assert (_spent(browser) - before) / 60 < 0.1
    assert 10 < len(_rows(browser)) < 100
    browser.screenshot(large.with_name("large-scrolled.png"))

    _search(browser, "payments-1")
    until(lambda: "matches" in _text(browser, "#count"), 10, "the search is done")
    assert browser.messages == []


def _spent(browser: Browser) -> float:
    metrics = browser.ask("Performance.getMetrics")["metrics"]
    return float(next(one["value"] for one in metrics if one["name"] == "TaskDuration"))
