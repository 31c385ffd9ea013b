"""What a network may be, and how a container may be on one."""

from __future__ import annotations

from typing import Any

from ..http.refusal import forbidden
from .body import Json, anything, each, fields, flag, mapping, text, texts
from .policy import Policy

BUILT_IN = ("bridge", "none", "host")
"""The networks that every engine has: everybody's to read."""
USABLE = ("bridge", "none")
"""Of these, the ones a container may be on."""

_DRIVERS = ("", "bridge")
# The others name interfaces of the host, which the engine would then take over.
_OPTIONS = {
    "com.docker.network.bridge.enable_icc",
    "com.docker.network.bridge.enable_ip_masquerade",
    "com.docker.network.bridge.gateway_mode_ipv4",
    "com.docker.network.bridge.gateway_mode_ipv6",
    "com.docker.network.bridge.host_binding_ipv4",
    "com.docker.network.container_iface_prefix",
    "com.docker.network.driver.mtu",
    "com.docker.network.enable_ipv4",
    "com.docker.network.enable_ipv6",
}


def create(body: Json, policy: Policy) -> Json:
    """The body that makes a network.

    Raises:
        Refusal: a field is not to be had.
    """
    known = {
        **each(text, "Name Driver Scope"),
        **each(flag, "Internal Attachable Ingress ConfigOnly EnableIPv6 CheckDuplicate"),
        **each(anything, "EnableIPv4 IPAM ConfigFrom"),
        **each(mapping, "Options Labels"),
    }
    found = fields("", body, known, policy.unknown)
    driver = found.get("Driver", "")
    if driver not in _DRIVERS:
        policy.demand(f"network-driver:{driver}", f"the network driver {driver}")
    for option in found.get("Options", {}):
        if option not in _OPTIONS:
            policy.demand(f"network-option:{option}", f"the network option {option}")
    ipam = fields(
        "IPAM",
        found.get("IPAM"),
        {"Driver": text, "Config": anything, "Options": mapping},
        policy.unknown,
    )
    if ipam.get("Driver", "") not in ("", "default"):
        policy.demand(f"network-driver:{ipam['Driver']}", f"the IPAM driver {ipam['Driver']}")
    if policy.own:
        # A network of swarm's, or one made of another network's settings, whoever's it is.
        if found.get("Ingress") or found.get("Scope", "") not in ("", "local"):
            raise forbidden("a network of swarm's")
        if found.get("ConfigOnly") or found.get("ConfigFrom"):
            raise forbidden("a network that takes or gives another's settings")
        # Older engines else make a second network of a name that somebody's network has.
        found["CheckDuplicate"] = True
    if found.get("IPAM") is not None:
        found["IPAM"] = ipam
    return found


def endpoint(where: str, found: Any, policy: Policy) -> Json:
    """How a container is on a network.

    What an engine reports there about a running container is left out. It prefers the id in it to
    the network's name, so a client could name one network and mean another.

    Raises:
        Refusal: a field is not to be had.
    """
    reported = each(anything, _REPORTED)
    known = {
        **each(anything, "IPAMConfig GwPriority"),
        **each(texts, "Links Aliases DNSNames"),
        "MacAddress": text,
        "DriverOpts": mapping,
        **reported,
    }
    kept = fields(where, found, known, policy.unknown)
    return {key: value for key, value in kept.items() if key not in reported}


_REPORTED = (
    "NetworkID EndpointID Gateway IPAddress IPPrefixLen IPv6Gateway GlobalIPv6Address "
    "GlobalIPv6PrefixLen"
)
