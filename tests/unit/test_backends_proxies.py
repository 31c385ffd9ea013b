"""The proxies of a daemon: whose they are, and what is done with those on loopback."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from contextlib import closing

import pytest

from pytest_dind import Settings
from pytest_dind.backends import environment, subnets
from pytest_dind.backends.proxies import Surroundings

_ENGINE = {"HttpProxy": "http://e:1", "HttpsProxy": "http://e:2", "NoProxy": "e.example"}
_PROCESS = {"HTTP_PROXY": "http://p:1", "https_proxy": "http://p:2", "no_proxy": "p.example, q"}
_OURS = "localhost,127.0.0.0/8,::1,host.docker.internal,10.213.0.0/16,main,registry"


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxies of this machine."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def _variables(
    info: Mapping[str, str] | None = None,
    process: Mapping[str, str] | None = None,
    env: tuple[str, ...] = (),
    gateway: str = "",
    told: list[str] | None = None,
) -> dict[str, str]:
    around = Surroundings(
        info or {}, process or {}, subnets.nested([], gateway=gateway), ["main", "registry"]
    )
    progress = [] if told is None else told
    return environment.variables(Settings(env=env), around, progress.append)


def _both(**proxies: str) -> dict[str, str]:
    return proxies | {name.lower(): value for name, value in proxies.items()}


def test_none() -> None:
    """Without a proxy anywhere there is nothing to set."""
    assert _variables({"HttpProxy": "", "NoProxy": "x"}, {"NO_PROXY": "x"}) == {}


def test_of_the_engine() -> None:
    """The outer engine's proxies come first, as a whole."""
    assert _variables(_ENGINE, _PROCESS) == _both(
        HTTP_PROXY="http://e:1", HTTPS_PROXY="http://e:2", NO_PROXY=f"e.example,{_OURS}"
    )
    assert "HTTPS_PROXY" not in _variables({"HttpProxy": "http://e:1"}, _PROCESS)


def test_of_the_process() -> None:
    """Else those of the test process are taken, in capitals or small letters."""
    assert _variables({}, _PROCESS) == _both(
        HTTP_PROXY="http://p:1", HTTPS_PROXY="http://p:2", NO_PROXY=f"p.example,q,{_OURS}"
    )


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy"])
def test_given(name: str) -> None:
    """The setting `env` wins over the rule, whichever letters it has."""
    found = _variables(_ENGINE, env=(f"{name}=http://g:1", "OTHER=x=y"))

    assert found[name] == "http://g:1"
    assert found["OTHER"] == "x=y"
    assert found["HTTPS_PROXY"] == "http://e:2"
    assert "http://e:1" not in found.values()
    assert found["NO_PROXY"].endswith(_OURS)


def test_given_alone() -> None:
    """A given proxy alone gets the run's own exceptions; a given NO_PROXY stays as it is."""
    assert _variables(env=("HTTP_PROXY=http://g:1",))["NO_PROXY"] == _OURS
    assert _variables(_ENGINE, env=("NO_PROXY=x",))["NO_PROXY"] == "x"
    assert _variables({"HttpProxy": "http://e:1"}, env=("HTTP_PROXY=",)) == {"HTTP_PROXY": ""}


def test_given_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name alone is the process's own variable, if it has that."""
    monkeypatch.setenv("MINE", "value")
    monkeypatch.delenv("NOT_MINE", raising=False)

    assert _variables(env=("MINE", "NOT_MINE")) == {"MINE": "value"}


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:9",
        "127.0.0.1:9",
        "http://localhost:9",
        "http://[::1]:9",
        "http://me:secret@localhost:9",
        "http://localhost:port",
        "http://localhost",
    ],
)
@pytest.mark.parametrize("gateway", ["", "127.0.0.1", "192.0.2.1"])
def test_loopback(url: str, gateway: str) -> None:
    """A proxy on loopback that containers don't reach is left out, which is told in one line."""
    told: list[str] = []
    assert _variables({}, {"HTTP_PROXY": url}, gateway=gateway, told=told) == {}
    assert len(told) == 1
    assert "HTTP_PROXY of this process's environment" in told[0]
    assert "--dind-env HTTP_PROXY=URL" in told[0]
    assert "secret" not in told[0]


@pytest.fixture
def proxy() -> Iterator[int]:
    """The port of a proxy that listens on all of this machine's addresses."""
    with closing(socket.create_server(("", 0))) as server:
        yield server.getsockname()[1]


def test_loopback_of_all_addresses(proxy: int) -> None:
    """One that listens on the address that containers have of the machine is reached there."""
    found = _variables({"HttpProxy": f"http://me:pw@localhost:{proxy}/"}, gateway="127.0.0.2")

    assert found["HTTP_PROXY"] == f"http://me:pw@127.0.0.2:{proxy}/"


def test_masked() -> None:
    """A password that the engine keeps to itself is the process's, for the same proxy."""
    info = {"HttpProxy": "http://xxxxx:xxxxx@e:1"}
    told: list[str] = []

    found = _variables(info, {"HTTP_PROXY": "http://me:pw@e:1"})
    assert found["HTTP_PROXY"] == "http://me:pw@e:1"
    assert _variables(info, {"HTTP_PROXY": "http://me:pw@e:2"}, told=told) == {}
    assert "the engine does not tell its password" in told[0]


def test_nonsense() -> None:
    """What is no URL is dockerd's to refuse."""
    assert _variables({"HttpProxy": "http://[x"})["HTTP_PROXY"] == "http://[x"
