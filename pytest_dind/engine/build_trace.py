"""What BuildKit tells of a build through the engine's API: its steps and their output.

The engine sends BuildKit's own messages, in the encoding of Protocol Buffers (moby/buildkit,
api/services/control/control.proto). Of them only these fields are read:

    StatusResponse: 1 vertexes, 3 logs
    Vertex:         1 digest, 3 name, 5 started
    VertexLog:      4 msg
"""

from __future__ import annotations

import base64
from collections.abc import Iterator

ID = "moby.buildkit.trace"
"""The id of the events that have such messages."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_VERTEXES, _LOGS = 1, 3
_DIGEST, _NAME, _STARTED = 1, 3, 5
_MESSAGE = 4


class Trace:
    """Makes lines of text of BuildKit's messages, each step's name once."""

    def __init__(self) -> None:
        self._told: set[bytes] = set()

    def lines(self, message: str) -> Iterator[str]:
        """The lines of a message, which is in base64; none of one that can't be read."""
        try:
            for number, value in _fields(base64.b64decode(message)):
                if number == _VERTEXES:
                    vertex = dict(_fields(value))
                    step = vertex.get(_DIGEST, b"")
                    if _STARTED in vertex and step not in self._told:
                        self._told.add(step)
                        yield vertex.get(_NAME, b"").decode(errors="replace")
                elif number == _LOGS:
                    yield from (
                        dict(_fields(value))
                        .get(_MESSAGE, b"")
                        .decode(errors="replace")
                        .splitlines()
                    )
        except (ValueError, IndexError):
            # What is only told is no reason to fail.
            return


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The numbers and values of a message's fields; numbers among the values are left out."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        kind = key & 7
        if kind == _VARINT:
            _, at = _varint(data, at)
        elif kind == _BYTES:
            size, at = _varint(data, at)
            yield key >> 3, data[at : at + size]
            at += size
        elif kind in (_FIXED64, _FIXED32):
            at += 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"no such wire type: {kind}")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not byte & 0x80:
            return value, at
