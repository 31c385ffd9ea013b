"""A factory: its network on each engine, and its end."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import requests
from docker.errors import APIError, NotFound

from pytest_dind import DindError, Settings, SettingsError
from pytest_dind.backends import names, records
from pytest_dind.kubernetes.handle import Kubernetes
from pytest_dind.lifetime import labels, layout
from pytest_dind.lifetime.layout import Home
from pytest_dind.runs.ending import Patience
from pytest_dind.runs.factory import Factory
from pytest_dind.runs.pool import Loan

from ..support import until


def test_daemon_that_cannot_be_removed(tmp_path: Path) -> None:
    """A daemon that can't be removed keeps the factory's run from nothing but saying so."""
    ended: list[str] = []

    def fail() -> None:
        raise ConnectionError("the engine is gone")

    run: Any = SimpleNamespace(
        path=tmp_path,
        patience=Patience(),
        daemons=[SimpleNamespace(id="1", stop=fail)],
        close=lambda failed: ended.append("the run"),
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
        self.before_removal: Callable[[], bool] = lambda: True

    def create_network(self, name: str, *, labels: dict[str, str], **how: Any) -> None:
        if name in self.made:
            raise self._error(HTTPStatus.CONFLICT, f"network with name {name} already exists")
        self.made[name] = {"Labels": labels, "Options": how["options"]}

    def networks(self) -> list[dict[str, Any]]:
        return [{"Name": "bridge", "Options": {"com.docker.network.driver.mtu": "1400"}}]

    def inspect_network(self, name: str) -> dict[str, Any]:
        return self.made[name]

    def connect_container_to_network(
        self, container: str, name: str, *, aliases: list[str]
    ) -> None:
        assert aliases == [container]
        self.connected.append(container)

    def remove_network(self, name: str) -> None:
        assert self.before_removal()
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


def _factory(
    run: Path, networks: _Networks, spare: Callable[[Settings], Loan | None] = lambda settings: None
) -> Factory:
    """A factory for which each URL leads to the one engine with these networks."""
    engines = {
        host: SimpleNamespace(
            url=host, client=SimpleNamespace(api=networks), own_container_id="c0ffee"
        )
        for host in ("", "unix:///one", "tcp://one:2375")
    }
    daemons: list[Any] = []

    def start(name: str, settings: Settings, *given: object) -> Any:
        daemon = _daemon(name, lambda: daemons.remove(daemon))
        daemons.append(daemon)
        return daemon

    made: Any = SimpleNamespace(
        path=run,
        start=start,
        daemons=daemons,
        patience=Patience(),
        engine=lambda settings: engines[settings.host],
        close=lambda failed: None,
        progress=print,
    )
    return Factory(made, Settings(), lambda settings: contextlib.nullcontext(), spare=spare)


def _daemon(name: str, stop: Callable[[], None]) -> Any:
    return SimpleNamespace(id=name, name=name, mode="dind", record=name, stop=stop)


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

    def start(name: str, chosen: Settings, *given: object) -> None:
        started.append(chosen)
        raise DindError("It is not started.", remedy=["Nothing."])

    run: Any = SimpleNamespace(path=tmp_path, start=start)
    factory = Factory(
        run, Settings(keep="always", leaks="fail"), lambda chosen: contextlib.nullcontext()
    )
    with pytest.raises(DindError, match="It is not started"):
        factory(keep="never", reuse="", leaks="fail")

    assert (started[0].keep, started[0].leaks) == ("never", "fail")


class _Spares:
    """Spares with the factory's own settings, and which of them have ended."""

    def __init__(self) -> None:
        self.there = ["fresh-2", "fresh-1"]
        self.ended: list[str] = []

    def lend(self, settings: Settings) -> Loan | None:
        """Lend one, if it fits."""
        if settings != Settings() or not self.there:
            return None
        name = self.there.pop()
        return _daemon(name, lambda: None), lambda: self.ended.append(name)


def test_spares(tmp_path: Path, told: list[str]) -> None:
    """A call without a name or a setting takes a spare, in the network by its own name, or starts.

    A spare that is taken ends with the factory, before the network goes.
    """
    networks, spares = _Networks(), _Spares()
    factory = _factory(tmp_path, networks, spares.lend)
    given = [factory(), factory("one"), factory(args=["--debug"]), factory(), factory()]

    names = [daemon.name for daemon in given]
    assert names == ["fresh-1", "one", "extra-1", "fresh-2", "extra-2"]
    assert networks.connected == told == names
    assert {daemon.name for daemon in factory.daemons} == set(names)
    networks.before_removal = lambda: spares.ended == ["fresh-1", "fresh-2"]
    factory.close()
    assert not networks.made


def test_spare_that_cannot_be_connected(tmp_path: Path) -> None:
    """A spare that can't be in the network ends at once, as one that was started does."""
    networks, spares = _Networks(), _Spares()
    networks.made[layout.network_name(tmp_path)] = {"Labels": None}
    factory = _factory(tmp_path, networks, spares.lend)
    with pytest.raises(DindError, match="'fresh-1' cannot be connected"):
        factory()
    assert spares.ended == ["fresh-1"]
    assert not factory.daemons


def test_name_of_a_spare(tmp_path: Path) -> None:
    """Names are those of one daemon: what spares are called can't be asked for."""
    with pytest.raises(SettingsError, match="'fresh-7' is not a valid name") as caught:
        _factory(tmp_path, _Networks())("fresh-7")
    assert "lease, network, and fresh-…, as dind_fresh's are named" in caught.value.evidence


