"""The handle: what it makes of a record and of what the daemon answers."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
from pathlib import Path
from typing import Any, cast

import docker
import pytest
from docker.errors import NotFound

from pytest_dind import Address, AddressUnreachable, Daemon, DaemonLost, SettingsError
from pytest_dind.backends.protocol import Backend, Record
from pytest_dind.daemon.ports import Ports
from pytest_dind.engine import http
from pytest_dind.engine.exec import Command
from pytest_dind.lifetime.files import Directory
from pytest_dind.lifetime.layout import Home

from ..support import Answer, FakeEngine, Reply

_RECORD = Record(
    mode="dind",
    home=Home(Path("/nowhere/0123abcd/main")),
    id="c0ffee",
    host="unix:///nowhere/docker.sock",
    address="172.17.0.9",
    published=("8080/tcp", "53/udp"),
    version="28.5.2",
    api_version="1.51",
    driver="overlay2",
    user_namespace=False,
    seconds=0.5,
)


class _Backend:
    """A backend whose commands end as told."""

    def __init__(self, code: int = 0, container: object = None, error: str = "") -> None:
        self.code = code
        self.calls: list[Command] = []
        self._container = container
        self._error = error

    def container(self, record: Record) -> object:
        return self._container

    def files(self, record: Record) -> Directory:
        return Directory(record.home.path)

    def exec(self, record: Record, command: Command) -> Any:
        self.calls.append(command)
        if self._error:
            raise NotFound("404", explanation=self._error)
        return subprocess.CompletedProcess(
            command.argv, self.code, b"out \xc3\xa9\n", b"err \xff\n"
        )


def _daemon(backend: _Backend | None = None, **changes: Any) -> Daemon:
    record = dataclasses.replace(_RECORD, **changes)
    return Daemon(record, cast("Backend", backend or _Backend()))


def test_attributes() -> None:
    """The handle shows what the record has."""
    daemon = _daemon()

    assert (daemon.mode, daemon.name, daemon.id) == ("dind", "main", "c0ffee")
    assert (daemon.host, daemon.version) == ("unix:///nowhere/docker.sock", "28.5.2")
    assert daemon.env == {"DOCKER_HOST": "unix:///nowhere/docker.sock"}
    assert "main" in repr(daemon)
    assert "unix:///nowhere/docker.sock" in repr(daemon)


def test_frozen() -> None:
    """The handle is frozen, and equal to another one on the same daemon."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        _daemon().record = _RECORD  # type: ignore[misc]
    assert _daemon() == _daemon()
    assert _daemon() != _daemon(home=Home(Path("/nowhere/0123abcd/other")))


