"""Whether the addresses of an engine's containers are reached from this process, by proofs."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from . import own_container, sockets, tls

if TYPE_CHECKING:
    from .engine import Engine

_ROOTLESS = "name=rootless"


def elsewhere(engine: Engine) -> str:
    """Why an engine's network is not this process's, by its socket alone; empty where it may be.

    An address of a container there would be another machine's here, or nobody's.
    """
    if not engine.url.startswith("unix://") or engine.is_virtual:
        # What is told of these is in `Engine.unshared`.
        return ""
    if sockets.listens_here(engine.url.removeprefix("unix://")) is not False:
        return ""
    # A container of the engine has a network namespace of its own, but reaches those beside it.
    return "" if own_container.networks(engine) else "its network is not this process's"


def is_rootless(engine: Engine) -> bool:
    """Whether an engine runs without root, which has its containers in a network of its own."""
    return tells_rootless(engine.info())


def tells_rootless(info: Mapping[str, Any]) -> bool:
    """The same, by what the engine tells about itself."""
    return _ROOTLESS in (info.get("SecurityOptions") or [])


def apart(engine: Engine) -> str:
    """The same as `elsewhere`, also by what the engine tells about itself."""
    found = elsewhere(engine)
    if found or not engine.url.startswith("unix://") or engine.is_virtual:
        return found
    return "it is rootless, in a network of its own" if is_rootless(engine) else ""


def apart_from(engine: Engine, gateway: str) -> str:
    """The same, also by the gateway that its containers have in their network."""
    found = apart(engine)
    if found or not gateway or _is_own(gateway) or own_container.networks(engine):
        return found
    return f"the gateway {gateway} of its containers is none of this process's addresses"


def _is_own(address: str) -> bool:
    """Whether an address is one of this process's network namespace."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True


def publishes_here(engine: Engine) -> bool:
    """Whether what an engine with a socket here publishes is reached on loopback."""
    # Rootless Docker opens it here, though its containers are elsewhere.
    return not elsewhere(engine) or is_rootless(engine)


def needs_gate(engine: Engine) -> bool:
    """Whether neither a port of an engine leads to a daemon, for one that no directory leads to."""
    # What that publishes is reached here.
    return bool(apart(engine)) and not (is_rootless(engine) and tls.available())
