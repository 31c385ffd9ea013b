"""The ports that a daemon's nested containers publish, as its events tell of them."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import quote

from .endpoint import Endpoint

Port = tuple[int, str]
"""A port of the daemon's container, and its protocol."""
Published = Mapping[Port, frozenset[str]]
"""Each port that is published, and the addresses of the daemon's container that it is on."""

_PROTOCOLS = ("tcp", "udp")
_FILTERS = {"type": ["container"], "event": ["start", "die"]}
_ANSWER_SECONDS = 30
_AGAIN_SECONDS = 0.1


class Follower:
    """Follows a daemon, in threads of its own, also when it restarts.

    Args:
        daemon: The daemon.
        changed: Takes all ports that are published, whenever they may have changed.
    """

    def __init__(self, daemon: Endpoint, changed: Callable[[Published], None]) -> None:
        self._daemon = daemon
        self._changed = changed
        self._news = threading.Event()

    def start(self) -> None:
        """Begin to follow it."""
        threading.Thread(target=self._read_events, daemon=True).start()
        threading.Thread(target=self._look, daemon=True).start()

    def _read_events(self) -> None:
        while True:
            # A daemon that ends, or restarts, closes the connection.
            with contextlib.suppress(OSError, http.client.HTTPException):
                connection = self._daemon.connection(None)
                with contextlib.closing(connection):
                    # The daemon answers before it begins to collect events, but remembers the last.
                    filters = quote(json.dumps(_FILTERS))
                    connection.request("GET", f"/events?since=1&filters={filters}")
                    response = connection.getresponse()
                    self._news.set()
                    while response.readline():
                        self._news.set()
            self._news.set()
            time.sleep(_AGAIN_SECONDS)

    def _look(self) -> None:
        while True:
            self._news.wait()
            # Before the look: what happens during it counts again.
            self._news.clear()
            try:
                found = self._daemon.ask("GET", "/containers/json", timeout=_ANSWER_SECONDS)
            except (OSError, http.client.HTTPException, ValueError):
                found = []
            self._changed(published(found))


def published(containers: Iterable[Mapping[str, Any]]) -> Published:
    """Return the ports that containers publish, which are as the engine lists them."""
    found: dict[Port, set[str]] = {}
    for container in containers:
        for one in container.get("Ports") or []:
            if one.get("PublicPort") and one.get("Type") in _PROTOCOLS:
                key = int(one["PublicPort"]), str(one["Type"])
                found.setdefault(key, set()).add(one.get("IP") or "0.0.0.0")
    return {key: frozenset(hosts) for key, hosts in found.items()}
