"""The events that an engine streams during a pull, a load or a build."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

# Engines name a failure by the second, newer ones by the first (see `versions`). The third is their
# refusal of a whole request, which docker-py takes for an event too.
_FAILURES = ("errorDetail", "error", "message")

SILENCE_SECONDS = 600
"""The longest pause in a stream: an engine that takes an archive answers when all is in its place,
and a step of a build may be quiet for long."""
MEGA = 1_000_000

Progress = Callable[[str], object]
"""Writes a progress line; what goes on is told by lines of its own kind, see `steps`."""


class Failed(Exception):
    """An engine failed to do as asked; the text is its own, or that of the connection."""


class Silent(Failed):
    """An engine sent nothing for longer than the request's time-out."""


def failure(event: Mapping[str, Any]) -> str:
    """The failure that an event tells of; empty where it tells of none."""
    told = [event[key] for key in _FAILURES if event.get(key) is not None]
    texts = [said.get("message") if isinstance(said, Mapping) else said for said in told]
    if not told:
        return ""
    return next((str(text).strip() for text in texts if text), f"without a reason: {event}")


def read(request: Callable[[], Iterable[Any]]) -> Iterator[dict[str, Any]]:
    """The events of a stream, up to its end or its first failure.

    Args:
        request: Asks for the stream, by docker-py.

    Raises:
        Failed: the engine tells of a failure, refuses the request, or breaks off.
        Silent: it sent nothing for longer than the request's time-out.
    """
    from docker.errors import DockerException, StreamParseError
    from requests.exceptions import RequestException
    from urllib3.exceptions import HTTPError

    try:
        for event in request():
            text = failure(event)
            if text:
                raise Failed(text)
            yield event
    # docker-py reads a stream past requests: what breaks in it is urllib3's own error.
    except (DockerException, StreamParseError, RequestException, HTTPError) as error:
        kind = Silent if _is_silence(error) else Failed
        raise kind(getattr(error, "explanation", None) or str(error)) from error


def _is_silence(error: Exception) -> bool:
    """Whether an error is a read's time-out, as it is or wrapped in an error of requests."""
    from requests.exceptions import Timeout
    from urllib3.exceptions import ReadTimeoutError

    return any(isinstance(one, (Timeout, ReadTimeoutError)) for one in (error, *error.args))
