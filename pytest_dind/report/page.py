"""The page of a report: one HTML file with nothing from outside it, its data at the end."""

from __future__ import annotations

from pathlib import Path

OPENING = '<script type="application/json" id="data">'
"""What the data stand behind. A page that ends in the midst of them opens all the same."""
CLOSING = "</script>"
TAIL = f"\n{CLOSING}\n</body>\n</html>\n"

_PLACE = Path(__file__).parent


def head() -> str:
    """Return a page up to its data."""
    text = (_PLACE / "page.html").read_text(encoding="utf-8")
    for mark, name in (("/* page.css */", "page.css"), ("/* page.js */", "page.js")):
        text = text.replace(mark, (_PLACE / name).read_text(encoding="utf-8"))
    return f"{text.rstrip()}\n{OPENING}\n"


def data(text: str) -> str:
    """Return the data in the text of a page."""
    return text.partition(OPENING)[2].partition(CLOSING)[0]
