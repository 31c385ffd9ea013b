"""Hostile and malformed requests: each gets its answer, and nothing happens on the engine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from conftest import NESTED_IMAGE

from .guarded import ENGINE, Crowd, Guarded, guarded, left_of
from .hostile import ALL, Hostile

# The crowd, and the guard, take seconds to make: one worker has all that use them.
pytestmark = pytest.mark.xdist_group("guard_hostile")


@pytest.fixture(scope="module")
def guard(crowd: Crowd) -> Iterator[Guarded]:
    """A guard, with a container of its own, and a link out of the project's root."""
    with guarded() as made:
        (made.root / "link").symlink_to("/etc")
        made.client.containers.run(NESTED_IMAGE, ["sleep", "100000"], name=made.run, detach=True)
        yield made


def _filled(text: str, guard: Guarded, crowd: Crowd) -> str:
    for key, value in {
        "container": crowd.container.name,
        "running": crowd.container.id,
        "prefix": str(crowd.container.id)[:20],
        "exec": crowd.exec,
        "network": crowd.network.name,
        "volume": crowd.volume.name,
        "image": crowd.image,
        "host": {name: number for number, name in crowd.before["built-in"]}["host"],
        "mark": f"{crowd.mark}-made",
        "root": str(guard.root),
        "own": guard.run,
    }.items():
        text = text.replace(f"{{{key}}}", str(value))
    return text


def _sent(hostile: Hostile, guard: Guarded, crowd: Crowd) -> bytes:
    """The bytes, with names filled in, and the length that the body then has."""
    head, end, body = hostile.raw.partition(b"\r\n\r\n")
    filled = _filled(body.decode("latin-1"), guard, crowd).encode("latin-1")
    text = _filled(head.decode("latin-1"), guard, crowd)
    if len(filled) != len(body):
        text = text.replace(f"Content-Length: {len(body)}", f"Content-Length: {len(filled)}")
    return text.encode("latin-1") + end + filled


def _ours(guard: Guarded, crowd: Crowd) -> list[Any]:
    return sorted(str(item.get("Id") or item["Name"]) for item in left_of(crowd.client, guard))


def test_there_are_many() -> None:
    """There are at least 100 of them, each with a name of its own."""
    assert len({hostile.name for hostile in ALL}) == len(ALL) >= 100


@pytest.mark.parametrize("hostile", ALL, ids=lambda hostile: hostile.name.replace(" ", "-"))
def test_hostile_request(hostile: Hostile, guard: Guarded, crowd: Crowd) -> None:
    """It gets the answer it must get, and on the engine everything is as it was."""
    before = _ours(guard, crowd)
    status, body = guard.send(_sent(hostile, guard, crowd))

    assert status == hostile.status, body
    message = body["message"] if isinstance(body, dict) and "message" in body else str(body)
    assert _filled(hostile.says, guard, crowd) in message
    crowd.assert_untouched()
    assert _ours(guard, crowd) == before


def test_list_on_the_bare_engine(crowd: Crowd) -> None:
    """The engine itself would do what the guard refuses: the list tests the guard, not it."""
    import socket

    from .guarded import answer, request

    body = {"Image": NESTED_IMAGE, "hostconfig": {"Privileged": True}}
    name = f"{crowd.mark}-bare"
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(ENGINE)
        connection.sendall(
            request("POST", f"/containers/create?name={name}", body, ["Connection: close"])
        )
        status, made = answer(connection)
    try:
        assert status == 201
        assert crowd.client.api.inspect_container(made["Id"])["HostConfig"]["Privileged"] is True
    finally:
        crowd.client.api.remove_container(name)
