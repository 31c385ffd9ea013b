"""What README and docs/ consist of: their blocks of code, headings and links."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
_FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>\w*)[^\n]*\n(?P<code>.*?)^(?P=indent)```$", re.M | re.S
)
_INDENTED = re.compile(r"(?<=\n\n)((?:    [^\n]*\n|\n(?=    ))+)")
_NAME = re.compile(r"(?:# |<!-- )(?P<name>[\w./-]+\.\w+)(?: -->)?")


@dataclass(frozen=True)
class Block:
    """A block of code on a page.

    Attributes:
        page: The page.
        line: Where it begins there.
        language: As its fence says; empty for one that is indented.
        code: What is in it.
    """

    page: Path
    line: int
    language: str
    code: str

    @property
    def name(self) -> str:
        """The file that it is, by its first line; empty where it is none."""
        found = _NAME.fullmatch(self.code.partition("\n")[0])
        return found["name"] if found else ""

    @property
    def place(self) -> str:
        """Where it is, as a test's id has it."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks() -> Iterator[Block]:
    """All blocks of all pages."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for found in _FENCE.finditer(text):
            code = _dedented(found["code"], len(found["indent"]))
            yield Block(page, _line(text, found), found["language"], code)
        # Fences may hold what looks like a further block.
        rest = _FENCE.sub(lambda found: "\n" * found[0].count("\n"), text)
        for found in _INDENTED.finditer(rest):
            code = _dedented(found[0], 4)
            yield Block(page, _line(rest, found), "", code)


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub makes of a page's headings."""
    found = set()
    for heading in re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE):
        # Of a link in a heading its text.
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        found.add(re.sub(r"[^\w -]", "", text.lower()).replace(" ", "-"))
    return found


def _dedented(code: str, indent: int) -> str:
    return "".join(line[indent:] or "\n" for line in code.splitlines(keepends=True))


def _line(text: str, found: re.Match[str]) -> int:
    return text.count("\n", 0, found.start()) + 1
