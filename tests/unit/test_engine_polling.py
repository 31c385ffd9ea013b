"""The loop in which a test process waits."""

from __future__ import annotations

from pytest_dind.engine.polling import poll


def test_found() -> None:
    """The first look that gives something ends the wait, even if that is false."""
    looks: list[bool | None] = [None, None, False, True]

    assert poll(lambda: looks.pop(0), seconds=10, every=0) is False
    assert looks == [True]


def test_time_is_up() -> None:
    """There is one look at least, and none once the time is up."""
    looks: list[None] = []

    assert poll(lambda: looks.append(None), seconds=0, every=0) is None
    assert looks == [None]
