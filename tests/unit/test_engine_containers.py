"""Containers of the outer engine: created in place of others, uninterrupted; and their address."""

from __future__ import annotations

import contextlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from docker.errors import APIError
from requests import Response

from pytest_dind.backends import dind
from pytest_dind.engine import containers
from pytest_dind.engine.containers import create_in_place_of
from pytest_dind.engine.engine import Engine
from pytest_dind.lifetime.layout import Home

from ..support import Answer, FakeEngine, Reply


def _refusal(status: int) -> APIError:
    response = Response()
    response.status_code = status
    return APIError("refused", response=response)


@pytest.mark.parametrize("removes", [[204], [404, 404, 204]])
def test_name_that_is_taken(short_path: Path, removes: list[int]) -> None:
    """A container of the same name is removed, also while the engine is still making it."""
    taken = True
    tries = iter(removes)

    def remove() -> Answer:
        nonlocal taken
        status = next(tries)
        taken = status != 204
        return Answer(status, {"message": ""})

    made: list[bool] = []

    def create() -> None:
        if taken:
            raise _refusal(409)
        made.append(True)

    home = Home(short_path / "run" / "main")
    answers: dict[str, Reply] = {
        "GET /version": Answer(body={"ApiVersion": "1.41"}),
        "GET /volumes": Answer(body={"Volumes": None}),
        f"DELETE /containers/{home.label}": remove,
    }
    with (
        FakeEngine(short_path / "e.sock", answers) as fake,
        contextlib.closing(Engine(fake.host)) as engine,
    ):
        backend = dind.make(engine)
        create_in_place_of(lambda: backend.stop(home), create)

    assert made == [True]
    assert not list(tries)


@pytest.mark.parametrize("status", [400, 404, 409, 500])
def test_refused(monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    """An engine that refuses for another cause, or for good, is not asked for ever."""
    monkeypatch.setattr(containers, "_LATE_SECONDS", 0)

    def create() -> None:
        raise _refusal(status)

    with pytest.raises(APIError):
        create_in_place_of(lambda: None, create)


@pytest.mark.parametrize(
    ("networks", "expected"),
    [
        ({"bridge": {"IPAddress": "172.17.0.2"}}, "172.17.0.2"),
        ({"empty": {"IPAddress": ""}, "other": {"IPAddress": "10.0.0.2"}}, "10.0.0.2"),
        ({}, ""),
    ],
)
def test_address(networks: dict[str, Any], expected: str) -> None:
    """The container's address is read per network: newer engines have no other."""
    assert containers.address({"NetworkSettings": {"Networks": networks}}) == expected


def test_uninterrupted() -> None:
    """A call gives its result, and its error, as if it were made directly."""
    assert containers.uninterrupted(lambda: 1) == 1
    with pytest.raises(ZeroDivisionError):
        containers.uninterrupted(lambda: 1 // 0)


def test_container_that_ends_while_it_is_removed(short_path: Path) -> None:
    """Podman refuses to remove a container that ends just then; it is asked again."""
    answers = iter([500, 500, 204])
    said = {"message": "cannot remove container 1: sending SIGKILL: container state improper"}
    known: dict[str, Reply] = {
        "DELETE /containers/one": lambda: Answer(next(answers), said),
        "DELETE /containers/two": Answer(500, {"message": "the disk is on fire"}),
    }
    with (
        FakeEngine(short_path / "e.sock", known) as fake,
        contextlib.closing(Engine(fake.host)) as engine,
    ):
        containers.remove(engine.client.api, "one")
        assert next(answers, None) is None
        with pytest.raises(APIError, match="on fire"):
            containers.remove(engine.client.api, "two")


@pytest.mark.parametrize(
    ("answers", "asked"),
    [
        ({"http://e/libpod/_ping": 200}, ["kill", "remove"]),
        ({"http://e/libpod/_ping": 404}, ["remove"]),
        ({"http://e/libpod/_ping": 403}, ["remove"]),
    ],
)
def test_removal_by_force(answers: dict[str, int], asked: list[str]) -> None:
    """Podman would wait ten seconds for the container's end, and so it is killed there first."""
    done: list[str] = []
    api: Any = SimpleNamespace(
        base_url="http://e",
        _get=lambda url: SimpleNamespace(status_code=answers[url]),
        kill=lambda name: done.append("kill"),
        remove_container=lambda name, force, v: done.append("remove"),
    )
    containers.remove(api, "one")
    assert done == asked
