"""What goes on and takes long: when it is told of, how far it is, how fast, and what is left."""

from __future__ import annotations

import threading

import pytest

from pytest_dind.engine import steps
from pytest_dind.engine.steps import Going, Plain, Rate, Step

from ..support import until


class _Clock:
    """A clock that is put by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> _Clock:
    """The clock by which steps tell of themselves."""
    clock = _Clock()
    monkeypatch.setattr(steps, "time", clock)
    return clock


def test_short_step(clock: _Clock) -> None:
    """What is done within two seconds is not told of."""
    told: list[str] = []
    with Step(told.append, "loading") as step:
        clock.now += 1.9
        step.tick()

    assert told == []


def test_step_without_bytes(clock: _Clock) -> None:
    """What counts no bytes says how long it goes on, and what it does; its end is told."""
    told: list[str] = []
    with Step(told.append, "building a:1") as step:
        clock.now += 2
        step.tick()
        step.say("RUN make")
        clock.now += 0.1
        step.tick()
        clock.now += 61
        step.tick()

    assert told == ["building a:1: 2 s", "building a:1: 63 s, RUN make", ""]
    assert [line.seconds for line in told if isinstance(line, Going)] == [2, pytest.approx(63.1), 0]


def test_step_with_bytes(clock: _Clock) -> None:
    """Bytes are told with their rate and the time that is left, as far as these are known."""
    told: list[str] = []
    with Step(told.append, "pulling a:1") as step:
        for here, total in [(20, 100), (40, 100), (40, 0), (100, 100)]:
            clock.now += 2
            step.at(here * 1_000_000, total * 1_000_000)
            step.tick()

    assert told == [
        "pulling a:1: 20 of 100 MB",
        "pulling a:1: 40 of 100 MB, 10.0 MB/s, 6 s left",
        "pulling a:1: 40 MB, 5.0 MB/s",
        "pulling a:1: 100 of 100 MB",
        "",
    ]


def test_rate_is_that_of_the_last_seconds() -> None:
    """The rate follows what comes now: what stands still has none, and no time is left then."""
    rate = Rate()
    found = [rate.at(min(second, 10) * 100, float(second)) for second in range(31)]

    assert found[0] is None
    assert found[1] == found[10] == 100
    assert found[15] == 50
    assert found[20] == found[30] == 0
    assert steps._pace(1000, 2000, 0.0) == ["0.0 MB/s"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (99, "99 s"), (120, "2 min"), (5900, "98 min"), (7200, "2 h")],
)
def test_duration(seconds: float, text: str) -> None:
    """A time is told by the unit that fits it."""
    assert steps.duration(seconds) == text


def test_counted_bytes(clock: _Clock) -> None:
    """What is sent in chunks is counted as it goes, and stays what it is."""
    told: list[str] = []
    with Step(told.append, "copying a") as step:
        chunks = list(step.counted([b"a" * 1_500_000, b"b" * 1_500_000]))
        clock.now += 2
        step.tick()

    assert (len(chunks), step.here) == (2, 3_000_000)
    assert told[0] == "copying a: 3 MB"


class _Terminal:
    """Takes progress lines as a terminal's own does."""

    is_live = True

    def __init__(self) -> None:
        self.told: list[str] = []

    def __call__(self, text: str) -> None:
        self.told.append(text)


def test_silent_step_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """While an engine says nothing, a thread tells of it; it ends with the step."""
    monkeypatch.setattr(steps, "_AFTER_SECONDS", 0)
    monkeypatch.setattr(steps, "_BETWEEN_SECONDS", 0.01)
    terminal, before = _Terminal(), threading.active_count()
    with Step(terminal, "pulling a:1", silent=True):
        until(lambda: len(terminal.told) > 1, 10, "it is told of twice")

    assert terminal.told[0] == "pulling a:1: 0 s"
    assert terminal.told[-1] == ""
    assert threading.active_count() == before


def test_no_thread_without_a_terminal() -> None:
    """Where no line is written over, there is no thread."""
    before = threading.active_count()
    with Step(len, "pulling a:1", silent=True):
        assert threading.active_count() == before


def test_who_waits() -> None:
    """Whether the main thread waits for what goes on is known of each line, whoever tells it."""
    told: list[str] = []

    def work() -> None:
        with Step(told.append, "pulling a:1", at_once=True):
            pass

    work()
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()

    waits = [line.is_waited_for for line in told if isinstance(line, Going)]
    assert told == ["pulling a:1", ""] * 2
    assert waits == [True, True, False, False]


def test_plain_lines() -> None:
    """One below the other, lines on what goes on come less and less often; others all come."""
    written: list[str] = []
    plain = Plain(written.append)
    plain(Going("a"))
    for half in range(4, 500):
        plain(Going(f"a: {half / 2:g}", half / 2))
    plain(Going())
    plain("b")
    plain(steps.MEANWHILE)
    plain(Going("c: 2", 2))

    times = ["2", "4", "8", "16", "32", "64", "124", "184", "244"]
    assert written == ["a", *(f"a: {time}" for time in times), "b", "c: 2"]
