"""The streams that tell how a pull, a load or a build goes: no failure in them is missed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from docker.errors import APIError, StreamParseError
from requests.exceptions import ConnectionError as Broken
from requests.exceptions import ReadTimeout
from urllib3.exceptions import ProtocolError, ReadTimeoutError

from pytest_dind.engine import streams

_LATE = ReadTimeoutError(None, "", "timed out")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("event", "text"),
    [
        ({"error": "no"}, "no"),
        ({"errorDetail": {"message": "no"}}, "no"),
        ({"errorDetail": {"message": "no", "code": 1}, "error": "less"}, "no"),
        ({"errorDetail": {"code": 1}, "error": "no"}, "no"),
        ({"errorDetail": None, "error": "no\n"}, "no"),
        ({"message": "no"}, "no"),
        ({"errorDetail": {}}, "without a reason: {'errorDetail': {}}"),
        ({"error": ""}, "without a reason: {'error': ''}"),
        ({"status": "Downloading", "error": None}, ""),
        ({"stream": "error"}, ""),
        ({}, ""),
    ],
)
def test_failure(event: dict[str, Any], text: str) -> None:
    """A failure is known by each of the ways in which engines tell of one."""
    assert streams.failure(event) == text


def test_events_before_a_failure() -> None:
    """What comes before a failure is given; nothing after it is."""
    given = [{"status": "1"}, {"errorDetail": {"message": "no"}}, {"status": "2"}]
    stream = streams.read(lambda: given)

    assert next(stream) == {"status": "1"}
    with pytest.raises(streams.Failed, match=r"^no$"):
        next(stream)


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (APIError("500 Server Error", explanation="no"), streams.Failed),
        (StreamParseError("no"), streams.Failed),
        (Broken("no"), streams.Failed),
        (ProtocolError("no"), streams.Failed),
        (ReadTimeout("no"), streams.Silent),
        (_LATE, streams.Silent),
        (Broken(_LATE), streams.Silent),
    ],
    ids=repr,
)
def test_stream_that_breaks(error: Exception, kind: type[Exception], at_once: bool) -> None:
    """A request that fails and a stream that breaks off are failures; silence is told apart."""

    def stream() -> Iterator[dict[str, Any]]:
        yield {"status": "1"}
        raise error

    def refused() -> Iterator[dict[str, Any]]:
        raise error

    with pytest.raises(streams.Failed) as caught:
        list(streams.read(refused if at_once else stream))

    assert type(caught.value) is kind
    assert caught.value.__cause__ is error
