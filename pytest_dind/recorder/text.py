"""Logs as reports show them: bounded, without control characters, and without secrets."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

if TYPE_CHECKING:
    from ..settings import Settings

MASK = "***"
_LONGEST_LINE = 500
# What is shorter is no secret, and stands in other words too.
_SHORTEST_SECRET = 4
_COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Secrets:
    """Texts that no report may show.

    Args:
        values: The secrets; what is shorter than four characters is none.
    """

    def __init__(self, values: Iterable[str]) -> None:
        found = {form for value in values for form in _forms(value)}
        longest_first = sorted(found, key=lambda form: (-len(form), form))
        self.longest = len(longest_first[0]) if longest_first else 0
        self._pattern = re.compile("|".join(map(re.escape, longest_first))) if found else None

    def mask(self, text: str) -> str:
        """Return a text with `***` in the place of each secret."""
        return self._pattern.sub(MASK, text) if self._pattern else text


def secrets_of(settings: Iterable[Settings], more: Iterable[str] = ()) -> Secrets:
    """Return what no report may show: values of `--dind-env`, and the user's credentials.

    Args:
        settings: The settings of the daemons.
        more: What else.
    """
    from ..engine import credentials

    return Secrets([*credentials.secrets(), *values_given(settings), *more])


def values_given(settings: Iterable[Settings]) -> list[str]:
    """Return the values that `--dind-env` gives."""
    from ..validation import variables

    return [
        os.environ.get(name, "") if value is None else value
        for one in settings
        for name, value in variables(one.env).items()
    ]


def _forms(value: str) -> Iterator[str]:
    """Return the forms in which a secret may stand in a log: each of its lines, quoted too."""
    parts = [value, *value.splitlines()]
    # Of a URL, such as a proxy's.
    with contextlib.suppress(ValueError):
        parts.append(urlsplit(value).password or "")
    for part in map(str.strip, parts):
        if len(part) >= _SHORTEST_SECRET:
            yield from {part, json.dumps(part)[1:-1], quote(part, safe="")}


def last_lines(
    data: bytes | str, most: int, secrets: Secrets, *, is_cut: bool = False
) -> list[str]:
    """Return the last lines of a log as a report shows them.

    Args:
        data: What was logged; bytes that are no UTF-8 are shown by their numbers.
        most: How many lines there may be.
        secrets: What is masked.
        is_cut: Whether its beginning is missing: a secret may be cut in two there.
    """
    text = data if isinstance(data, str) else data.decode("utf-8", "backslashreplace")
    if is_cut:
        text = text[secrets.longest :]
    lines = text.removesuffix("\n").split("\n") if text else []
    return [line_of(line, secrets) for line in lines[len(lines) - min(most, len(lines)) :]]


def line_of(text: str, secrets: Secrets) -> str:
    """Return a line as a report shows it: the last state of one that was written over."""
    shown = _COLOURS.sub("", text.rstrip("\r").rpartition("\r")[2])
    shown = "".join(
        one if one == "\t" or one.isprintable() else one.encode("unicode_escape").decode()
        for one in shown
    )
    shown = secrets.mask(shown)
    more = len(shown) - _LONGEST_LINE
    return f"{shown[:_LONGEST_LINE]}... ({more} more characters)" if more > 0 else shown
