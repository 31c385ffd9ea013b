"""A factory: its network on each engine, and its end."""

from __future__ import annotations

import contextlib
from http import HTTPStatus
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import requests
from docker.errors import APIError, NotFound

from pytest_dind import DindError, Settings, SettingsError
from pytest_dind.backends import names
from pytest_dind.lifetime import labels, layout
from pytest_dind.runs.ending import Patience
from pytest_dind.runs.factory import Factory


def test_daemon_that_cannot_be_removed(tmp_path: Path) -> None:
    """A daemon that can't be removed keeps the factory's run from nothing but saying so."""
    ended: list[str] = []

    def fail() -> None:
        raise ConnectionError("the engine is gone")

    run: Any = SimpleNamespace(
        path=tmp_path,
        patience=Patience(),
        daemons=[SimpleNamespace(stop=fail)],
        close=lambda: ended.append("the run"),
    )
    factory = Factory(cast(Any, run), Settings(), lambda settings: contextlib.nullcontext())
    with pytest.raises(ConnectionError):
        factory.close()
    assert ended == ["the run"]


class _Networks:
    """An engine's networks, by name, and what is connected to them."""

    def __init__(self) -> None:
        self.made: dict[str, dict[str, Any]] = {}
        self.connected: list[str] = []

    def create_network(self, name: str, *, labels: dict[str, str], **how: Any) -> None:
        if name in self.made:
            raise self._error(HTTPStatus.CONFLICT, f"network with name {name} already exists")
        self.made[name] = {"Labels": labels, "Options": how["options"]}

    def networks(self) -> list[dict[str, Any]]:
        return [{"Name": "bridge", "Options": {"com.docker.network.driver.mtu": "1400"}}]

    def inspect_network(self, name: str) -> dict[str, Any]:
        return self.made[name]

    def connect_container_to_network(self, container: str, name: str, **how: Any) -> None:
        self.connected.append(container)

    def remove_network(self, name: str) -> None:
        if self.made.pop(name, None) is None:
            raise NotFound("no such network")

    def _error(self, status: int, text: str) -> APIError:
        response = requests.Response()
        response.status_code = status
        return APIError(text, response, text)


@pytest.fixture(autouse=True)
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The daemons whose nested containers are let know the names."""
    found: list[str] = []
    monkeypatch.setattr(names, "tell", lambda engine, daemon, progress: found.append(daemon))
    return found


def _factory(run: Path, networks: _Networks) -> Factory:
    """A factory for which each URL leads to the one engine with these networks."""
    engines = {
        host: SimpleNamespace(
            url=host, client=SimpleNamespace(api=networks), own_container_id="c0ffee"
        )
        for host in ("unix:///one", "tcp://one:2375")
    }
    daemons: list[Any] = []

    def start(name: str, settings: Settings) -> Any:
        daemon: Any = SimpleNamespace(id=name, mode="dind", stop=lambda: daemons.remove(daemon))
        daemons.append(daemon)
        return daemon

    made: Any = SimpleNamespace(
        path=run,
        start=start,
        daemons=daemons,
        engine=lambda settings: engines[settings.host],
        close=lambda: None,
        progress=print,
    )
    return Factory(made, Settings(), lambda settings: contextlib.nullcontext())


def test_two_urls_of_one_engine(tmp_path: Path, told: list[str]) -> None:
    """Where two URLs lead to one engine, the network is there already by the second of them."""
    networks = _Networks()
    factory = _factory(tmp_path, networks)
    factory("one", host="unix:///one")
    factory("two", host="tcp://one:2375")

    assert networks.connected == told == ["one", "two"]
    [made] = networks.made.values()
    assert made["Labels"][labels.CONTAINER] == "c0ffee"
    assert made["Options"] == {"com.docker.network.driver.mtu": "1400"}
    assert (tmp_path / layout.NETWORK).read_text() == "unix:///one\ntcp://one:2375\n"


def test_network_of_others(tmp_path: Path) -> None:
    """A network of the same name that isn't the run's is not used; the daemon goes."""
    networks = _Networks()
    networks.made[layout.network_name(tmp_path)] = {"Labels": None}
    factory = _factory(tmp_path, networks)
    with pytest.raises(DindError, match="'one' cannot be connected to the network") as caught:
        factory("one", host="unix:///one")

    assert "already exists" in caught.value.evidence
    assert not networks.connected
    assert not factory._run.daemons


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("reuse", "mine"), ("keep", "always"), ("scope", "worker"), ("leaks", "off")),
        *(("require", ["all"]), ("doctor", "quick")),
    ],
)
def test_setting_of_the_run(tmp_path: Path, name: str, value: Any) -> None:
    """A setting that is the run's has no effect for one daemon more, which is said."""
    factory = _factory(tmp_path, _Networks())
    with pytest.raises(SettingsError) as caught:
        factory(**{name: value})

    assert caught.value.what.startswith(f"dind_factory: {name}=")
    assert f"--dind-{name}" in str(caught.value)


def test_setting_of_the_run_as_it_is(tmp_path: Path) -> None:
    """One that changes nothing is taken, as where a daemon is to have all that the first has."""
    started: list[Settings] = []

    def start(name: str, chosen: Settings) -> None:
        started.append(chosen)
        raise DindError("It is not started.", remedy=["Nothing."])

    run: Any = SimpleNamespace(path=tmp_path, start=start)
    factory = Factory(
        run, Settings(keep="always", leaks="fail"), lambda chosen: contextlib.nullcontext()
    )
    with pytest.raises(DindError, match="It is not started"):
        factory(keep="never", reuse="", leaks="fail")

    assert (started[0].keep, started[0].leaks) == ("never", "fail")
