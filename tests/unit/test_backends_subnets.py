"""The layout of a daemon's networks."""

from __future__ import annotations

from ipaddress import ip_interface, ip_network
from typing import Any

import pytest

from pytest_dind.backends.subnets import Network, nested, options

_DOCKERS_OWN = "172.17.0.0/16"


def _outer(*subnets: str, mtu: str | None = None) -> list[dict[str, Any]]:
    """Networks as the API lists them, the first of them the default bridge."""
    found = [
        {
            "Name": f"net{index}" if index else "bridge",
            "IPAM": {"Config": [{"Subnet": subnet, "Gateway": f"gateway {index}"}]},
            "Options": {"com.docker.network.driver.mtu": mtu} if mtu and not index else {},
        }
        for index, subnet in enumerate(subnets)
    ]
    return [*found, {"Name": "host", "IPAM": {"Config": None}}, {"Name": "none", "IPAM": {}}]


def _subnets(network: Network) -> list[Any]:
    """The subnets that the arguments give to the daemon."""
    bip, pool = network.arguments()[:2]
    return [
        ip_interface(bip.removeprefix("--bip=")).network,
        ip_network(pool.removeprefix("--default-address-pool=base=").removesuffix(",size=24")),
    ]


@pytest.mark.parametrize(
    "taken",
    [
        [_DOCKERS_OWN],
        [_DOCKERS_OWN, "10.213.0.0/16"],
        [_DOCKERS_OWN, "10.213.128.0/24", "10.215.7.0/24"],
        [_DOCKERS_OWN, "fd00::/64", "192.168.0.0/20"],
    ],
)
def test_no_overlap_with_outer_networks(taken: list[str]) -> None:
    """The daemon's bridge and its pool overlap neither an outer network nor each other."""
    bridge, pool = _subnets(nested(_outer(*taken)))

    assert not bridge.overlaps(pool)
    for subnet in map(ip_network, taken):
        assert subnet.version != 4 or not bridge.overlaps(subnet)
        assert subnet.version != 4 or not pool.overlaps(subnet)


def test_levels_of_nesting() -> None:
    """A daemon in a daemon in a daemon avoids the networks of all levels above it."""
    seen = [ip_network(_DOCKERS_OWN)]
    outer = _outer(_DOCKERS_OWN)
    for _ in range(5):
        found = _subnets(nested(outer))
        assert not [(new, old) for new in found for old in seen if new.overlaps(old)]
        seen += found
        # What the next engine lists is its own networks alone.
        outer = _outer(*map(str, found))


def test_all_levels_taken() -> None:
    """Where every level is taken there still is a layout: dockerd is the one to complain."""
    assert nested(_outer("10.0.0.0/8")).arguments()


def test_mtu_is_passed_on() -> None:
    """The outer bridge's MTU is the daemon's; the usual one needs no argument."""
    assert "--mtu=1400" in nested(_outer(_DOCKERS_OWN, mtu="1400")).arguments()
    for usual in (None, "1500"):
        arguments = nested(_outer(_DOCKERS_OWN, mtu=usual)).arguments()
        assert not [argument for argument in arguments if "mtu" in argument]


def test_mtu_of_all_networks() -> None:
    """The least that the outer networks of the container carry holds for all nested networks."""
    outer = [
        *_outer(_DOCKERS_OWN, mtu="1480"),
        {"Name": "ci", "Driver": "bridge", "Options": {"com.docker.network.driver.mtu": "1400"}},
        {"Name": "swarm", "Driver": "overlay", "Options": {}},
        {"Name": "big", "Driver": "bridge", "Options": {"com.docker.network.driver.mtu": "9000"}},
    ]
    joined = {
        ("bridge",): 1480,
        ("bridge", "ci"): 1400,
        ("swarm",): 1450,
        ("bridge", "swarm"): 1450,
        ("bridge", "big"): 1480,
        ("big",): 9000,
        ("missing",): 1500,
    }
    for names, mtu in joined.items():
        network = nested(outer, names)
        option = f"--default-network-opt=bridge=com.docker.network.driver.mtu={mtu}"
        assert (f"--mtu={mtu}" in network.arguments()) == (mtu != 1500)
        assert (option in network.recent_arguments()) == (mtu != 1500)


def test_options_of_further_networks() -> None:
    """The run's own network on the outer engine carries what the engine's default one does."""
    assert options(_outer(_DOCKERS_OWN)) == {}
    assert options(_outer(_DOCKERS_OWN, mtu="1400")) == {"com.docker.network.driver.mtu": "1400"}


@pytest.mark.parametrize(
    ("entries", "gateway"),
    [
        ([{"Subnet": "172.17.0.0/16", "Gateway": "172.17.0.9"}], "172.17.0.9"),
        ([{"Subnet": "172.17.0.0/16"}], "172.17.0.1"),
        ([{"Subnet": "fd00::/64"}, {"Subnet": "172.17.0.0/16"}], "172.17.0.1"),
        ([{"Subnet": "fd00::/64"}], ""),
        ([], ""),
    ],
)
def test_gateway(entries: list[dict[str, str]], gateway: str) -> None:
    """The engine's machine is the gateway of the network: the first address where none is told."""
    outer = [{"Name": "bridge", "IPAM": {"Config": entries}}]
    arguments = [f"--host-gateway-ip={gateway}"] if gateway else []

    assert nested(outer, gateway=None).recent_arguments() == arguments
    assert nested(outer, gateway="").recent_arguments() == []
    assert nested(outer, gateway="10.1.2.3").recent_arguments() == ["--host-gateway-ip=10.1.2.3"]


def test_pool_is_on_its_own_base() -> None:
    """The arguments are such as dockerd takes: a host's address for the bridge, a network's base.

    dockerd refuses a `--bip` that is the network's own address.
    """
    bip = ip_interface(nested([]).arguments()[0].removeprefix("--bip="))

    assert bip.ip != bip.network.network_address
