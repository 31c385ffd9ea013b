"""The README names what the plugin has, neither more nor less."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

import pytest_dind
from pytest_dind import Daemon, DindError, Settings

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def _table(heading: str) -> list[list[str]]:
    """The cells of the first table below a heading, row by row, without its head."""
    section = README.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows[2:]]


def _names(cell: str) -> list[str]:
    """What a cell has in backticks; of a call, the name alone."""
    return re.findall(r"`(\w+)[^`]*`", cell)


def _option(setting: str) -> str:
    return f"--dind-{setting.replace('_', '-')}"


def test_options_table() -> None:
    """Each setting has its row: the option, its ini key, and its default."""
    found = [row[:3] for row in _table("Options")]
    for row, field in zip(found, dataclasses.fields(Settings), strict=True):
        assert row[:2] == [f"`{_option(field.name)}`", f"`dind_{field.name}`"]
        if field.default:
            values = field.default if isinstance(field.default, tuple) else [field.default]
            assert row[2] == ", ".join(f"`{value}`" for value in values)
        else:
            assert "`" not in row[2]


def test_repeatable_options() -> None:
    """The README calls repeatable what is."""
    called = [row[0] for row in _table("Options") if row[3].endswith("; repeatable")]
    fields = [field for field in dataclasses.fields(Settings) if isinstance(field.default, tuple)]
    assert called == [f"`{_option(field.name)}`" for field in fields]


def test_help_has_the_options_of_the_readme(pytester: pytest.Pytester) -> None:
    """`--help` lists each option and each ini key of the README, and no others."""
    text = pytester.runpytest("--help").stdout.str()
    rows = _table("Options")
    assert re.findall(r"^  (--dind-[\w-]+)", text, re.MULTILINE) == [
        row[0].strip("`") for row in rows
    ]
    assert re.findall(r"^  (dind_\w+) \(", text, re.MULTILINE) == [
        row[1].strip("`") for row in rows
    ]


def test_fixtures_has_the_fixtures_of_the_readme(pytester: pytest.Pytester) -> None:
    """`--fixtures` lists each fixture of the README with its scope, and no others, with a text."""
    text = pytester.runpytest("--fixtures").stdout.str()
    found = re.findall(r"^(dind_\w+) \[session scope\].*\n    \S", text, re.MULTILINE)
    found += re.findall(r"^(dind_clean|dind_fresh) -- .*\n    \S", text, re.MULTILINE)
    assert sorted(found) == sorted(row[0].strip("`") for row in _table("Fixtures"))
    assert sorted(found) == sorted(set(re.findall(r"^dind_\w+", text, re.MULTILINE)))


def test_markers_has_the_markers_of_the_readme(pytester: pytest.Pytester) -> None:
    """`--markers` lists each marker of the README, and no others of this plugin."""
    text = pytester.runpytest("--markers").stdout.str()
    found = re.findall(r"^@pytest\.mark\.(requires_\w+|dind_\w+)", text, re.MULTILINE)
    assert sorted(found) == sorted(name for row in _table("Markers") for name in _names(row[0]))


def test_handle_table() -> None:
    """Each public attribute and method of the handle has its place in the table."""
    public = [name for name in vars(Daemon) if not name.startswith("_")]
    assert sorted(name for row in _table("The handle") for name in _names(row[0])) == sorted(public)


def test_errors_table() -> None:
    """Each error that the package exports has its row."""
    exported = [
        name
        for name in pytest_dind.__all__
        for value in [getattr(pytest_dind, name)]
        if issubclass(value, DindError) and value is not DindError
    ]
    assert sorted(row[0].strip("`") for row in _table("Errors")) == sorted(exported)


def test_links_lead_to_files() -> None:
    """Each relative link of the README leads to something in this repository."""
    root = Path(__file__).parents[2]
    targets = re.findall(r"\]\(([^):#]+)\)", README)
    assert targets
    assert [target for target in targets if not (root / target).exists()] == []
