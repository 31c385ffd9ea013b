"""The log of a container, followed while it runs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from pytest_dind.recorder import logs
from pytest_dind.recorder.logs import Connection, Demultiplexer, Follower, Tail

from ..support import Answer, FakeEngine, until

_LOG = "GET /containers/it/logs"


def _frame(text: str, stream: int = 1) -> bytes:
    return bytes([stream, 0, 0, 0]) + len(text).to_bytes(4, "big") + text.encode()


@pytest.mark.parametrize("size", [1, 3, 9, 100])
def test_frames(size: int) -> None:
    """Both outputs, in their order, however the frames come."""
    sent = _frame("out\n") + _frame("err\n", 2) + _frame("") + _frame("more\n")
    read = Demultiplexer()
    parts = (sent[start : start + size] for start in range(0, len(sent), size))
    assert b"".join(map(read.feed, parts)) == b"out\nerr\nmore\n"


def test_terminal() -> None:
    """The output of a container with a terminal has no frames."""
    read = Demultiplexer()
    assert read.feed(b"$ ls\r\n") + read.feed(b"\x01\x00\x00\x00") == b"$ ls\r\n\x01\x00\x00\x00"


def test_tail() -> None:
    """The end of a log is kept, and that it is the end alone."""
    tail = Tail()
    tail.add(b"begin")
    assert (bytes(tail), tail.is_cut) == (b"begin", False)
    for _ in range(10):
        tail.add(b"x" * logs.KEPT_BYTES)
    tail.add(b"end")
    assert len(bytes(tail)) <= 2 * logs.KEPT_BYTES
    assert bytes(tail).endswith(b"xend")
    assert tail.is_cut


def _follower(engine: FakeEngine) -> Follower:
    return Follower(partial(Connection, engine.host, ""), "it", 20)


def test_follower(tmp_path: Path) -> None:
    """What is written is there while the container runs, and after it is gone."""
    goes_on = threading.Event()

    def written() -> Iterator[str]:
        yield _frame("first\n").decode()
        goes_on.wait(60)
        yield _frame("last\n").decode()

    with FakeEngine(tmp_path / "s", {_LOG: lambda: Answer(body=written())}) as engine:
        follower = _follower(engine)
        follower.start()
        until(lambda: follower.result(0)[0] == b"first\n", 10, "the first line is read")
        goes_on.set()
        follower.ended()
        assert follower.result(10) == (b"first\nlast\n", False, "")


def test_follower_that_is_closed(tmp_path: Path) -> None:
    """The thread ends though the stream does not."""
    goes_on = threading.Event()

    def written() -> Iterator[str]:
        yield _frame("first\n").decode()
        goes_on.wait(60)

    with FakeEngine(tmp_path / "s", {_LOG: lambda: Answer(body=written())}) as engine:
        follower = _follower(engine)
        follower.start()
        until(lambda: follower.result(0)[0], 10, "the first line is read")
        follower.close()
        follower.thread.join(10)
        assert not follower.thread.is_alive()
        goes_on.set()


def test_log_that_can_not_be_had(tmp_path: Path) -> None:
    """The engine's own words are kept."""
    refusal = Answer(501, {"message": "the driver does not support reading"})
    with FakeEngine(tmp_path / "s", {_LOG: refusal}) as engine:
        follower = _follower(engine)
        follower.start()
        follower.ended()
        assert follower.result(10) == (b"", False, "the driver does not support reading")


def test_container_that_writes_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is left alone after a while, and looked at anew when it has ended."""
    monkeypatch.setattr(logs, "_PAUSE_SECONDS", 60)
    asked = []
    left = threading.Event()

    def written() -> Iterator[str]:
        asked.append(1)
        if len(asked) > 1:
            yield _frame("the end\n").decode()
            return
        try:
            for _ in range(1000):
                yield _frame("y\n" * 10_000).decode()
        finally:
            left.set()

    with FakeEngine(tmp_path / "s", {_LOG: lambda: Answer(body=written())}) as engine:
        follower = _follower(engine)
        follower.start()
        assert left.wait(30)
        assert len(follower.result(0)[0]) > logs.KEPT_BYTES / 2
        follower.ended()
        assert follower.result(30)[0] == b"the end\n"
    assert len(asked) == 2
