"""What a daemon's own networks take from those of the outer engine: subnets, MTU, the gateway."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any

# One /16 for each level of nesting. Docker's own defaults are 172.17/16 to 172.31/16 and 192.168/16
# (moby, daemon/libnetwork/ipamutils); 10.88 is Podman's, 10.96 and 10.244 are Kubernetes'.
_LEVELS = [ip_network(f"10.{second}.0.0/16") for second in range(213, 229)]
DEFAULT = "bridge"
"""The name of the network that a container is in unless it is told another."""
MTU = "com.docker.network.driver.mtu"
_DEFAULT_MTU = 1500
# Of the networks between the nodes of a swarm: what their tunnels need is off the usual one.
_OVERLAY_MTU = 1450


@dataclass(frozen=True)
class Network:
    """What a daemon's own networks are made of.

    Attributes:
        level: The subnets that they take.
        mtu: The largest packet that the outer networks of the daemon's container carry.
        gateway: The address at which nested containers reach the test process; empty for none.
    """

    level: IPv4Network | IPv6Network
    mtu: int
    gateway: str = ""

    @property
    def overlays(self) -> str:
        """The subnet that the networks of a swarm of such daemons take theirs from.

        It is above the bridge's, and below those of the networks that each daemon has for itself.
        """
        return str([*self.level.subnets(prefixlen_diff=2)][1])

    def arguments(self) -> list[str]:
        """The arguments of dockerd: the lower half is its bridge's, the upper that of networks."""
        bridge, pool = self.level.subnets()
        found = [f"--bip={bridge[1]}/20", f"--default-address-pool=base={pool},size=24"]
        return found if self.mtu == _DEFAULT_MTU else [*found, f"--mtu={self.mtu}"]

    def recent_arguments(self) -> list[str]:
        """Those that an older dockerd does not know: it works without them."""
        gateway = [f"--host-gateway-ip={self.gateway}"] if self.gateway else []
        if self.mtu == _DEFAULT_MTU:
            return gateway
        return [*gateway, f"--default-network-opt=bridge={MTU}={self.mtu}"]


def nested(
    outer: Iterable[Mapping[str, Any]],
    joined: Sequence[str] = (DEFAULT,),
    gateway: str | None = "",
) -> Network:
    """The network for a daemon on an engine that has these networks (as its API lists them).

    Args:
        outer: The engine's networks.
        joined: The names of those that the daemon's container joins, the one it starts in first.
        gateway: The address of the test process; None where it is that of the engine's machine in
            the first network.
    """
    found = list(outer)
    taken: list[IPv4Network | IPv6Network] = []
    for network in found:
        for entry in _configuration(network):
            taken.append(ip_network(entry["Subnet"], strict=False))

    def is_free(level: IPv4Network | IPv6Network) -> bool:
        return not any(level.version == net.version and level.overlaps(net) for net in taken)

    # The level after the deepest one in sight, so that a daemon in a daemon avoids all above it.
    used = [index for index, level in enumerate(_LEVELS) if not is_free(level)]
    order = _LEVELS[(max(used) + 1 if used else 0) :] + _LEVELS
    level = next(filter(is_free, order), _LEVELS[0])
    by_name = {network.get("Name"): network for network in found}
    own = [by_name[name] for name in joined if name in by_name]
    if gateway is None:
        gateway = _gateway(own[0]) if own else ""
    return Network(level, min(map(_mtu, own), default=_DEFAULT_MTU), gateway)


def options(outer: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """The options of a further network on an engine: it carries what the default one does."""
    found = nested(outer).mtu
    return {} if found == _DEFAULT_MTU else {MTU: str(found)}


def _mtu(network: Mapping[str, Any]) -> int:
    """The largest packet that a network carries."""
    usual = _OVERLAY_MTU if network.get("Driver") == "overlay" else _DEFAULT_MTU
    return int((network.get("Options") or {}).get(MTU) or usual)


def _configuration(network: Mapping[str, Any]) -> list[Mapping[str, str]]:
    """The subnets of a network."""
    entries = (network.get("IPAM") or {}).get("Config") or []
    return [entry for entry in entries if entry.get("Subnet")]


def _gateway(network: Mapping[str, Any]) -> str:
    """The IPv4 address of the engine's machine in a network; the first one unless it is given."""
    for entry in _configuration(network):
        subnet = ip_network(entry["Subnet"], strict=False)
        if subnet.version == 4:
            return entry.get("Gateway") or str(subnet[1])
    return ""
