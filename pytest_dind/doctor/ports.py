"""The ports that nested containers publish: where tests reach them, and why not otherwise."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..backends import connection, subnets
from ..engine import reach
from ..forwarder import listeners
from ..forwarder.process import is_reached

if TYPE_CHECKING:
    from ..engine.engine import Engine
    from ..settings import Settings

_LOW_PORT = 1


@dataclass(frozen=True)
class Ports:
    """How tests on this machine reach published ports of nested containers.

    Attributes:
        forward: Whether they are to be opened on loopback, as `--dind-forward` has it.
        loopback: The addresses of this machine's loopback on which they can be opened.
        refused: Why they can't be opened on 127.0.0.1; empty where they can.
        low_refused: Why ports below 1024 can't be opened; empty where they can.
        detour: Why daemons are not reached at their own addresses; empty where they are, as far as
            is known without one.
        tools: The commands of the daemon's image of which a tunnel needs one; None: not tried.
        here: Whether what the engine itself publishes is reached on loopback, as in mode socket.
    """

    forward: bool
    loopback: tuple[str, ...]
    refused: str
    low_refused: str
    detour: str
    tools: tuple[str, ...] | None
    here: bool


def look(engine: Engine, settings: Settings, *, shares: bool | None, tools: str | None) -> Ports:
    """Find out how tests on this machine reach published ports.

    Args:
        engine: The outer engine.
        settings: The settings, of which `forward` matters.
        shares: Whether the engine's containers see this process's directories; None: not known.
        tools: The paths of the tools that the daemon's image has; None: not tried.
    """
    refusals = {host: _refusal(host) for host in listeners.LOOPBACKS}
    ipv4 = listeners.LOOPBACKS[0]
    low = _refused(ipv4, _LOW_PORT)
    gateway = subnets.nested(engine.client.api.networks(), gateway=None).gateway
    return Ports(
        forward=settings.forward != "off",
        loopback=tuple(host for host, why in refusals.items() if not why),
        refused=refusals[ipv4],
        low_refused=os.strerror(low) if low in (errno.EACCES, errno.EPERM) else "",
        detour=connection.detour(engine, gateway, shares=shares),
        tools=None if tools is None else tuple(Path(one).name for one in tools.split()),
        here=reach.publishes_here(engine),
    )


def _refusal(host: str) -> str:
    """Why no port can be opened on an address of loopback; empty where one can."""
    code = _refused(host, 0)
    if code:
        return os.strerror(code)
    # Without the interface a port can be opened, and is reached by nobody.
    return "" if is_reached(host) else "nothing gets through: the interface is down"


def _refused(host: str, port: int) -> int:
    """The error number with which a port can't be opened; 0 where it can."""
    try:
        listeners.bound(host, port, "tcp").close()
    except OSError as error:
        return error.errno or 0
    return 0
