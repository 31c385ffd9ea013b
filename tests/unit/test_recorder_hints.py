"""What a failed test's report says of why a container failed."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_dind.recorder import hints


def _details(**facts: Any) -> dict[str, Any]:
    return {"Name": "/web", "Path": "sh", "Args": ["-c", "serve"], **facts}


def _in(*networks: str, name: str = "web") -> dict[str, Any]:
    return _details(Name=f"/{name}", NetworkSettings={"Networks": {key: {} for key in networks}})


@pytest.mark.parametrize(
    ("said", "facts", "told"),
    [
        ("exec /app: exec format error", {}, "An image is for another platform"),
        ("dd: '/data/f': No space left on device", {}, "A file system of the engine"),
        (
            "dd: '/data/f': No space left on device",
            {"HostConfig": {"Tmpfs": {"/data": "size=8m", "/other": ""}}},
            r"A tmpfs of the container is full: /data (size=8m).",
        ),
        (
            "dd: '/elsewhere': No space left on device",
            {"HostConfig": {"Tmpfs": {"/data": "size=8m"}}},
            "A file system of the engine",
        ),
        (
            "cat: read error: Is a directory",
            {"Mounts": [{"Type": "bind", "Source": "/a/config.yaml"}, {"Type": "volume"}]},
            "A file that the daemon does not have becomes an empty directory",
        ),
    ],
)
def test_known_cause(said: str, facts: Any, told: str) -> None:
    """A cause that a log tells of is named, with what the container has that bears on it."""
    (line,) = hints.of_container(said, _details(**facts))
    assert line.startswith(f"Known cause: {told}")


@pytest.mark.parametrize(
    ("said", "facts"),
    [
        ("assertion failed", {}),
        ("cat: read error: Is a directory", {}),
        ("this is a directory-service", {}),
    ],
)
def test_no_known_cause(said: str, facts: Any) -> None:
    """What tells of none gets none."""
    assert [*hints.of_container(said, _details(**facts))] == []


def test_daemons_log() -> None:
    """Failures in it have a cause; what it only warns of at its start has failed nothing."""
    failed = 'level=error msg="Handler for POST /start returned error: port is already allocated"'
    (line,) = hints.of_daemon(f'time="now" {failed}')
    assert line == "Known cause: A port that a container publishes is taken."
    assert [*hints.of_daemon('time="now" level=warning msg="iptables not found"')] == []


def test_setup() -> None:
    """What a container runs is told in a line, so is what checks its health, and its tmpfs."""
    details = _details(
        Args=["-c", "one\ntwo"],
        Config={"Healthcheck": {"Test": ["CMD-SHELL", "wget localhost:8080"]}},
        HostConfig={"Tmpfs": {"/data": "size=8m", "/run": ""}},
    )
    assert [*hints.of_setup(details)] == [
        r"It runs: sh -c one\ntwo",
        "Its health check runs: wget localhost:8080",
        "/data is a tmpfs (size=8m).",
        "/run is a tmpfs.",
    ]
    assert [*hints.of_setup({"Config": {"Healthcheck": {"Test": ["NONE"]}}})] == []


def test_waiting() -> None:
    """What Compose waits for is told by its label."""
    label = "db:service_healthy:false,queue:service_started:true"
    assert [*hints.of_waiting({"Config": {"Labels": {hints._DEPENDS_ON: label}}})] == [
        "Compose starts it after db (service_healthy).",
        "Compose starts it after queue (service_started).",
    ]
    assert [*hints.of_waiting({})] == []


def test_networks() -> None:
    """A container that the log names, and that shares no network, is told of; no other is."""
    others = [_in("back", name="api"), _in("front", name="db"), _in("back", name="unnamed"), {}]
    log = ["** server can't find api: NXDOMAIN", "db is there", "unnamed-2 is not"]
    assert [*hints.of_networks(log, _in("front"), others)] == [
        "Its log names 'api', which is in none of its networks (front) but in back."
    ]
