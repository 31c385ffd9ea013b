"""Subnets for a daemon's bridges that collide with none of the outer engine's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any

# One /16 for each level of nesting. Docker's own defaults are 172.17/16 to 172.31/16 and 192.168/16
# (moby, daemon/libnetwork/ipamutils); 10.88 is Podman's, 10.96 and 10.244 are Kubernetes'.
_LEVELS = [ip_network(f"10.{second}.0.0/16") for second in range(213, 229)]
_MTU = "com.docker.network.driver.mtu"
_DEFAULT_MTU = 1500


@dataclass(frozen=True)
class Network:
    """The subnets and the MTU of a daemon's own networks."""

    level: IPv4Network | IPv6Network
    mtu: int

    def arguments(self) -> list[str]:
        """The arguments of dockerd: the lower half is its bridge's, the upper that of networks."""
        bridge, pool = self.level.subnets()
        found = [f"--bip={bridge[1]}/20", f"--default-address-pool=base={pool},size=24"]
        return found if self.mtu == _DEFAULT_MTU else [*found, f"--mtu={self.mtu}"]


def nested(outer: Iterable[Mapping[str, Any]]) -> Network:
    """The subnets for a daemon on an engine that has these networks (as its API lists them)."""
    taken: list[IPv4Network | IPv6Network] = []
    mtu = _DEFAULT_MTU
    for network in outer:
        for entry in (network.get("IPAM") or {}).get("Config") or []:
            if entry.get("Subnet"):
                taken.append(ip_network(entry["Subnet"], strict=False))
        if network.get("Name") == "bridge":
            mtu = int((network.get("Options") or {}).get(_MTU) or _DEFAULT_MTU)

    def is_free(level: IPv4Network | IPv6Network) -> bool:
        return not any(level.version == net.version and level.overlaps(net) for net in taken)

    # The level after the deepest one in sight, so that a daemon in a daemon avoids all above it.
    used = [index for index, level in enumerate(_LEVELS) if not is_free(level)]
    order = _LEVELS[(max(used) + 1 if used else 0) :] + _LEVELS
    return Network(next(filter(is_free, order), _LEVELS[0]), mtu)


def gateway(outer: Iterable[Mapping[str, Any]]) -> str:
    """The address that containers of an engine's default bridge reach its machine at, if known."""
    for network in outer:
        if network.get("Name") == "bridge":
            for entry in (network.get("IPAM") or {}).get("Config") or []:
                if entry.get("Gateway"):
                    return str(entry["Gateway"])
    return ""
