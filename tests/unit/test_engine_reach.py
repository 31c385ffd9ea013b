"""Whether the addresses of an engine's containers are reached from here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from pytest_dind.engine import own_container, reach, sockets, tls
from pytest_dind.engine.engine import Engine

from ..support import Answer, FakeEngine

_ELSEWHERE = "its network is not this process's"
_ROOTLESS = "it is rootless, in a network of its own"


@pytest.fixture
def info() -> dict[str, Any]:
    """What the engine tells about itself."""
    return {"SecurityOptions": ["name=seccomp,profile=default"]}


@pytest.fixture
def engine(short_path: Path, info: Mapping[str, Any]) -> Iterator[Engine]:
    """An engine with a socket here."""
    answers: dict[str, Any] = {"GET /info": lambda: Answer(body=dict(info))}
    with FakeEngine(short_path / "s", answers) as fake:
        engine = Engine(fake.host)
        yield engine
        engine.close()


def _details(gateway: str) -> dict[str, Any]:
    network = {"IPAddress": "172.17.0.2", "Gateway": gateway}
    return {"NetworkSettings": {"Networks": {"bridge": network}}}


def test_here(engine: Engine) -> None:
    """An engine whose server listens here has its containers here, by all that is looked at."""
    assert reach.apart(engine) == ""
    assert not reach.needs_gate(engine)
    assert reach.apart_from(engine, "127.0.0.1") == ""
    # A network without a gateway, such as an internal one, tells nothing.
    assert reach.apart_from(engine, "") == ""


def test_gateway_of_another(engine: Engine) -> None:
    """A gateway that this process doesn't have shows what the socket doesn't."""
    cause = "the gateway 192.0.2.1 of its containers is none of this process's addresses"
    assert reach.apart_from(engine, "192.0.2.1") == cause


def test_elsewhere(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine whose server listens in another namespace is apart, certificates or not."""
    monkeypatch.setattr(sockets, "listens_here", lambda path: False)
    monkeypatch.setattr(tls, "available", lambda: True)

    assert reach.apart(engine) == _ELSEWHERE
    assert reach.apart_from(engine, "127.0.0.1") == _ELSEWHERE
    assert reach.needs_gate(engine)


def test_what_it_publishes(
    engine: Engine, info: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A port that it publishes is here where it is, and where it runs without root."""
    assert reach.publishes_here(engine)
    monkeypatch.setattr(sockets, "listens_here", lambda path: False)
    assert not reach.publishes_here(engine)
    engine.keep_info({"SecurityOptions": ["name=rootless"]})
    assert reach.publishes_here(engine)


def test_unknown(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the system does not tell is no proof."""
    monkeypatch.setattr(sockets, "listens_here", lambda path: None)

    assert reach.apart(engine) == ""


def test_in_its_container(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process in a container of the engine reaches the containers beside it."""
    monkeypatch.setattr(sockets, "listens_here", lambda path: False)
    details = {"Id": "0123", **_details("172.17.0.1")}
    monkeypatch.setattr(own_container, "find", lambda engine: details)

    assert reach.apart(engine) == ""
    assert reach.apart_from(engine, "192.0.2.1") == ""


def test_engine_of_its_container(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """From its container a process reaches the engine's machine at the network's gateway."""
    details = {"Id": "0123", **_details("172.17.0.1")}
    monkeypatch.setattr(own_container, "find", lambda engine: details)
    monkeypatch.setattr(own_container, "is_contained", lambda: True)
    assert own_container.gateway(engine) == "172.17.0.1"

    monkeypatch.setattr(own_container, "is_contained", lambda: False)
    assert own_container.gateway(engine) == ""


@pytest.mark.parametrize("certified", [True, False])
def test_rootless(
    engine: Engine, info: dict[str, Any], monkeypatch: pytest.MonkeyPatch, certified: bool
) -> None:
    """Rootless Docker has its containers elsewhere, but publishes ports here."""
    info["SecurityOptions"].append("name=rootless")
    monkeypatch.setattr(tls, "available", lambda: certified)

    assert reach.apart(engine) == _ROOTLESS
    assert reach.needs_gate(engine) == (not certified)


@pytest.mark.parametrize(
    "url", ["tcp://x:2376", "ssh://me@x", "unix:///home/me/.docker/desktop/docker.sock"]
)
def test_another_machine(url: str) -> None:
    """An engine on another machine, or in a virtual one, is not asked: its URL tells enough."""
    assert reach.apart(Engine(url)) == ""
