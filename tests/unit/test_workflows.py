"""The files for GitHub, which only GitHub can run: each is checked, and runs what tox has."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").iterdir())
TOX = configparser.ConfigParser(interpolation=None)
TOX.read(ROOT / "tox.ini")


def _environments() -> set[str]:
    """The names of tox's environments; of several in one section, each."""
    found = set()
    for section in TOX.sections():
        name, _, braces = section.removeprefix("testenv:").partition("{")
        found |= {name + suffix for suffix in braces.rstrip("}").split(",")}
    return found


@pytest.mark.parametrize("file", sorted((ROOT / ".github").rglob("*.yml")), ids=str)
def test_each_file_is_validated(file: Path) -> None:
    """The lint environment names each, since it knows no patterns."""
    assert str(file.relative_to(ROOT)) in TOX["testenv:lint"]["commands"].split()


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_what_runs_is_an_environment_of_tox(file: Path) -> None:
    """A workflow's commands are what anybody can run; each environment that it names is there."""
    text = file.read_text()
    named = re.findall(r"bootstrap\.py run -e ([\w,-]+)", text)
    if "matrix.environment" in text:
        named += re.findall(r"\{ environments: ([\w-]+),", text)
        named += re.findall(r"^ +- ([\w,-]+)$", text, re.MULTILINE)
    assert named
    assert {name for names in named for name in names.split(",")} <= _environments()


def test_each_python_is_tested() -> None:
    """What the package is said to run on has a job of its own, and a word in docs/support.md."""
    project = (ROOT / "pyproject.toml").read_text()
    said = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', project)
    ci = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    assert re.findall(r'environments: unit, os: ubuntu-latest, python: "(.+)"', ci) == said
    support = (ROOT / "docs" / "support.md").read_text()
    assert f"| Python | CPython {said[0]} to {said[-1]} |" in support