class _Begun(Factory):
    """A factory whose clusters wait for a gate, or fail."""

    def __init__(self, run: Any, **how: Any) -> None:
        super().__init__(run, Settings(), lambda settings: contextlib.nullcontext(), **how)
        self.gate = threading.Event()
        self.error: Exception | None = None

    def _swarm(self, nodes: int, managers: int = 1, *, lasts: bool = True, **settings: Any) -> Any:
        """A swarm that is none."""
        assert self.gate.wait(10)
        if self.error is not None:
            raise self.error
        cluster: Any = f"swarm of {nodes}"
        self._started(cluster, self._settings)
        self._formed(cluster, self._settings, 1.0)
        return cluster


def test_cluster_that_was_begun() -> None:
    """It is given once; who is to be told of it is told then, by the thread that asks for it."""
    told: list[str] = []

    def tell(*known: object) -> None:
        told.append(threading.current_thread().name)

    run: Any = SimpleNamespace(progress=lambda line: None)
    factory = _Begun(run, started=tell, formed=tell)
    factory._begin("swarm", 2)
    factory.gate.set()
    until(factory._begun["swarm"][1].wait, 10, "it is there")
    assert told == []
    assert factory._given("swarm", 2) == "swarm of 2"
    assert told == [threading.current_thread().name] * 2
    assert factory._given("swarm", 2) == "swarm of 2"
    assert len(told) == 4


def test_cluster_of_other_size() -> None:
    """One of so many nodes as are not asked for is not given."""
    factory = _Begun(SimpleNamespace(progress=lambda line: None))
    factory.gate.set()
    factory._begin("swarm", 2)
    assert factory._given("swarm", 3) == "swarm of 3"


def test_cluster_that_was_begun_in_vain() -> None:
    """What went wrong is told to who asks for it."""
    factory = _Begun(SimpleNamespace(progress=lambda line: None))
    factory.error = DindError("no room", remedy=["Make some."])
    factory._begin("swarm", 3)
    factory.gate.set()
    with pytest.raises(DindError, match="no room"):
        factory._given("swarm", 3)


def test_cluster_that_nobody_asks_for() -> None:
    """Its start is broken off with the factory's end."""
    finished: list[str] = []

    def finish(background: Any, name: str) -> None:
        finished.append(name)

    run: Any = SimpleNamespace(
        finish=finish,
        progress=print,
        daemons=[],
        patience=Patience(),
        close=lambda failed: finished.append("the run"),
    )
    factory = _Begun(run)
    factory._begin("swarm", 3)
    factory.close()
    assert finished == ["swarm1-node1", "the run"]
    factory.gate.set()


@pytest.mark.parametrize(
    ("settings", "failed", "stays"),
    [
        ({}, True, False),
        ({"keep": "always"}, False, True),
        ({"keep": "on-failure"}, False, False),
        ({"keep": "on-failure"}, True, True),
        ({"reuse": "mine"}, False, True),
    ],
)
def test_cluster_that_stays(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, str],
    failed: bool,
    stays: bool,
) -> None:
    """A cluster's daemon is not ended where it is kept or reused; it is left as others want it."""
    done: list[str] = []
    record: Any = SimpleNamespace(home=Home(tmp_path))
    monkeypatch.setattr(records, "read", lambda home: (record, Settings(**settings)))
    daemon: Any = SimpleNamespace(id="1", record=record, stop=lambda: done.append("stopped"))
    cluster: Any = SimpleNamespace(
        _daemons=[daemon],
        _leave=lambda: done.append("left"),
        close=lambda: done.append("closed"),
    )
    run: Any = SimpleNamespace(
        daemons=[daemon], patience=Patience(), close=lambda failed: done.append(f"failed: {failed}")
    )
    factory = Factory(run, Settings(), lambda settings: contextlib.nullcontext())
    factory._clusters.append(cluster)
    factory.close(failed=failed)
    assert done == [*(["left", "closed"] if stays else ["closed", "stopped"]), f"failed: {failed}"]


def test_guess_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster that was begun, and that nobody has asked for, goes with --dind-keep=always too."""
    stopped: list[str] = []
    home = tmp_path / "kubernetes1"
    home.mkdir()
    record: Any = SimpleNamespace(home=Home(home))
    monkeypatch.setattr(records, "read", lambda home: (record, Settings(keep="always")))
    cluster: Any = Kubernetes.__new__(Kubernetes)
    daemon = SimpleNamespace(id="1", record=record)
    monkeypatch.setattr(Kubernetes, "daemon", daemon)
    monkeypatch.setattr(Kubernetes, "stop", lambda self: stopped.append("stopped"))
    run: Any = SimpleNamespace(
        finish=lambda background, name: background.wait(10),
        progress=print,
        daemons=[],
        patience=Patience(),
        close=lambda failed: None,
    )
    factory = Factory(run, Settings(), lambda settings: contextlib.nullcontext())

    def make(nodes: int) -> Any:
        factory._clusters.append(cluster)
        return cluster

    monkeypatch.setattr(Factory, "_maker", lambda self, kind: make)
    factory._begin("kubernetes", 1)
    factory.close()
    assert stopped == ["stopped"]
    assert not home.exists()


@pytest.mark.parametrize("keep", ["never", "always"])
def test_network_of_a_swarm_that_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: str
) -> None:
    """The network in which its nodes know each other stays with them."""
    networks = _Networks()
    factory = _factory(tmp_path, networks)
    node = factory("node")
    record: Any = SimpleNamespace(home=Home(tmp_path / "node"))
    node.record = record  # type: ignore[misc]
    monkeypatch.setattr(records, "read", lambda home: (record, Settings(keep=keep)))
    swarm: Any = SimpleNamespace(_daemons=[node], _leave=list, close=list)
    factory._clusters.append(swarm)
    factory.close()
    assert bool(networks.made) == (keep == "always")
