"""What a nested container can be waited for, and what can't be."""

from __future__ import annotations

import re
from typing import Any

import pytest

from pytest_dind import AddressUnreachable, SettingsError
from pytest_dind.daemon import waiting

_NOTHING: dict[str, Any] = {
    "healthy": False,
    "log": None,
    "port": None,
    "exited": None,
    "timeout": 60,
}


def _wanted(**given: Any) -> waiting.Wanted:
    return waiting.wanted(**{**_NOTHING, **given})


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"healthy": True}, "is healthy"),
        ({"log": "ready$"}, "has written 'ready$'"),
        ({"log": re.compile("x"), "exited": 0}, "has written 'x' and has ended with exit code 0"),
        ({"port": "80/tcp"}, "accepts connections on port 80/tcp"),
        (
            {"healthy": True, "port": 80},
            "is healthy and accepts connections on port 80/tcp",
        ),
    ],
)
def test_what_is_told(given: dict[str, Any], told: str) -> None:
    """What is waited for is told in the words of its arguments."""
    assert str(_wanted(**given)) == told


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({}, "there is nothing to wait for"),
        ({"log": "("}, r"log='\(' is not a regular expression"),
        ({"log": b"x"}, "log=b'x' is not a valid value"),
        ({"log": re.compile(b"x")}, "is not a valid value"),
        ({"healthy": "yes"}, "healthy='yes' is not a valid value"),
        ({"port": "53/udp"}, "port='53/udp' is not a valid value"),
        ({"port": True}, "port=True is not a valid value"),
        ({"exited": True}, "exited=True is not a valid value"),
        ({"exited": "0"}, "exited='0' is not a valid value"),
        ({"port": 80, "timeout": "60"}, "timeout='60' is not a valid value"),
        ({"healthy": True, "exited": 0}, "a container never is healthy and has ended"),
        ({"port": 80, "exited": 0}, "a container never accepts connections"),
    ],
)
def test_what_is_refused(given: dict[str, Any], text: str) -> None:
    """An argument that is none, and what can never come true, is an error before any wait."""
    with pytest.raises(SettingsError, match=text):
        _wanted(**given)


def test_port_that_is_none() -> None:
    """A port that is none is the error of `Daemon.address`."""
    with pytest.raises(AddressUnreachable, match="is not a port"):
        _wanted(port=70000)


def test_listening_sockets() -> None:
    """A port is listened on where a socket of either kind of address does, and no other one."""
    head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n"
    tables = (
        f"{head}   0: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000\n"
        f"   1: 0100007F:1F90 0100007F:0051 01 00000000:00000000 00:00000000 00000000\n"
        f"{head}   0: 00000000000000000000000000000000:1538 00000000:0000 0A 0:0 0:0 0\n"
    )
    found = {port for port in (80, 81, 5432, 8080) if waiting.is_listened_on(tables, port)}
    assert found == {80, 5432}
