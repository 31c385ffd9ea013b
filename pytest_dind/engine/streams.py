"""The streams in which an engine tells how a pull, a load or a build goes: one JSON an event."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

# An engine names a failure by the first from API 1.48 on, where the second is deprecated. The third
# is its refusal of a whole request, which docker-py takes for an event too.
_FAILURES = ("errorDetail", "error", "message")


class Failed(Exception):
    """An engine did not do what it was asked for; the text is its own, or the connection's."""


class Silent(Failed):
    """An engine said nothing for as long as it was given."""


def failure(event: Mapping[str, Any]) -> str:
    """What an event says went wrong; empty where it tells of no failure."""
    told = [event[key] for key in _FAILURES if event.get(key) is not None]
    texts = [said.get("message") if isinstance(said, Mapping) else said for said in told]
    if not told:
        return ""
    return next((str(text).strip() for text in texts if text), f"without a reason: {event}")


def read(request: Callable[[], Iterable[Any]]) -> Iterator[dict[str, Any]]:
    """The events of a stream, up to its end or the first that tells of a failure.

    Args:
        request: Asks for the stream, by docker-py.

    Raises:
        Failed: the engine tells of a failure, refuses the request, or breaks off.
        Silent: it said nothing for longer than the request's time-out.
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
    """Whether it is a read's time-out, which requests may have wrapped in an error of its own."""
    from requests.exceptions import Timeout
    from urllib3.exceptions import ReadTimeoutError

    return any(isinstance(one, (Timeout, ReadTimeoutError)) for one in (error, *error.args))
