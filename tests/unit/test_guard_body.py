"""JSON bodies: read in the one way in which an engine could read them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_dind.guard.http.refusal import Refusal, forbidden
from pytest_dind.guard.http.reply import dump
from pytest_dind.guard.rules import body

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=10,
)


def _refuse(where: str, value: Any) -> bool:
    raise forbidden(f"the field {where}")


def test_nothing_to_say() -> None:
    """A body of null is an empty object, as clients send it that have nothing to say."""
    assert body.parse(b"null") == {}


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a":1,"a":2}',
        b'{"a":{"b":1,"b":1}}',
        b'{"a":NaN}',
        b'{"a":1e999}',
        b'{"a":1}{}',
        b'{"a":"\\ud800"}',
        b'{"a":"\\u0000"}',
        b'\xef\xbb\xbf{"a":1}',
        b'{"a":"\xff"}',
        b'{"a":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
        b'{"a":' + b"9" * 5000 + b"}",
        b"",
        b"[]",
        b"1",
        b'"{}"',
    ],
)
def test_not_read_alike_by_all(raw: bytes) -> None:
    """What parsers read in different ways is refused."""
    with pytest.raises(Refusal) as caught:
        body.parse(raw)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b'{"a":1,"a":2}', "is not valid JSON (a key stands twice in one object)"),
        (b'{"a":NaN}', "is not valid JSON (NaN is not JSON)"),
        (b"{", "is not valid JSON (Expecting"),
        (b'{"a":"\\u0000"}', "has a NUL character"),
        (b"\xff", "is not UTF-8"),
        (b"[]", "is not a JSON object"),
    ],
)
def test_what_refusals_say(raw: bytes, says: str) -> None:
    """A refusal names what is wrong, and with what."""
    with pytest.raises(Refusal) as caught:
        body.parse(raw)
    assert caught.value.message.startswith(f"pytest-dind guard: the body {says}")
    with pytest.raises(Refusal, match=r"^pytest-dind guard: a filter is not valid JSON"):
        body.parse_text("{", "a filter")
    with pytest.raises(Refusal, match=r"^pytest-dind guard: A is not a JSON object"):
        body.fields("A", [], {}, _refuse)


def test_key_in_two_cases() -> None:
    """A key that stands there in two cases is refused, unless both have the same value."""
    known = {"Path": body.anything}
    assert body.fields("", {"Path": 1, "path": 1}, known, _refuse) == {"Path": 1}
    for found in ({"Path": 1, "path": 2}, {"path": 2, "Path": 1}, {"path": 1, "PATH": 2}):
        with pytest.raises(Refusal, match="is not how the API writes Path"):
            body.fields("", found, known, _refuse)


def test_depth() -> None:
    """How deep a body may be nested is the same on each Python."""

    def nested(depth: int) -> bytes:
        return b'{"a":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"

    assert list(body.parse(nested(body.DEPTH))) == ["a"]
    with pytest.raises(Refusal, match="the body is nested too deeply: in more than 200"):
        body.parse(nested(body.DEPTH + 1))


def test_escaped_backslash_before_u0000() -> None:
    """A backslash, and then the text u0000, is no NUL."""
    assert body.parse(b'{"a":"\\\\u0000"}') == {"a": "\\u0000"}


@given(st.dictionaries(st.text(), _JSON))
def test_round_trip(content: dict[str, Any]) -> None:
    """What is passed on means what was read, or it was refused."""
    try:
        found = body.parse(json.dumps(content).encode())
    except Refusal:
        return
    assert found == content
    assert json.loads(dump(found)) == content


@given(st.binary(max_size=200))
def test_any_bytes(raw: bytes) -> None:
    """Any bytes are an object or a refusal, and nothing else."""
    try:
        assert isinstance(body.parse(raw), dict)
    except Refusal as refusal:
        assert refusal.status == 400  # noqa: PT017


@given(st.dictionaries(st.text(st.sampled_from("Hho\u017fstC\u212akoOnfig")), _JSON))
def test_fields(content: dict[str, Any]) -> None:
    """Of an object only known keys are passed on, as the API writes them, whatever their case."""
    known: dict[str, body.Check] = {"Host": body.anything, "Config": body.anything}
    try:
        kept = body.fields("", content, known, _refuse)
    except Refusal:
        return
    # Go takes a key in another case for the known one.
    names = {key.casefold(): key for key in known}
    found = {key: names.get(key.casefold()) for key in content}
    assert kept == {name: content[key] for key, name in found.items() if name}
    assert all(not content[key] for key, name in found.items() if name is None)


@pytest.mark.parametrize("value", [None, False, 0, "", [], {}])
def test_unknown_field_that_says_nothing(value: Any) -> None:
    """A field that is not known and says nothing is left out: newer clients send such."""
    assert body.fields("", {"New": value, "A": 1}, {"A": body.anything}, _refuse) == {"A": 1}


@pytest.mark.parametrize("value", [True, 1, "x", [0], {"a": None}])
def test_unknown_field_that_says_something(value: Any) -> None:
    """One that says something is refused, by its place."""
    with pytest.raises(Refusal, match=r"the field Host\.New"):
        body.fields("Host", {"New": value}, {}, _refuse)


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (body.text, "a", 1),
        (body.flag, True, "true"),
        (body.texts, ["a"], [1]),
        (body.mapping, {"a": "b"}, {"a": 1}),
        (body.objects, [{}], ["a"]),
    ],
)
def test_types(check: body.Check, good: Any, bad: Any) -> None:
    """A value of the type is passed on, null is its empty one, and any other is refused."""
    assert check("X", good) == good
    assert not check("X", None)
    with pytest.raises(Refusal, match="X is n"):
        check("X", bad)
