"""What mkdocs does for the site besides: the pages that are not below docs/, and links to them.

On GitHub, and in the sdist, links lead from docs/ to the project's other files and back. The site
has these files too: those that GitHub knows by their names, such as SECURITY.md, as pages of their
own, and the examples in one page. So links stay as they are, and are turned here.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
OF_ROOT = ("CONTRIBUTING.md", "SECURITY.md", "CODE_OF_CONDUCT.md")
EXAMPLES = "examples.md"
# What makes room on a page; not in the page itself, where GitHub would show it.
HIDDEN = {"index.md": ["navigation", "toc"], "migrate.md": ["toc"]}
# `(path)`, `(path#anchor)` after its text, which is found too where it is the file's name, as in
# `[ci.md](ci.md)`.
LINK = re.compile(
    r"(?P<text>\[(?:docs/)?[\w-]+\.md\]|\])\((?P<path>[\w./-]+)(?P<anchor>#[\w-]+)?\)"
)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of what is not below docs/."""
    for name in OF_ROOT:
        text = (ROOT / name).read_text(encoding="utf-8")
        files.append(File.generated(config, name, content=text))
    files.append(File.generated(config, EXAMPLES, content=examples()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn the links of a page to where the site has what they lead to."""
    page.meta["hide"] = HIDDEN.get(page.file.src_uri, [])
    at = "" if page.file.src_uri in OF_ROOT else "docs"
    titles = dict(_titles(config.nav))

    def turned(found: re.Match[str]) -> str:
        target = _turned(found, at)
        # A file's name says something on GitHub alone.
        title = titles.get(target.partition("#")[0])
        text = f"[{title}]" if title and found["text"] != "]" else found["text"]
        return f"{text}({target})"

    return LINK.sub(turned, markdown)


def _titles(nav: Any) -> Iterator[tuple[str, str]]:
    """The title of each page in the navigation, by its file."""
    for entry in nav:
        for title, below in entry.items():
            if isinstance(below, str):
                yield below, title
            else:
                yield from _titles(below)


def _turned(found: re.Match[str], at: str) -> str:
    """Where a link of a page leads, as the site has it."""
    path, anchor = posixpath.normpath(posixpath.join(at, found["path"])), found["anchor"] or ""
    if path.startswith("docs/"):
        return path.removeprefix("docs/") + anchor
    if path == "README.md":
        return "index.md" + anchor
    if path == "examples" or path.startswith("examples/"):
        # A directory, or a page's section for the file.
        return EXAMPLES + (f"#{_anchor(path)}" if path.endswith(".py") else "")
    # What only the project's files have stays, and is none of the site's: mkdocs says so.
    return path + anchor


def _anchor(path: str) -> str:
    return re.sub(r"[^\w-]", "", path.lower())


def examples() -> str:
    """The page with the examples' code."""
    parts = [
        "# Examples",
        "Each of these files is run in CI, with modes `dind` and `socket`.",
    ]
    for path in sorted((ROOT / "examples").rglob("test_*.py")):
        name = path.relative_to(ROOT).as_posix()
        code = path.read_text(encoding="utf-8")
        parts.append(f"## `{name}` {{ #{_anchor(name)} }}\n\n```python\n{code}```")
    return "\n\n".join(parts) + "\n"
