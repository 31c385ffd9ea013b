"""Where the body of a request ends: a parser for chunks that leaves the body as it is.

h11 would hand out each chunk by itself. Clients send images in chunks of some kilobytes, so that
would take longer than the engine needs for the image.
"""

from __future__ import annotations

import re

from .refusal import malformed

_SIZE = re.compile(rb"[0-9A-Fa-f]{1,8}")
_NEXT = re.compile(rb"\r\n([0-9A-Fa-f]{1,8})\r\n")
_LONGEST_LINE = 16


class Length:
    """Finds the end of a body of a known length.

    Attributes:
        done: Whether the end was found.
    """

    def __init__(self, length: int) -> None:
        self.done = length == 0
        self._left = length

    def feed(self, data: bytes) -> int:
        """Take the next bytes; returns how many of them belong to the body."""
        count = min(self._left, len(data))
        self._left -= count
        self.done = self._left == 0
        return count


class Chunks:
    """Finds the end of a body in chunks, which is passed on as it is.

    Attributes:
        done: Whether the end was found.
    """

    def __init__(self) -> None:
        self.done = False
        # The rest of the current chunk with its line end, and the size line that is being read.
        self._left = 0
        self._line = b""

    def feed(self, data: bytes) -> int:
        """Take the next bytes; returns how many of them belong to the body.

        Raises:
            Refusal: it is not a body in plain chunks, without extensions and trailers.
        """
        position = 0
        while position < len(data) and not self.done:
            if self._left > 2:
                taken = min(self._left - 2, len(data) - position)
                position += taken
                self._left -= taken
            elif self._left:
                position = self._read_end(data, position)
            else:
                position = self._read_line(data, position)
        return position

    def _read_end(self, data: bytes, position: int) -> int:
        """Read the end of a chunk and, where it is there too, the size of the next one."""
        both = _NEXT.match(data, position) if self._left == 2 else None
        size = int(both[1], 16) if both else 0
        if both and size:
            self._left = size + 2
            return both.end()
        if data[position] != b"\r\n"[2 - self._left]:
            raise malformed("a chunk does not end where it should")
        self._left -= 1
        return position + 1

    def _read_line(self, data: bytes, position: int) -> int:
        end = data.find(b"\n", position, position + _LONGEST_LINE)
        stop = min(position + _LONGEST_LINE, len(data)) if end < 0 else end + 1
        self._line += data[position:stop]
        if not self._line.endswith(b"\n"):
            if len(self._line) >= _LONGEST_LINE:
                raise malformed("the size of a chunk has no end")
            return stop
        line, self._line = self._line, b""
        if self._last:
            # Trailers would be headers that nobody has looked at.
            if line != b"\r\n":
                raise malformed("there is something behind the last chunk")
            self.done = True
        elif not line.endswith(b"\r\n") or not _SIZE.fullmatch(line[:-2]):
            raise malformed("the size of a chunk is not a number")
        else:
            size = int(line[:-2], 16)
            self._last = size == 0
            self._left = size + 2 if size else 0
        return stop

    _last = False
