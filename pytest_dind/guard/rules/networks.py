"""The rules for networks, and for the connection of containers to them."""

from __future__ import annotations

from typing import Any

from ..http.refusal import forbidden
from .body import Json, anything, each, fields, flag, mapping, text, texts
from .policy import Policy

BUILT_IN = ("bridge", "none", "host")
"""The networks that every engine has, which all may inspect."""
USABLE = ("bridge", "none")
"""Those of the built-in networks that a container may be connected to."""

_DRIVERS = ("", "bridge")
# The other options name interfaces of the host, which the engine would take over.
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
    """Check the body that creates a network.

    Raises:
        Refusal: a field is not allowed.
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
        # A network of swarm, or one of another network's settings, which may not be the run's.
        if found.get("Ingress") or found.get("Scope", "") not in ("", "local"):
            raise forbidden("a network of swarm's")
        if found.get("ConfigOnly") or found.get("ConfigFrom"):
            raise forbidden("a network that takes or gives another's settings")
        # Without it, older engines create a second network of a name that is in use.
        found["CheckDuplicate"] = True
    if found.get("IPAM") is not None:
        found["IPAM"] = ipam
    return found


def endpoint(where: str, found: Any, policy: Policy) -> Json:
    """Check the settings of a container's connection to a network.

    Fields that an engine reports about a running container are left out. The engine prefers the
    network's id among them to its name, so a client could name one network and mean another.

    Raises:
        Refusal: a field is not allowed.
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
