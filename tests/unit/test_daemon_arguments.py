"""The arguments of what a test calls on a daemon: of whatever is wrong, an error says so."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import docker
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_dind import Daemon, DindError, Settings, SettingsError
from pytest_dind.backends.protocol import Backend, Record
from pytest_dind.cluster.membership import Membership
from pytest_dind.cluster.swarm import Swarm
from pytest_dind.daemon import arguments
from pytest_dind.engine import builds
from pytest_dind.engine.exec import Command
from pytest_dind.kubernetes.api import Refused
from pytest_dind.kubernetes.handle import Kubernetes
from pytest_dind.lifetime.files import Directory
from pytest_dind.lifetime.layout import Home
from pytest_dind.runs.factory import Factory

from ..support import FakeEngine


class _Odd:
    """An object that can't even be shown."""

    def __repr__(self) -> str:
        raise RuntimeError("not to be shown")


_ODD: list[Any] = [
    *(None, True, False, 0, -1, 1, 80, 65536, 2**31, 2**63, 10**5000),
    *(float("nan"), float("inf"), -float("inf"), -0.5, 1e300, 5e-324, 1j),
    *("", " ", "x", "x\0y", "\ud800", "\udcff", "UPPER", "a,b", "a=b", "=", "-", "--x", "a\nb"),
    *("~nobody-of-this-name/x", "~", ".", "/", "../..", "/no/such", "x" * 5000, "1" * 5000, "é"),
    *("80/tcp", "80/\0", "0x50", "\uff18\uff10", "tcp://", "(", "a{99999999999}", "((" * 5000),
    *(b"", b"x", bytearray(b"x"), memoryview(b"x"), Path(), Path("x\0"), Path("\ud800")),
    *([], [""], ["x"], ["\ud800"], ["x\0"], [None], [[]], (), ("x",), {}, {"x": "y"}, {"x": None}),
    *({"x": b"y"}, {"x": "\0"}, {"": ""}, {1: 2}, {"a=b": "c"}, {"x": Path("x\0")}, {"x": {}}),
    *(set(), {"x"}, range(3), object(), _Odd(), int, len, iter("x"), re.compile("x")),
    *(re.compile(b"x"), SimpleNamespace(id=None), SimpleNamespace(id="x"), SimpleNamespace(id=5)),
]

_anything = st.one_of(
    st.text(max_size=20),
    st.text(st.characters(), max_size=5),
    st.integers(),
    st.floats(),
    st.binary(max_size=5),
    st.lists(st.one_of(st.text(max_size=5), st.none(), st.integers()), max_size=3),
    st.dictionaries(st.text(max_size=5), st.one_of(st.text(max_size=5), st.none()), max_size=3),
)

_ON_NODES = ("leave", "kill", "partition", "promote", "demote")
# What is right of each call, so that an odd value gets past what is looked at before it.
_RIGHT: dict[str, dict[str, Any]] = {
    "client": {"version": "1.51"},
    "exec": {"command": ["x"]},
    "copy_to": {"source": __file__, "target": "/tmp"},
    "copy_from": {"source": "/tmp", "target": "/no/such"},
    "address": {"container": "web", "port": 80},
    "nested_address": {"container": "web"},
    "wait_for": {"container": "web", "port": 80, "timeout": 0.01},
    "load": {"source": "x"},
    "build": {"path": "/no/such", "tag": "x"},
    "logs": {},
    "restart": {},
    "snapshot": {"name": "db"},
    "dind_factory": {},
    "swarm": {},
    "kubernetes": {},
    "Kubernetes.exec": {"command": ["x"]},
    "Kubernetes.address": {"what": "service/web", "port": 80},
    "Kubernetes.wait_for": {"what": "web", "timeout": 0.01},
    "Kubernetes.logs": {"pod": "web"},
    "Kubernetes.load": {"source": "x"},
    "Kubernetes.kill": {"node": "agent1"},
    "Kubernetes.namespace": {},
    "Kubernetes.remove_namespace": {"name": "x"},
    "Swarm.join": {},
    **{f"Swarm.{name}": {"node": "node1"} for name in _ON_NODES},
    "Swarm.build": {"path": "/no/such", "tag": "x"},
    "Swarm.address": {"service": "web", "port": 80},
    "Swarm.wait_for": {"service": "web", "timeout": 0.01},
}
_MORE = {
    "client": ("timeout", "version", "user_agent", "max_pool_size"),
    "build": builds.OPTIONS,
    "dind_factory": (field.name for field in dataclasses.fields(Settings)),
    "swarm": ("image", "mode", "args", "keep", "load"),
    "kubernetes": ("mode", "args", "keep", "load"),
    "load": ("source",),
    "Kubernetes.load": ("source",),
}


