"""The settings as pytest's options: on the command line, and in ini files."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Literal

from .option import repeatable
from .settings import Settings

if TYPE_CHECKING:
    import pytest


def add_options(parser: pytest.Parser) -> None:
    """Register each option, on the command line and in ini files."""
    group = parser.getgroup("dind", "a Docker daemon for tests (pytest-dind)")
    for field in dataclasses.fields(Settings):
        repeat = repeatable(field)
        text = field.metadata["text"]
        if repeat:
            text += "; repeatable"
        elif field.default:
            text += f" (default: {field.default})"
        bare = field.metadata["bare"]
        group.addoption(
            f"--dind-{field.name.replace('_', '-')}",
            **({"nargs": "?", "const": bare} if bare else {}),
            action="append" if repeat else "store",
            dest=f"dind_{field.name}",
            # None tells "not given" from an empty value, which wins over the ini key.
            default=None,
            metavar=field.metadata["metavar"],
            help=f"{text}; ini key: dind_{field.name}",
        )
        kind: Literal["linelist", "string"] = "linelist" if repeat else "string"
        parser.addini(f"dind_{field.name}", text, type=kind, default=None)


def from_config(config: pytest.Config) -> Settings:
    """Read the settings: the command line first, then the ini file, then the defaults.

    An empty value for a repeatable option on the command line empties the list.

    Raises:
        SettingsError: a value is not valid.
    """
    values: dict[str, Any] = {}
    for field in dataclasses.fields(Settings):
        raw = config.getoption(f"dind_{field.name}")
        if raw is None:
            raw = config.getini(f"dind_{field.name}")
        if raw is None:
            continue
        parse = field.metadata["parse"]
        values[field.name] = (
            tuple(parse(item) for item in raw if item) if repeatable(field) else parse(raw)
        )
    return Settings(**values)
