"""What a forwarder's process is told by whoever starts it."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from .endpoint import Endpoint


class ForwarderConfig(NamedTuple):
    """The configuration of one forwarder.

    Attributes:
        home: The daemon's home.
        daemon: The daemon.
        address: The address of the daemon's container; empty where that isn't reached from here.
        engine: The outer engine.
        container: The id of the daemon's container.
    """

    home: str
    daemon: Endpoint
    address: str
    engine: Endpoint
    container: str

    def dump(self) -> str:
        """Return the text from which `load` makes the same."""
        return json.dumps(self)


def load(text: str) -> ForwarderConfig:
    """Return the configuration that `dump` made this text of."""
    values: list[Any] = json.loads(text)
    home, daemon, address, engine, container = values
    return ForwarderConfig(home, Endpoint(*daemon), address, Endpoint(*engine), container)
