"""Each block of code of README and docs/ is right: in its language, and in what it asks of us."""

from __future__ import annotations

import ast
import configparser
import dataclasses
import json
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import pytest_dind
from pytest_dind import Settings, __main__, options, plugin, validation

from ..documentation import PAGES, ROOT, Block, blocks, prose

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

BLOCKS = list(blocks())
FIELDS = {f"--dind-{field.name.replace('_', '-')}": field for field in dataclasses.fields(Settings)}
# `pytest-dind guard:` begins what the guard answers.
_COMMAND = re.compile(r"(\$ |- |- run: )?(?P<command>(pytest|pytest-dind)(?! guard:)( .*|$))")


def _ids(block: Block) -> str:
    return block.place


def _ini(code: str) -> Iterator[tuple[str, Any]]:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(code)
    for section in parser.values():
        for key, value in section.items():
            lines = [line for line in value.splitlines() if line]
            yield key, lines if _repeats(key) else value


def _toml(code: str) -> Iterator[tuple[str, Any]]:
    tool = tomllib.loads(code).get("tool", {}).get("pytest", {})
    yield from tool.get("ini_options", tool).items()


def _repeats(key: str) -> bool:
    field = FIELDS.get(f"--{key.replace('_', '-')}")
    return field is not None and (field.metadata["repeatable"] or field.metadata["several"])


def _python(code: str) -> None:
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and node.module == "pytest_dind":
            assert {alias.name for alias in node.names} <= {*pytest_dind.__all__, "testing"}


def _configuration(read: Callable[[str], Iterator[tuple[str, Any]]]) -> Callable[[str], None]:
    def check(code: str) -> None:
        for key, value in read(code):
            if key.startswith("dind_"):
                _take(f"--{key.replace('_', '-')}", value)

    return check


def _yaml(code: str) -> None:
    assert yaml.safe_load(code)


def _seen(code: str) -> None:
    """Of an output, or another's language, nothing but what is asked of us is looked at."""


LANGUAGES: dict[str, Callable[[str], object]] = {
    "": _seen,
    "console": _seen,
    "groovy": _seen,
    "html": _seen,
    "ini": _configuration(_ini),
    "json": json.loads,
    "python": _python,
    "text": _seen,
    "toml": _configuration(_toml),
    "yaml": _yaml,
}


def _take(option: str, value: Any) -> None:
    """Give a value to an option, as pytest does."""
    field = FIELDS[option]
    repeats = field.metadata["repeatable"]
    if repeats and isinstance(value, str):
        value = [value]
    if field.metadata["several"] and isinstance(value, list):
        value = value[0]
    Settings(**{field.name: validation.read(field, value)})


def _commands(block: Block) -> Iterator[list[str]]:
    """The words of each command of ours in a block; what stands after two spaces tells of it."""
    if block.language not in {"", "console", "yaml"}:
        return
    for line in block.code.splitlines():
        found = _COMMAND.fullmatch(line.strip())
        if found:
            yield shlex.split(re.split(r"  +| #", found["command"])[0])


@pytest.mark.parametrize("block", BLOCKS, ids=_ids)
def test_language(block: Block) -> None:
    """A block is right in the language that it says it is in; a fence says one."""
    assert block.language in LANGUAGES, "write how that language is checked into LANGUAGES"
    LANGUAGES[block.language](block.code)


COMMANDS = [(block, words) for block in BLOCKS for words in _commands(block)]


@pytest.mark.parametrize(
    ("block", "words"),
    COMMANDS,
    ids=[f"{block.place} {' '.join(words)}" for block, words in COMMANDS],
)
def test_commands(block: Block, words: list[str]) -> None:
    """Each option in a command of ours is there, and takes the value that it is given."""
    if words[0] == "pytest-dind":
        if "--" in words:
            words = words[: words.index("--")]
        __main__._parser().parse_args(words[1:])
        return
    for at, word in enumerate(words):
        option, given, value = word.partition("=")
        if not option.startswith("--dind-"):
            continue
        bare = FIELDS[option].metadata["bare"]
        if not given:
            value = bare or words[at + 1]
        _take(option, value)


def test_there_are_commands() -> None:
    """The pages are read: most have commands."""
    assert len({block.page for block, _ in COMMANDS}) > 15
    assert {words[0] for _, words in COMMANDS} == {"pytest", "pytest-dind"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_names(page: Path) -> None:
    """Each option, ini key, fixture and marker that a page names is there."""
    text = page.read_text(encoding="utf-8")
    named = set(re.findall(r"--dind-[a-z-]*[a-z]", text))
    assert named <= FIELDS.keys()
    known = {f"dind_{field.name}" for field in FIELDS.values()} | options.MARKERS.keys()
    known |= {name for name in vars(plugin) if name.startswith("dind_")}
    found = set(re.findall(r"(?<![\w./-])dind_[a-z_]*[a-z]\b", prose(page)))
    assert found <= known
