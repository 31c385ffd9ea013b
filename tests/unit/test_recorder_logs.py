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
_ATTACH = "POST /containers/it/attach"


def _frame(text: str, stream: int = 1) -> bytes:
    return bytes([stream, 0, 0, 0]) + len(text).to_bytes(4, "big") + text.encode()


@pytest.mark.parametrize("size", [1, 3, 9, 100])
def test_frames(size: int) -> None:
    """Both outputs, in their order, however the frames come."""
    sent = _frame("out\n") + _frame("err\n", 2) + _frame("") + _frame("more\n")
    read = Demultiplexer()
    parts = (sent[start : start + size] for start in range(0, len(sent), size))
    assert b"".join(map(read.feed, parts)) == b"out\nerr\nmore\n"


def test_error_among_frames() -> None:
    """What the engine says of itself is none of the container's output."""
    read = Demultiplexer()
    assert read.feed(_frame("out\n") + _frame("Error grabbing logs: gone\n\n", 3)) == b"out\n"
    assert read.error == "Error grabbing logs: gone"


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


def _follower(engine: FakeEngine, *, is_new: bool = False) -> Follower:
    return Follower(partial(Connection, engine.host, ""), "it", 20, is_new=is_new)


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


@pytest.mark.parametrize(
    "gone",
    [
        Answer(409, {"message": "can not get logs from container which is dead"}),
        Answer(body=iter([_frame("Error grabbing logs: no such file or directory", 3).decode()])),
    ],
    ids=["refused", "in the stream"],
)
def test_log_that_is_gone_at_once(tmp_path: Path, gone: Answer) -> None:
    """What a container wrote is there though its log went with it before it could be asked for."""
    output = Answer(body=iter([_frame("first\n").decode(), _frame("last\n", 2).decode()]))
    with FakeEngine(tmp_path / "s", {_LOG: gone, _ATTACH: output}) as engine:
        follower = _follower(engine, is_new=True)
        follower.start()
        assert follower.waits
        follower.started()
        follower.ended()
        assert follower.result(10) == (b"first\nlast\n", False, "")


def test_log_that_is_there(tmp_path: Path) -> None:
    """The container is let go once its log comes: it would wait for who is attached."""
    let_go, goes_on = threading.Event(), threading.Event()

    def output() -> Iterator[str]:
        try:
            while True:
                yield _frame("of the output\n").decode()
                goes_on.wait(0.01)
        finally:
            let_go.set()

    def written() -> Iterator[str]:
        yield _frame("of the log\n").decode()
        let_go.wait(60)

    answers = {_LOG: lambda: Answer(body=written()), _ATTACH: lambda: Answer(body=output())}
    with FakeEngine(tmp_path / "s", answers) as engine:
        follower = _follower(engine, is_new=True)
        follower.start()
        follower.started()
        assert let_go.wait(30)
        follower.ended()
        assert follower.result(10) == (b"of the log\n", False, "")


def test_log_that_can_not_be_had_of_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container that goes on writing is let go: that its log can't be had is told."""
    monkeypatch.setattr(logs, "_BURST_BYTES", 1000)
    refusal = Answer(501, {"message": "the driver does not support reading"})
    output = Answer(body=iter([_frame("y\n" * 50).decode()] * 1000))
    with FakeEngine(tmp_path / "s", {_LOG: refusal, _ATTACH: output}) as engine:
        follower = _follower(engine, is_new=True)
        follower.start()
        follower.started()
        follower.thread.join(30)
        assert not follower.thread.is_alive()
        assert follower.result(0) == (b"", False, "the driver does not support reading")


def test_container_that_is_never_started(tmp_path: Path) -> None:
    """The thread ends when it is told to."""
    goes_on = threading.Event()

    def output() -> Iterator[str]:
        goes_on.wait(60)
        yield from ()

    with FakeEngine(tmp_path / "s", {_ATTACH: lambda: Answer(body=output())}) as engine:
        follower = _follower(engine, is_new=True)
        follower.start()
        until(lambda: follower._attached is not None, 10, "it is attached to")
        follower.close()
        follower.thread.join(10)
        assert not follower.thread.is_alive()
        goes_on.set()


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
