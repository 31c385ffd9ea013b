"""The strict parser of JSON bodies: what it accepts, an engine can't read in another way.

Go's decoder, which engines use, takes the last of two equal keys, ignores keys it doesn't know, and
takes `hostconfig` for `HostConfig`. So a body is parsed here, checked against the keys that are
known, and written anew from what was understood: the forwarded body has no second meaning.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from ..http.refusal import malformed
from ..http.reply import dump

LIMIT = 2 * 1024 * 1024
"""The longest JSON body in bytes: as long as a command line can be on Linux."""

DEPTH = 200
"""How many objects and lists may be in one another; how many a parser takes differs widely."""

# An odd number of backslashes before it: after an even one it is no escape, but plain text.
_NUL = re.compile(r"(?<!\\)(\\\\)*\\u0000")

Json: TypeAlias = "dict[str, Any]"
Check: TypeAlias = "Callable[[str, Any], Any]"
"""A check of one field: takes its place and value; returns the value to pass on, or refuses it."""


def parse(raw: bytes) -> Json:
    """Parse the JSON object in a body.

    Raises:
        Refusal: it is no JSON, or JSON that parsers read in different ways.
    """
    return _object(raw, "the body")


def parse_text(text: str, where: str) -> Any:
    """Parse the JSON value in a query parameter.

    Raises:
        Refusal: it is no JSON, or JSON that parsers read in different ways.
    """
    return _load(text, where)


def _object(raw: bytes, where: str) -> Json:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise malformed(f"{where} is not UTF-8") from None
    found = _load(text, where)
    if found is None:
        # The body of clients that have nothing to send.
        return {}
    if not isinstance(found, dict):
        raise malformed(f"{where} is not a JSON object")
    return found


def _load(text: str, where: str) -> Any:
    try:
        found = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
        # Half of a surrogate pair: Python keeps it, Go replaces it. It can't be encoded.
        text.encode()
        dump(found)
        too_deep = _is_deeper(found, DEPTH)
    except RecursionError:
        too_deep = True
    except ValueError as error:
        raise malformed(f"{where} is not valid JSON ({error})") from None
    if too_deep:
        raise malformed(f"{where} is nested too deeply: in more than {DEPTH} objects and lists")
    if _NUL.search(text):
        # Ends a string for C, so for the kernel, but not for Go.
        raise malformed(f"{where} has a NUL character")
    return found


def _is_deeper(found: Any, depth: int) -> bool:
    """Tell whether objects and lists are in more than so many others."""
    level: list[Any] = [[found]]
    for _ in range(depth + 1):
        level = [
            inner
            for one in level
            for inner in (one.values() if isinstance(one, dict) else one)
            if isinstance(inner, (dict, list))
        ]
    return bool(level)


def _unique(pairs: list[tuple[str, Any]]) -> Json:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def fields(
    where: str,
    found: Any,
    known: Mapping[str, Check],
    unknown: Callable[[str, Any], bool],
) -> Json:
    """Check the fields of an object; returns those to pass on.

    An unknown key is left out if its value is null, false, 0 or empty: newer clients send such keys
    for all that was not asked for, and an engine takes them for missing. With any other value it
    could ask for anything, so `unknown` decides.

    Engines take a key in another case for the known one. Where any value may be passed on, so does
    this; a key whose value is checked has to be written as the API writes it.

    Args:
        where: The object's place in the body, for messages.
        found: The object; None for an empty one.
        known: A check for each known key.
        unknown: Takes the place and value of an unknown key; returns whether to pass it on, or
            refuses it.

    Raises:
        Refusal: a key or a value is not allowed.
    """
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise malformed(f"{where} is not a JSON object")
    folded = {key.casefold(): key for key in known}
    kept: Json = {}
    for key, value in found.items():
        place = f"{where}.{key}" if where else key
        if key in known:
            kept[key] = known[key](place, value)
        elif key.casefold() in folded:
            name = folded[key.casefold()]
            others = (found.get(name, value), kept.get(name, value))
            if known[name] is not anything or others != (value, value):
                raise malformed(f"{place} is not how the API writes {name}")
            kept[name] = value
        elif value and unknown(place, value):
            kept[key] = value
    return kept


def each(check: Check, keys: str) -> dict[str, Check]:
    """Map each key of a text of keys to one check."""
    return dict.fromkeys(keys.split(), check)


def anything(where: str, value: Any) -> Any:
    """Check nothing: the field can do no harm whatever its value."""
    return value


def text(where: str, value: Any) -> str:
    """A string; null is the empty one."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise malformed(f"{where} is not a string")
    return value


def flag(where: str, value: Any) -> bool:
    """True or false; null is false."""
    if value is None:
        return False
    if not isinstance(value, bool):
        raise malformed(f"{where} is neither true nor false")
    return value


def texts(where: str, value: Any) -> list[str]:
    """A list of strings; null is the empty one."""
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise malformed(f"{where} is not a list of strings")
    return value


def mapping(where: str, value: Any) -> dict[str, str]:
    """An object of strings; null is an empty one."""
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise malformed(f"{where} is not an object of strings")
    return value


def objects(where: str, value: Any) -> list[Json]:
    """A list of objects; null is the empty one."""
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise malformed(f"{where} is not a list of objects")
    return value
