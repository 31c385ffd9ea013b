"""The ports that a daemon's containers and services publish, as its events tell of them."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote

from .endpoint import Endpoint

Port = tuple[int, str]
"""A port of the daemon's container, and its protocol."""
Published = Mapping[Port, frozenset[str]]
"""Each port that is published, and the addresses of the daemon's container that it is on."""

_PROTOCOLS = ("tcp", "udp")
_EVERYWHERE = "0.0.0.0"
# A service's ports are known after its creation, which an update tells.
_FILTERS = {
    "type": ["container", "service"],
    "event": ["create", "start", "die", "update", "remove"],
}
_SERVICE = "service"
_MANAGER = "active/manager"
# Ports of services in the other mode are those of their containers.
_MESH = "ingress"
_ANSWER_SECONDS = 30
_AGAIN_SECONDS = 0.1
# Dates and the times of events have whole seconds.
_CLOCK_SECONDS = 1


class Follower:
    """Follows a daemon, in threads of its own, also when it restarts.

    Args:
        daemon: The daemon.
        changed: Takes all ports that are published, whenever they may have changed.
        created: Takes the id of each container that is created.
    """

    def __init__(
        self,
        daemon: Endpoint,
        changed: Callable[[Published], None],
        created: Callable[[str], None],
    ) -> None:
        self._daemon = daemon
        self._changed = changed
        self._created = created
        self._news = threading.Event()

    def start(self) -> None:
        """Begin to follow it."""
        threading.Thread(target=self._read_events, daemon=True).start()
        threading.Thread(target=self._look, daemon=True).start()

    def _read_events(self) -> None:
        while True:
            # A daemon that ends, or restarts, closes the connection.
            with contextlib.suppress(OSError, ValueError, http.client.HTTPException):
                connection = self._daemon.connection(None)
                with contextlib.closing(connection):
                    # The daemon answers before it begins to collect events, but remembers the last.
                    filters = quote(json.dumps(_FILTERS))
                    connection.request("GET", f"/events?since=1&filters={filters}")
                    response = connection.getresponse()
                    self._news.set()
                    before = _seconds(response.getheader("Date")) - _CLOCK_SECONDS
                    while line := response.readline():
                        event = json.loads(line)
                        if event["Type"] == _SERVICE or event["Action"] != "create":
                            self._news.set()
                        elif event["time"] >= before:
                            # Not an earlier run's, in a daemon that is reused.
                            self._created(event["Actor"]["ID"])
            self._news.set()
            time.sleep(_AGAIN_SECONDS)

    def _look(self) -> None:
        while True:
            self._news.wait()
            # Before the look: what happens during it counts again.
            self._news.clear()
            self._changed(published(self._list("/containers/json") or [], self._services()))

    def _services(self) -> list[Any]:
        """The services of the swarm that the daemon manages, if it manages one.

        Else it is not asked: it would log that as an error.
        """
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection = self._daemon.connection(_ANSWER_SECONDS)
            with contextlib.closing(connection):
                connection.request("GET", "/_ping")
                # From Docker 23 on.
                if connection.getresponse().getheader("Swarm") == _MANAGER:
                    return self._list("/services") or []
        return []

    def _list(self, what: str) -> list[Any] | None:
        """Ask the daemon for a list; None where it gives none."""
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
            found: list[Any] = self._daemon.ask("GET", what, timeout=_ANSWER_SECONDS)
            return found
        return None


def _seconds(date: str | None) -> float:
    """Return the seconds since 1970 of a date in the daemon's answers, by its own clock."""
    return parsedate_to_datetime(date).timestamp() if date else 0.0


def published(
    containers: Iterable[Mapping[str, Any]], services: Iterable[Mapping[str, Any]] = ()
) -> Published:
    """Return the ports that containers publish, and services by the routing mesh.

    Args:
        containers: The containers that run, as the engine lists them.
        services: The services of a swarm, likewise.
    """
    found: dict[Port, set[str]] = {}
    for container in containers:
        for one in container.get("Ports") or []:
            if one.get("PublicPort") and one.get("Type") in _PROTOCOLS:
                key = int(one["PublicPort"]), str(one["Type"])
                found.setdefault(key, set()).add(one.get("IP") or _EVERYWHERE)
    for service in services:
        for one in (service.get("Endpoint") or {}).get("Ports") or []:
            is_mesh = one.get("PublishMode", _MESH) == _MESH
            if is_mesh and one.get("PublishedPort") and one.get("Protocol") in _PROTOCOLS:
                key = int(one["PublishedPort"]), str(one["Protocol"])
                found.setdefault(key, set()).add(_EVERYWHERE)
    return {key: frozenset(hosts) for key, hosts in found.items()}
