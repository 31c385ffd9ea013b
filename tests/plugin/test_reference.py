"""The reference in docs/ names what pytest lists of the plugin, neither more nor less."""

from __future__ import annotations

import re

import pytest

from ..documentation import ROOT


def _headings(page: str) -> list[str]:
    """What has a section of its own on a page of the reference."""
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    found = re.findall(r"^### `([\w-]+)`$", text, re.MULTILINE)
    assert found
    return found


def test_help_has_the_options(pytester: pytest.Pytester) -> None:
    """`--help` lists each option and each ini key of the reference, and no others."""
    text = pytester.runpytest("--help").stdout.str()
    options = _headings("options")
    assert sorted(re.findall(r"^  (--dind-[\w-]+)", text, re.MULTILINE)) == sorted(options)
    keys = [option.removeprefix("--").replace("-", "_") for option in options]
    assert sorted(re.findall(r"^  (dind_\w+) \(", text, re.MULTILINE)) == sorted(keys)


def test_fixtures_has_the_fixtures(pytester: pytest.Pytester) -> None:
    """`--fixtures` lists each fixture of the reference, and no others, with scope and text."""
    text = pytester.runpytest("--fixtures").stdout.str()
    found = re.findall(r"^(dind_\w+) \[session scope\].*\n    \S", text, re.MULTILINE)
    found += re.findall(
        r"^(dind_clean|dind_fresh|dind_namespace) -- .*\n    \S", text, re.MULTILINE
    )
    assert sorted(found) == sorted(_headings("fixtures"))
    assert sorted(found) == sorted(set(re.findall(r"^dind_\w+", text, re.MULTILINE)))


def test_markers_has_the_markers(pytester: pytest.Pytester) -> None:
    """`--markers` lists each marker of the reference, and no others of this plugin."""
    text = pytester.runpytest("--markers").stdout.str()
    found = re.findall(r"^@pytest\.mark\.(requires_\w+|dind_\w+)", text, re.MULTILINE)
    assert sorted(found) == sorted(_headings("markers"))
