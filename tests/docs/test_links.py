"""Links of README and docs/ lead somewhere on GitHub and in an sdist; mkdocs sees to the site."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ..documentation import PAGES, ROOT, anchors, prose

_LINK = re.compile(r"\]\((?P<path>[^)#:\s]*)(?:#(?P<anchor>[^)\s]*))?\)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links(page: Path) -> None:
    """Each relative link leads to a file of the project, and its anchor to a heading there."""
    wrong = []
    for found in _LINK.finditer(prose(page)):
        target = (page.parent / found["path"]).resolve() if found["path"] else page
        known = anchors(target) if target.suffix == ".md" and target.exists() else set()
        if not target.exists() or (known and found["anchor"] and found["anchor"] not in known):
            wrong.append(found[0])
    assert wrong == []


def test_readme_leads_to_the_pages() -> None:
    """README is where one begins: it leads to the guides and the reference."""
    targets = {found["path"] for found in _LINK.finditer((ROOT / "README.md").read_text("utf-8"))}
    pages = {"start", "compose", "migrate", "options", "fixtures", "handle", "security"}
    assert {f"docs/{name}.md" for name in pages} <= targets
