"""The course of a process's tests: which test, or fixture of a wider scope, made what at a time."""

from __future__ import annotations

import bisect
import time

WIDER = ""
"""The maker of what fixtures make that outlive the test."""


class Timeline:
    """A record of which test ran when, and of when fixtures of a wider scope were set up.

    Args:
        test: The test that runs, where one does.
        wider: How many fixtures are being set up that outlive the test, one in the other.
    """

    def __init__(self, test: str, wider: int) -> None:
        self._test = test
        self._wider = wider
        self._times: list[float] = []
        self._makers: list[str] = []
        self.began = time.time()
        self._note()

    @property
    def test(self) -> str:
        """The test that runs, or ran last."""
        return self._test

    def begin_test(self, test: str) -> None:
        """Attribute to this test what is made from now on."""
        self._test, self.began = test, time.time()
        self._note()

    def count_wider(self, more: int) -> None:
        """Note that the set-up of a fixture of a wider scope begins (1), or has ended (-1)."""
        self._wider += more
        self._note()

    def _note(self) -> None:
        self._times.append(time.time())
        self._makers.append(WIDER if self._wider else self._test)

    def maker(self, at: float) -> str | None:
        """Return what was under way at a time: a test, or `WIDER`; None before this process's."""
        index = bisect.bisect_right(self._times, at) - 1
        return self._makers[index] if index >= 0 else None
