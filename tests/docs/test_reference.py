"""What tools/reference.py makes of the code, and what it says where a page is not right."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from ..documentation import ROOT

sys.path.insert(0, str(ROOT / "tools"))

import reference
from _console import Problem


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    """A copy of the pages."""
    copy = tmp_path / "docs"
    copy.mkdir()
    for page in (ROOT / "docs").glob("*.md"):
        shutil.copy(page, copy)
    return copy


def _change(page: Path, old: str, new: str) -> None:
    text = page.read_text(encoding="utf-8")
    assert old in text
    page.write_text(text.replace(old, new), encoding="utf-8")


def test_up_to_date(docs: Path) -> None:
    """Nothing is written where all is as the code has it."""
    before = {page: page.stat().st_mtime_ns for page in docs.iterdir()}
    assert reference.bring_up_to_date(docs, write=True) == 0
    assert {page: page.stat().st_mtime_ns for page in docs.iterdir()} == before


def test_old_text(docs: Path) -> None:
    """A block that differs is named, and written again when that is asked for; the rest stays."""
    page = docs / "options.md"
    right = page.read_text(encoding="utf-8")
    _change(page, "default: `docker:dind`", "default: `docker:27-dind`")

    with pytest.raises(Problem, match="the reference is not as the code has it") as problem:
        reference.bring_up_to_date(docs, write=False)
    assert problem.value.evidence == "docs/options.md"

    assert reference.bring_up_to_date(docs, write=True) == 0
    assert page.read_text(encoding="utf-8") == right


def test_without_a_place(docs: Path) -> None:
    """What is public and on no page is told, with what to write."""
    _change(docs / "options.md", "<!-- reference: option mode -->", "")

    with pytest.raises(Problem, match="has no place in the reference") as problem:
        reference.bring_up_to_date(docs, write=False)
    assert problem.value.evidence == "option mode"
    assert "<!-- reference: option mode -->" in problem.value.remedy


@pytest.mark.parametrize("words", ["option no-such", "fixture dind_gone", "table options", "class"])
def test_unknown(docs: Path, words: str) -> None:
    """A marker that asks for what is not there is told."""
    (docs / "page.md").write_text(f"# Page\n\n<!-- reference: {words} -->\n<!-- end -->\n")
    with pytest.raises(Problem, match=f"nothing is known for the marker: .*{words}"):
        reference.bring_up_to_date(docs, write=False)


def test_signature() -> None:
    """A method is shown as it is called: without self, and as a context where it is one."""
    made = reference.Reference()
    handle = "\n".join(made._class("Daemon"))
    assert "def activated() -> AbstractContextManager[Daemon]: ..." in handle
    assert "    *,\n    wait: bool | float = False,\n) -> Address: ..." in handle
    assert "def load(*sources: str | os.PathLike[str]) -> list[str]: ..." in handle
    assert "_run" not in handle
