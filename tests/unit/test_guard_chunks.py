"""The end of a body in chunks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_dind.guard.http.chunks import Chunks
from pytest_dind.guard.http.refusal import Refusal


@given(
    st.lists(st.binary(min_size=1, max_size=40), max_size=5),
    st.binary(max_size=20),
    st.lists(st.integers(1, 30), min_size=1),
)
def test_end_is_found(parts: list[bytes], behind: bytes, cuts: list[int]) -> None:
    """The end of a body is found however it arrives, and what is behind it is not taken."""
    body = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    data = body + behind
    chunks, taken = Chunks(), 0
    while not chunks.done:
        piece = data[taken : taken + cuts[0]]
        cuts = [*cuts[1:], cuts[0]]
        read = chunks.feed(piece)
        assert read == len(piece) or chunks.done
        taken += read

    assert taken == len(body)


@pytest.mark.parametrize(
    "raw",
    [
        b"x\r\n",
        b"-1\r\n",
        b"0x1\r\n",
        b" 1\r\n",
        b"1;a=b\r\n",
        b"1\nx",
        b"1\r\nxy",
        b"1\r\nx\ny",
        b"fffffffff\r\n",
        b"\r\n",
        b"0" * 40,
        b"0\r\nTrailer: x\r\n\r\n",
        b"0\r\n\n",
    ],
)
def test_not_in_chunks(raw: bytes) -> None:
    """What is not a size, a line end, the bytes and a line end is refused."""
    with pytest.raises(Refusal):
        Chunks().feed(raw)
