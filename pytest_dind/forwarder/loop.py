"""The forwarder's event loop: one thread that waits for many sockets at once.

Not asyncio or selectors, which cost each connection more than all the rest that is done for it.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import select
import socket
import time
from collections import deque
from collections.abc import Callable
from typing import Any

Ready = Callable[[int], None]

IN, OUT = select.POLLIN, select.POLLOUT
HAS_EDGES = hasattr(select, "epoll")
"""Whether a loop can tell of changes alone, which relays need; Linux can."""
# Both directions, and the end of what comes, each when it begins.
_EDGES = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET if HAS_EDGES else 0
ENDS = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR if HAS_EDGES else 0
"""The events that tell that nothing more comes."""


class Loop:
    """Calls functions when their sockets are ready, when their time has come, or when told to."""

    def __init__(self) -> None:
        self._poll: Any = select.epoll() if HAS_EDGES else select.poll()
        # epoll counts in seconds, poll in milliseconds.
        self._unit = 1 if HAS_EDGES else 1000
        self._ready: dict[int, Ready] = {}
        self._calls: deque[Callable[[], None]] = deque()
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._ended = False
        self._waked, self._wakes = socket.socketpair()
        self._waked.setblocking(False)
        self._wakes.setblocking(False)
        self.watch(self._waked.fileno(), self._drain)

    def watch(self, descriptor: int, ready: Ready) -> None:
        """Call `ready` with the events for as long as there is something to read."""
        self._ready[descriptor] = ready
        self._poll.register(descriptor, IN)

    def watch_changes(self, descriptor: int, ready: Ready) -> None:
        """Call `ready` with the events whenever reading or writing becomes possible again."""
        self._ready[descriptor] = ready
        self._poll.register(descriptor, _EDGES)

    def change(self, descriptor: int, ready: Ready) -> None:
        """Call `ready` from now on, for the events that are watched already."""
        self._ready[descriptor] = ready

    def close(self, watched: socket.socket) -> None:
        """Close a socket that is watched; idempotent."""
        descriptor = watched.fileno()
        if self._ready.pop(descriptor, None) is not None and not HAS_EDGES:
            # epoll forgets what is closed by itself.
            self._poll.unregister(descriptor)
        watched.close()

    def soon(self, function: Callable[[], None]) -> None:
        """Call a function in the loop's thread; of all methods, this one is any thread's."""
        self._calls.append(function)
        with contextlib.suppress(BlockingIOError):
            self._wakes.send(b"x")

    def later(self, seconds: float, function: Callable[[], None]) -> None:
        """Call a function once, some seconds from now."""
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._numbers), function))

    def end(self) -> None:
        """Let `run` return."""
        self._ended = True

    def run(self) -> None:
        """Serve until `end` is called, and close what the loop has itself."""
        while not self._ended:
            timeout = -1.0
            if self._timers:
                timeout = max(0.0, self._timers[0][0] - time.monotonic()) * self._unit
            for descriptor, events in self._poll.poll(timeout):
                # One that was called before it may have closed this one.
                ready = self._ready.get(descriptor)
                if ready is not None:
                    ready(events)
            while self._timers and self._timers[0][0] <= time.monotonic():
                heapq.heappop(self._timers)[2]()
        self._waked.close()
        self._wakes.close()
        if HAS_EDGES:
            self._poll.close()

    def _drain(self, events: int) -> None:
        with contextlib.suppress(BlockingIOError):
            self._waked.recv(4096)
        # Not those that these calls add, or a busy connection would keep the others waiting.
        for _ in range(len(self._calls)):
            self._calls.popleft()()