class _Backend:
    """A backend behind which there is no engine."""

    def __init__(self, outer: str) -> None:
        self._outer = outer

    def container(self, record: Record) -> None:
        return None

    def files(self, record: Record) -> Directory:
        return Directory(record.home.path)

    def exec(self, record: Record, command: Command) -> subprocess.CompletedProcess[bytes]:
        return subprocess.CompletedProcess(command.argv, 0, b"", b"")

    def outer(self) -> docker.DockerClient:
        return docker.DockerClient(self._outer, version="1.51")

    def restart(self, record: Record, timeout: float) -> None:
        raise FileNotFoundError("there is none")


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon that has nothing."""
    home = tmp_path_factory.mktemp("h")
    with FakeEngine(home / "s", {}) as engine:
        record = Record(
            *("dind", Home(home), "c0ffee", engine.host, "172.17.0.9", (), "28.5.2", "1.51"),
            *("overlay2", False, 0.5),
        )
        yield Daemon(record, cast("Backend", _Backend(engine.host)))


def _factory(directory: Path) -> Factory:
    def start(name: str, chosen: Settings, *given: object) -> None:
        raise DindError("No daemon is started here.", evidence="It is a test.", remedy=["None."])

    def engine(chosen: Settings) -> None:
        start("", chosen)

    run: Any = SimpleNamespace(path=directory, shared=directory, start=start, engine=engine)
    return Factory(run, Settings(), lambda chosen: contextlib.nullcontext())


# One without a node, which nobody can be asked of.
_SWARM = Swarm("swarm1", Membership("swarm1"), cast(Any, None), print)


class _Empty:
    """A cluster that has lost its server, and an API in which there is nothing."""

    name, nodes = "kubernetes1", ()
    daemon: Any = None

    @property
    def api(self) -> _Empty:
        return self

    @property
    def server(self) -> Any:
        raise DindError("It has no server.", evidence="It is a test.", remedy=["None."])

    def find(self, path: str) -> None:
        assert re.fullmatch(r"/api[a-z0-9./-]*", path)

    def get(self, path: str, **query: str) -> dict[str, Any]:
        return {"items": []}

    def call(self, *args: Any, **query: Any) -> None:
        raise Refused(403, "It is a test.")

    def text(self, path: str, **query: str) -> None:
        self.call()


def _none() -> Any:
    raise DindError("There is no engine.", evidence="It is a test.", remedy=["None."])


_CLUSTER = Kubernetes(cast(Any, _Empty()), "x", _none, print)


def _calls() -> Iterator[tuple[str, str]]:
    """Each call with each of its arguments."""
    calls: list[tuple[str, Callable[..., Any]]] = [
        (name, call)
        for name, call in inspect.getmembers(Daemon, inspect.isfunction)
        if not name.startswith("_") and inspect.signature(call).parameters.keys() != {"self"}
    ]
    calls += [
        (f"Swarm.{name}", call)
        for name, call in inspect.getmembers(Swarm, inspect.isfunction)
        if not name.startswith("_") and inspect.signature(call).parameters.keys() != {"self"}
    ]
    calls += [
        (f"Kubernetes.{name}", call)
        for name, call in inspect.getmembers(Kubernetes, inspect.isfunction)
        if not name.startswith("_") and inspect.signature(call).parameters.keys() != {"self"}
    ]
    calls += [
        ("dind_factory", Factory.__call__),
        ("swarm", Factory.swarm),
        ("kubernetes", Factory.kubernetes),
    ]
    for name, call in calls:
        for parameter in inspect.signature(call).parameters.values():
            usual = parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
            if usual and parameter.name != "self":
                yield name, parameter.name
        for more in _MORE.get(name, ()):
            yield name, more


_CALLS = list(_calls())


def test_every_call_is_looked_at() -> None:
    """No call of a daemon, a swarm or a cluster that takes arguments is left out."""
    assert {name for name, _ in _CALLS} == _RIGHT.keys()
    assert arguments._ARGUMENTS.keys() <= _RIGHT.keys()


def _call(daemon: Daemon, name: str, given: dict[str, Any]) -> None:
    if name == "dind_factory":
        _factory(daemon.record.home.path)(**given)
    elif name == "swarm":
        _factory(daemon.record.home.path).swarm(**given)
    elif name == "kubernetes":
        _factory(daemon.record.home.path).kubernetes(**given)
    elif name == "Kubernetes.load":
        _CLUSTER.load(given["source"])
    elif name.startswith("Kubernetes."):
        getattr(_CLUSTER, name.removeprefix("Kubernetes."))(**given)
    elif name == "Swarm.partition":
        with _SWARM.partition(**given):
            pass
    elif name.startswith("Swarm."):
        getattr(_SWARM, name.removeprefix("Swarm."))(**given)
    elif name == "load":
        daemon.load(given["source"])
    elif name == "client":
        daemon.client(**given).close()
    else:
        getattr(daemon, name)(**given)


def _demand_an_error(daemon: Daemon, call: tuple[str, str], value: object) -> None:
    """Check that a value is taken, or refused by an error that has its three parts."""
    name, argument = call
    failed: DindError | None = None
    try:
        _call(daemon, name, _RIGHT[name] | {argument: value})
    except DindError as error:
        failed = error
    if failed is not None:
        assert failed.what
        assert failed.evidence
        assert failed.remedy
        assert all(failed.remedy)
        assert str(failed).encode()


_each_call = pytest.mark.parametrize("call", _CALLS, ids="-".join)


@_each_call
def test_odd_value(daemon: Daemon, call: tuple[str, str]) -> None:
    """Whatever an argument is, it is taken, or refused by an error that has its three parts."""
    for value in _ODD:
        _demand_an_error(daemon, call, value)


@_each_call
@settings(max_examples=10)
@given(value=_anything)
def test_any_value(daemon: Daemon, call: tuple[str, str], value: object) -> None:
    """So it is for what nobody has thought of."""
    _demand_an_error(daemon, call, value)


@pytest.mark.parametrize(
    ("name", "argument", "value", "remedy"),
    [
        ("address", "wait", float("nan"), "Give wait True or False, or a number of seconds."),
        ("address", "wait", float("inf"), "Give wait True or False, or a number of seconds."),
        ("exec", "timeout", float("inf"), "Give timeout a number of seconds, or None."),
        ("exec", "stdin", "\ud800", "Give stdin text, bytes or None."),
        ("exec", "env", {"A": 1}, 'Give env a dict, such as {"NAME": "value"}.'),
        ("wait_for", "timeout", float("nan"), "Give timeout a number of seconds."),
        ("restart", "timeout", float("nan"), "Give timeout a number of seconds."),
        ("logs", "tail", "x", "Give tail a number of lines, or None."),
        ("build", "path", None, "Give path the path of a directory."),
        ("build", "tag", "UPPER", 'Give tag an image\'s name, such as "mine:1".'),
        ("build", "buildargs", "x", "Give buildargs a dict of texts, such as"),
        ("dind_factory", "name", 3, "Give name a text."),
        ("dind_factory", "start", 1, "Give start True or False."),
        ("swarm", "nodes", 0, "Give nodes a whole number, such as 3."),
        ("Swarm.join", "manager", 1, "Give manager True or False."),
        ("Kubernetes.wait_for", "namespace", "A", "Give namespace a name."),
        ("Kubernetes.address", "protocol", "icmp", "Give protocol tcp or udp."),
        ("Swarm.wait_for", "replicas", -1, "Give replicas a number of tasks, or None."),
    ],
)
def test_told(daemon: Daemon, name: str, argument: str, value: Any, remedy: str) -> None:
    """The error names the call, the argument and its value, and says what it may be."""
    with pytest.raises(SettingsError) as caught:
        _call(daemon, name, _RIGHT[name] | {argument: value})

    shown = repr(value).encode(errors="backslashreplace").decode()
    assert caught.value.what == f"{name}: {argument}={shown} is not a valid value."
    assert caught.value.evidence.startswith(f"Its type is {type(value).__name__}.")
    assert caught.value.remedy[0].startswith(remedy)


def test_lone_surrogate_in_a_command(daemon: Daemon) -> None:
    """A text that UTF-8 does not have is no word of a command, and the error can be printed."""
    with pytest.raises(SettingsError, match="is not a command") as caught:
        daemon.exec(["echo", "\udcff"])

    assert r"not so: '\udcff'" in str(caught.value)