@pytest.mark.parametrize("name", sorted(http.CHOOSE_AN_ENGINE))
def test_environment_without_another_engine(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What chooses an engine is taken out, or replaced by what leads to the daemon."""
    monkeypatch.setenv(name, "inherited")

    assert _daemon().environment().get(name) != "inherited"


@pytest.mark.parametrize(("mode", "told"), [("dind", "docker_host"), ("socket", None)])
def test_environment_of_testcontainers(mode: str, told: str | None) -> None:
    """It looks for ports where it is told, also in what it takes for a container."""
    found = _daemon(mode=mode).environment()

    assert found["TESTCONTAINERS_HOST_OVERRIDE"] == "172.17.0.9"
    assert found.get("TESTCONTAINERS_CONNECTION_MODE") == told


@pytest.mark.parametrize(
    "name",
    [
        *("DOCKER_CONFIG", "DOCKER_AUTH_CONFIG", "DOCKER_BUILDKIT", "DOCKER_DEFAULT_PLATFORM"),
        *("COMPOSE_PROJECT_NAME", "BUILDKIT_PROGRESS", "TESTCONTAINERS_RYUK_DISABLED"),
        *("NOT_DOCKER_HOST", "DOCKER_HOST_OF_MINE"),
    ],
)
def test_environment_keeps_what_configures(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What only configures tools stays as it is, and so does all else."""
    monkeypatch.setenv(name, "inherited")
    found = _daemon().environment()

    assert found[name] == "inherited"
    assert found["PATH"] == os.environ["PATH"]
    assert found.items() >= _daemon().env.items()


def test_exec_gives_text() -> None:
    """Outputs are text, whatever bytes they are; stdin is sent as UTF-8, or not at all."""
    backend = _Backend()
    done = _daemon(backend).exec(["x"], stdin="é")
    _daemon(backend).exec(["x"])

    assert (done.args, done.returncode) == (["x"], 0)
    assert (done.stdout, done.stderr) == ("out é\n", "err \N{REPLACEMENT CHARACTER}\n")
    assert [call.stdin for call in backend.calls] == ["é".encode(), None]


@pytest.fixture
def login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A docker config with credentials; the same, as a command is lent them."""
    text = json.dumps({"auths": {"r.example": {"auth": "bWU6eA=="}}})
    (tmp_path / "config.json").write_text(text)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.delenv("DOCKER_AUTH_CONFIG", raising=False)
    return text


@pytest.mark.parametrize(
    "command",
    [
        ["docker", "pull", "r.example/x"],
        ["/usr/bin/docker", "--debug", "run", "x"],
        ["docker", "compose", "up"],
        ["docker-compose", "up"],
        ["docker-buildx", "du"],
    ],
)
def test_exec_with_credentials(login: str, command: list[str]) -> None:
    """A command of the docker CLI that may ask a registry has the user's credentials."""
    backend = _Backend()
    _daemon(backend).exec(command)

    assert backend.calls[0].credentials == login
    assert "bWU6eA" not in repr(backend.calls[0])


@pytest.mark.parametrize(
    ("command", "env"),
    [
        (["docker", "ps"], {}),
        (["docker", "login", "r.example"], {}),
        (["sh", "-c", "docker pull x"], {}),
        (["git", "pull"], {}),
        (["docker", "pull", "x"], {"DOCKER_CONFIG": "/mine"}),
        (["docker", "pull", "x"], {"DOCKER_AUTH_CONFIG": "{}"}),
    ],
)
def test_exec_without_credentials(login: str, command: list[str], env: dict[str, str]) -> None:
    """Any other command has none, nor has one that is given its own."""
    backend = _Backend()
    _daemon(backend).exec(command, env=env)

    assert backend.calls[0].credentials == ""


def test_exec_that_fails() -> None:
    """A command that fails raises with both outputs in the text, unless told not to."""
    with pytest.raises(subprocess.CalledProcessError) as caught:
        _daemon(_Backend(3)).exec(["x", "y"])

    assert str(caught.value) == (
        "Command '['x', 'y']' returned non-zero exit status 3.\n"
        "stdout: out é\n\n"
        "stderr: err \N{REPLACEMENT CHARACTER}\n"
    )
    assert (caught.value.returncode, caught.value.cmd) == (3, ["x", "y"])
    assert _daemon(_Backend(3)).exec(["x"], check=False).returncode == 3


def test_exec_gives_bytes() -> None:
    """With `text=False` each byte of the outputs is as it was, and stdin may be bytes."""
    backend = _Backend()
    done = _daemon(backend).exec(["x"], stdin=b"\xff\0", text=False)

    assert (done.stdout, done.stderr) == (b"out \xc3\xa9\n", b"err \xff\n")
    assert backend.calls[0].stdin == b"\xff\0"
    with pytest.raises(subprocess.CalledProcessError) as caught:
        _daemon(_Backend(3)).exec(["x"], text=False)
    assert (caught.value.stdout, caught.value.stderr) == (done.stdout, done.stderr)
    assert "stdout: out é\n" in str(caught.value)


@pytest.mark.parametrize("command", ["docker ps", b"ls", [], 5, ["echo", 1], ["echo", None]])
def test_exec_of_no_command(command: Any) -> None:
    """A command that is a string, empty, or not of text is an error that says how to give one."""
    with pytest.raises(SettingsError, match="is not a command"):
        _daemon().exec(command)


def test_exec_takes_paths() -> None:
    """A path is an argument as in `subprocess.run`."""
    assert _daemon().exec(["ls", Path("/tmp")]).args == ["ls", "/tmp"]


@pytest.mark.parametrize(
    ("how", "remedy"),
    [
        ({"stdin": 5}, "Give stdin text, bytes or None."),
        ({"timeout": "1"}, "Give timeout a number of seconds, or None."),
        ({"env": ["A=1"]}, 'Give env a dict, such as {"NAME": "value"}.'),
    ],
    ids=["stdin", "timeout", "env"],
)
def test_exec_with_other_types(how: Any, remedy: str) -> None:
    """What exec can't take is an error before the command is started."""
    backend = _Backend()
    with pytest.raises(SettingsError) as caught:
        _daemon(backend).exec(["x"], **how)

    ((name, value),) = how.items()
    assert str(caught.value).startswith(f"exec: {name}={value!r} is not a valid value.\nEvidence:")
    assert str(caught.value).endswith(remedy)
    assert backend.calls == []


def test_restart_with_another_type() -> None:
    """A time-out that is no number is an error before the daemon is touched."""
    with pytest.raises(SettingsError, match="restart: timeout='x' is not a valid value"):
        _daemon().restart(timeout=cast("float", "x"))


@pytest.mark.parametrize("source", [["busybox"], None, 5], ids=str)
def test_load_of_another_type(source: Any) -> None:
    """What is neither a name nor a path is an error that says how to give several."""
    with pytest.raises(SettingsError) as caught:
        _daemon().load(source)

    text = str(caught.value)
    assert text.startswith(f"load: {source!r} is neither an image's name nor an archive's path.")
    assert "load(*names)" in text


def test_exec_in_a_daemon_that_is_gone() -> None:
    """A command for a daemon that is gone is an error that says so."""
    with pytest.raises(DaemonLost, match="The daemon 'main' is gone"):
        _daemon(_Backend(error="No such container: c0ffee")).exec(["x"])


def test_logs(tmp_path: Path) -> None:
    """The log is whole, or its last lines."""
    (tmp_path / "log").write_text("a\nb\nc\n")
    daemon = _daemon(home=Home(tmp_path))

    assert daemon.logs() == "a\nb\nc\n"
    assert daemon.logs(tail=2) == "b\nc\n"


class _Container:
    """An outer container with an IPv6 address, where told."""

    def __init__(self, ipv6: str) -> None:
        self.attrs = {"NetworkSettings": {"Networks": {"net": {"GlobalIPv6Address": ipv6}}}}


def _address(
    path: Path,
    bindings: Any,
    port: int | str = 80,
    protocol: str = "tcp",
    *,
    ipv6: str = "",
    network_mode: str = "default",
) -> Address:
    with FakeEngine(path / "s", _web(bindings, network_mode)) as engine:
        backend = _Backend(container=_Container(ipv6))
        return _daemon(backend, host=engine.host).address("web", port, protocol)


def _web(bindings: Any, network_mode: str = "default") -> dict[str, Reply]:
    answer = Answer(
        body={
            "Name": "/web",
            "State": {"Status": "running", "Running": True, "ExitCode": 0},
            "HostConfig": {"NetworkMode": network_mode},
            "NetworkSettings": {"Ports": bindings},
        }
    )
    return {"GET /containers/web/json": answer}


def _binding(port: int, ip: str = "0.0.0.0") -> dict[str, str]:
    return {"HostIp": ip, "HostPort": str(port)}


def test_address(short_path: Path) -> None:
    """A port published on all addresses is reached at the daemon's container."""
    found = _address(short_path, {"80/tcp": [_binding(32768), _binding(32768, "::")]})

    assert found == ("172.17.0.9", 32768)


@pytest.mark.parametrize("ip", ["", "172.17.0.9"])
def test_address_on_some_interface(short_path: Path, ip: str) -> None:
    """So is one published on an address of the daemon's, or on none as some engines write it."""
    assert _address(short_path, {"80/tcp": [_binding(1000, ip)]}) == ("172.17.0.9", 1000)


def test_address_that_the_outer_engine_publishes(short_path: Path) -> None:
    """A port that `--dind-publish` publishes is reached on loopback, per protocol."""
    assert _address(short_path, {"80/tcp": [_binding(8080)]}) == ("127.0.0.1", 8080)
    assert _address(short_path, {"80/udp": [_binding(53)]}, protocol="udp") == ("127.0.0.1", 53)


def test_address_beside_the_daemon(short_path: Path) -> None:
    """Who reaches the daemon's own address, in another container, has another loopback."""
    beside = _daemon(certificates="/nowhere")
    # Nor is what an engine publishes reached here that has its network elsewhere.
    elsewhere = _daemon(outer="")
    for daemon in (beside, elsewhere):
        _expect_own_address(short_path, daemon)


def test_address_of_a_guarded_engine_elsewhere(short_path: Path) -> None:
    """What a guarded engine publishes in a network elsewhere is an error with that cause."""
    daemon = _daemon(mode="socket", address="", because="engine unix:///s: it is elsewhere")
    with FakeEngine(short_path / "s", _web({"80/tcp": [_binding(8081)]})) as engine:
        client = docker.DockerClient(engine.host, version="1.51")
        with pytest.raises(AddressUnreachable) as caught:
            Ports(daemon.record, daemon._backend, client).find("web", 80, "tcp", wait=False)
        client.close()

    text = str(caught.value)
    assert "Port 8081/tcp" in text
    assert "The mode is socket, and the engine publishes it: engine unix:///s: it is else" in text
    assert "--dind-mode=auto" in text
    assert "--dind-forward" not in text


def _expect_own_address(short_path: Path, daemon: Daemon) -> None:
    with FakeEngine(short_path / "s", _web({"80/tcp": [_binding(8080)]})) as engine:
        client = docker.DockerClient(engine.host, version="1.51")
        found = Ports(daemon.record, daemon._backend, client).find("web", 80, "tcp", wait=False)
        client.close()

    assert found == ("172.17.0.9", 8080)


def test_protocols_are_told_apart(short_path: Path) -> None:
    """A port published for udp is none for tcp, inside and outside."""
    assert _address(short_path, {"80/tcp": [_binding(53)]}) == ("172.17.0.9", 53)
    with pytest.raises(AddressUnreachable):
        _address(short_path, {"80/udp": [_binding(1000)]})


def test_loopback_is_passed_over(short_path: Path) -> None:
    """Of two addresses the one that is not the daemon's own loopback is taken."""
    both = [_binding(1000, "127.0.0.1"), _binding(1001)]

    assert _address(short_path, {"80/tcp": both}) == ("172.17.0.9", 1001)


def test_port_with_its_protocol(short_path: Path) -> None:
    """A port may be given as the engine writes it, protocol and all."""
    assert _address(short_path, {"80/udp": [_binding(1000)]}, "80/udp") == ("172.17.0.9", 1000)


def test_address_on_ipv6_alone(short_path: Path) -> None:
    """A port published on IPv6 alone is reached at the daemon's IPv6 address, if it has one."""
    bindings = {"80/tcp": [_binding(1000, "::")]}

    assert _address(short_path, bindings, ipv6="fd00::9") == ("fd00::9", 1000)
    with pytest.raises(AddressUnreachable, match="published on ::, which the daemon's container"):
        _address(short_path, bindings)


def test_address_on_the_host_network(short_path: Path) -> None:
    """A container on the daemon's own network has its ports at the daemon's address."""
    assert _address(short_path, {}, network_mode="host") == ("172.17.0.9", 80)


@pytest.mark.parametrize(
    ("bindings", "why", "published"),
    [
        ({}, "Nobody published it.", "none"),
        (None, "Nobody published it.", "none"),
        (
            {"80/tcp": None, "81/tcp": [_binding(1)]},
            "Its image exposes the port, but that alone does not publish it.",
            "81/tcp",
        ),
        (
            {"80/udp": [_binding(1)]},
            "It is published for another protocol: 80/udp.",
            "80/udp",
        ),
        *(
            (
                {"80/tcp": [_binding(1000, ip)]},
                "It is published on the daemon's own loopback, where only the daemon is.",
                "80/tcp",
            )
            for ip in ("127.0.0.1", "::1")
        ),
        (
            {"80/tcp": [_binding(1000, "10.213.0.1")]},
            "It is published on 10.213.0.1, which the daemon's container has not, or not outside.",
            "80/tcp",
        ),
    ],
)
def test_address_that_is_not_published(
    short_path: Path, bindings: Any, why: str, published: str
) -> None:
    """A port that can't be reached is an error that says which reason it is, and the ways on."""
    with pytest.raises(AddressUnreachable) as caught:
        _address(short_path, bindings)

    assert str(caught.value) == (
        "Port 80/tcp of the nested container 'web' is not published to the test process.\n"
        "Evidence:\n"
        f"  {why}\n"
        f"  Published ports: {published}; the container is running.\n"
        "To fix this, either:\n"
        "  - Start it with ports={'80/tcp': None} (docker run -p 80/tcp); 127.0.0.1 would be the "
        "daemon's own loopback.\n"
        "  - Where the daemon's address is out of reach: --dind-publish 8000-8010, and "
        "ports={'80/tcp': '8000-8010'}.\n"
        "  - From beside it, in the daemon: nested_address(container) and port 80."
    )


@pytest.mark.parametrize("port", [0, 65536, "http", -1, "80/http"])
def test_address_of_no_port(short_path: Path, port: int | str) -> None:
    """What is no port is an error that says what one is."""
    with pytest.raises(AddressUnreachable, match="is not a port"):
        _address(short_path, {}, port)


@pytest.mark.parametrize("name", ["ghost", ""])
def test_address_of_nothing(short_path: Path, name: str) -> None:
    """A container that is not there is an error that names it and the daemon."""
    with FakeEngine(short_path / "s", {}) as engine, pytest.raises(AddressUnreachable) as caught:
        _daemon(host=engine.host).address(name, 80)

    text = str(caught.value)
    assert text.startswith(f"There is no nested container {name!r} in the daemon 'main'.")
    assert "Start the container in this daemon before asking for its address." in text


@pytest.mark.parametrize("container", [None, 5, b"web"])
def test_address_of_no_container(short_path: Path, container: Any) -> None:
    """What is no container is an error that says what to give."""
    with FakeEngine(short_path / "s", {}) as engine, pytest.raises(AddressUnreachable) as caught:
        _daemon(host=engine.host).address(container, 80)

    text = str(caught.value)
    assert text.startswith(f"{container!r} is not a nested container.\nEvidence:\n  Its type is ")
    assert text.endswith("Give the container that was run with detach=True, its name or its id.")
