"""What a daemon's container is told to run, and what an engine's refusal means."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from unittest.mock import Mock

import pytest
from requests.exceptions import RequestException

from pytest_dind import (
    DaemonLost,
    DaemonUnhealthy,
    DindError,
    ImageUnavailable,
    ModeUnavailable,
    Settings,
    SettingsError,
    StartTimeout,
)
from pytest_dind.backends import (
    connection,
    container,
    dind,
    engine_errors,
    socket,
    spec,
    subnets,
)
from pytest_dind.backends.protocol import Record
from pytest_dind.backends.spec import ContainerMode, ContainerSpec
from pytest_dind.engine import images
from pytest_dind.engine.engine import Engine
from pytest_dind.errors import NoShell, NotShared
from pytest_dind.guard import launch as guard_launch
from pytest_dind.lifetime import labels, layout
from pytest_dind.lifetime.layout import Home
from pytest_dind.store import seeding

from ..support import Answer, FakeEngine

if TYPE_CHECKING:
    import docker

_HOME = Home(Path("/h/0123abcd/main"))
_NETWORK = subnets.nested([])
_BIP, _POOL = _NETWORK.arguments()
_SEED = seeding.Seed("k-1", refresh=True, limit=2048)


def _spec(settings: Settings | None = None, entrypoint: list[str] | None = None) -> ContainerSpec:
    source = images.ImageSource(cast("docker.DockerClient", None), print)
    return ContainerSpec(
        home=_HOME,
        settings=settings or Settings(),
        image={"Config": {"Entrypoint": entrypoint}},
        mode=ContainerMode("dind"),
        connection=connection.SharedDirectory(cast("Engine", None), _HOME),
        preload=seeding.Preload((), source, _SEED),
    )


def _command(*arguments: str, entrypoint: list[str] | None = None, timeout: float = 60) -> Any:
    settings = Settings(arg=arguments, timeout=timeout)
    made = _spec(settings, entrypoint).first_process(_NETWORK)
    assert made["entrypoint"][:2] == ["sh", "-c"]
    found = made["command"]
    assert found[2:8] == ["pytest-dind-0123abcd-main", "k-1", "yes", "2048", "shared", ""]
    return found[:2] + found[8:]


_ROUTED = dataclasses.replace(_NETWORK, mtu=1400, gateway="172.17.0.1")


@pytest.mark.parametrize(
    ("arguments", "more"),
    [
        (
            [],
            "--host-gateway-ip=172.17.0.1 "
            "--default-network-opt=bridge=com.docker.network.driver.mtu=1400",
        ),
        (
            ["--host-gateway-ip=10.9.0.1"],
            "--default-network-opt=bridge=com.docker.network.driver.mtu=1400",
        ),
        (["--default-network-opt", "bridge=x=y"], "--host-gateway-ip=172.17.0.1"),
    ],
)
def test_arguments_of_newer_daemons(arguments: list[str], more: str) -> None:
    """What an older dockerd lacks is given apart, and only what the user has not given."""
    made = _spec(Settings(arg=arguments)).first_process(_ROUTED)

    assert made["command"][7] == more
    assert not [word for word in made["command"][8:-1] if word in more.split()]


@pytest.mark.parametrize(
    "given",
    [
        {"insecure_registry": ["registry:5000"]},
        {"arg": ["--insecure-registry=registry:5000"]},
        {"arg": ["--insecure-registry", "registry:5000"]},
    ],
)
def test_insecure_registry(given: dict[str, list[str]]) -> None:
    """Loopback stays insecure with any other registry that is: Docker 29.10 ends it otherwise."""
    found = _spec(Settings(**given)).first_process(_NETWORK)["command"]

    assert "--insecure-registry=127.0.0.0/8" in found
    assert "--insecure-registry=::1/128" in found
    assert not any("insecure" in word for word in _command())


def test_command_of_a_bare_image() -> None:
    """An image without an entrypoint is prepared by the supervisor and gets dockerd's arguments."""
    assert _command() == [
        "61",
        "yes",
        "dockerd",
        "--host=unix:///run/pytest-dind/docker.sock",
        f"--group={os.getgid()}",
        "--host=unix:///var/run/docker.sock",
        _BIP,
        _POOL,
    ]


@pytest.mark.parametrize("empty", [None, []])
def test_entrypoint_that_is_empty(empty: list[str] | None) -> None:
    """An empty entrypoint is none, in both forms that engines give."""
    assert _command(entrypoint=empty)[1:3] == ["yes", "dockerd"]


def test_entrypoint_is_kept() -> None:
    """The official image's entrypoint runs, with dockerd as its command."""
    found = _command(entrypoint=["dockerd-entrypoint.sh"])

    assert found[1:4] == ["no", "dockerd-entrypoint.sh", "dockerd"]


@pytest.mark.parametrize("dockerd", ["dockerd", "/usr/bin/dockerd"])
def test_entrypoint_that_is_dockerd(dockerd: str) -> None:
    """An entrypoint that is dockerd itself is not run as dockerd's argument."""
    assert _command(entrypoint=[dockerd])[1:4] == [
        "yes",
        "dockerd",
        "--host=unix:///run/pytest-dind/docker.sock",
    ]
    assert _command(entrypoint=["tini", "--", dockerd])[1:5] == ["no", "tini", "--", "dockerd"]


def test_image_without_a_shell() -> None:
    """Where nothing can supervise dockerd, it is the first process itself."""
    unsupervised = connection.Unsupervised(cast("Engine", None), _HOME)
    spec = _spec(entrypoint=["tini", "--"]).over(unsupervised)
    made = spec.first_process(_NETWORK)

    assert made["entrypoint"][:3] == ["tini", "--", "dockerd"]
    assert made["command"] == []
    assert spec.preload.seed.key == "", "nothing there could bring a golden root"


def test_deadline_is_whole_seconds() -> None:
    """The supervisor's own deadline is a whole number, for sleep, and not before the user's."""
    assert _command(timeout=1.5)[0] == "2"
    assert _command(timeout=2)[0] == "3"


def test_user_arguments_come_last() -> None:
    """A user's argument comes after the plugin's own, so that it wins."""
    assert _command("--debug", "--group=docker")[-2:] == ["--debug", "--group=docker"]


@pytest.mark.parametrize(
    "arguments", [["--bip=10.9.0.1/24"], ["--bip", "10.9.0.1/24"], ["--debug", "--bip=10.9.0.1/24"]]
)
def test_user_bip(arguments: list[str]) -> None:
    """A user's own bridge replaces the plugin's; the pool stays."""
    found = _command(*arguments)

    assert _BIP not in found
    assert _POOL in found
    assert found[-len(arguments) :] == arguments


def test_user_pool() -> None:
    """A user's own pool replaces the plugin's: dockerd would take both."""
    found = _command("--default-address-pool=base=10.9.0.0/16,size=24")

    assert _POOL not in found
    assert _BIP in found


@pytest.mark.parametrize("argument", ["--bip6=fd00::1/64", "--label=--bip"])
def test_argument_that_looks_like_bip(argument: str) -> None:
    """An argument that only contains the name of the plugin's own takes nothing away."""
    assert _BIP in _command(argument)


@pytest.mark.parametrize("arguments", [["--bridge=none"], ["-b=none"], ["-b", "none"]])
def test_user_bridge(arguments: list[str]) -> None:
    """A user's own bridge leaves no place for `--bip`: dockerd refuses the two together."""
    assert _BIP not in _command(*arguments)


_REFUSALS: list[tuple[type[DindError], str, str]] = [
    (
        SettingsError,
        "--dind-publish PORT",
        "driver failed programming external connectivity on endpoint x (2b1c): Bind for "
        "127.0.0.1:8080 failed: port is already allocated",
    ),
    (
        SettingsError,
        "--dind-publish PORT",
        "driver failed programming external connectivity on endpoint x (2b1c): Error starting "
        "userland proxy: listen tcp4 127.0.0.1:8080: bind: address already in use",
    ),
    (
        SettingsError,
        "--dind-publish PORT",
        "failed to set up container networking: driver failed programming external connectivity "
        "on endpoint x (2b1c): failed to bind host port for 127.0.0.1:80:172.18.0.4:80/tcp: "
        "address already in use",
    ),
    (
        SettingsError,
        "--dind-publish PORT",
        "Ports are not available: exposing port TCP 127.0.0.1:9091 -> 127.0.0.1:0: listen tcp "
        "127.0.0.1:9091: bind: An attempt was made to access a socket in a way forbidden",
    ),
    (
        ModeUnavailable,
        "Use an engine that allows --privileged",
        "privileged mode is incompatible with user namespaces.  You must run the container in the "
        "host namespace when running privileged mode",
    ),
    (
        ModeUnavailable,
        "Use an engine that allows --privileged",
        "OCI runtime create failed: runc create failed: unable to start container process: unable "
        "to apply caps: operation not permitted: unknown",
    ),
    (
        ModeUnavailable,
        "Use an engine that allows --privileged",
        "authorization denied by plugin opa-docker-authz: request rejected by administrative "
        "policy",
    ),
    (
        NotShared,
        "Run the tests on the engine's own machine",
        'invalid mount config for type "bind": bind source path does not exist: /tmp/x/0123abcd',
    ),
    (
        NotShared,
        "Run the tests as the user that the engine runs as",
        'invalid mount config for type "bind": stat /tmp/pytest-dind-0/0123abcd/main: permission '
        "denied",
    ),
    (
        NotShared,
        "Set TMPDIR to a directory that the engine may mount",
        "Mounts denied: \nThe path /var/folders/x is not shared from the host and is not known to "
        "Docker.",
    ),
    (
        NotShared,
        "Set TMPDIR to a directory that the engine may mount",
        "Mounts denied: approving /path/to/work: file does not exist",
    ),
    (
        NoShell,
        "--dind-image docker:dind",
        "OCI runtime create failed: container_linux.go:380: starting container process caused: "
        'exec: "sh": executable file not found in $PATH: unknown',
    ),
    (
        NoShell,
        "--dind-image docker:dind",
        "failed to create task for container: failed to create shim task: OCI runtime create "
        'failed: runc create failed: unable to start container process: exec: "sh": executable '
        "file not found in $PATH: unknown",
    ),
    (
        NoShell,
        "--dind-image docker:dind",
        "OCI runtime create failed: executable file `sh` not found in $PATH: No such file or "
        "directory: OCI runtime attempted to invoke a command that was not found",
    ),
    (
        ImageUnavailable,
        "--dind-image docker:dind",
        'runc create failed: unable to start container process: exec: "dockerd": executable file '
        "not found in $PATH: unknown",
    ),
]


@pytest.mark.parametrize(("kind", "remedy", "text"), _REFUSALS)
def test_refusal(kind: type[DindError], remedy: str, text: str) -> None:
    """What engines say (Docker, Docker Desktop, runc, crun) becomes an error with a remedy."""
    error = engine_errors.refused(_HOME, Settings(image="i:t"), text)

    assert type(error) is kind
    assert str(error).startswith("The outer engine cannot start the daemon 'main' (image i:t).\n")
    assert " ".join(text.split()) in " ".join(str(error).split())
    assert remedy in str(error)


def test_restart_without_a_shell() -> None:
    """A daemon that nothing in its container can start anew says so, and is left as it is."""
    record = Record(
        mode="dind",
        home=_HOME,
        id="0123",
        host="unix:///x",
        address="",
        published=(),
        version="28",
        api_version="1.51",
        driver="overlay2",
        user_namespace=False,
        seconds=1,
        connection="unsupervised",
    )
    with pytest.raises(DindError) as caught:
        dind.make(Engine("unix:///no/such/socket")).restart(record, 60)

    text = str(caught.value)
    assert text.startswith("The daemon 'main' (mode dind) can't be restarted.\n")
    assert "Its image has no shell" in text
    assert "Start a new daemon instead, with dind_factory." in text


def test_engine_that_does_not_say_how_a_daemon_ended(
    short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine that hangs is not waited for to learn a lost daemon's exit code."""
    monkeypatch.setattr(container, "_POST_MORTEM_SECONDS", 0.1)
    known: dict[str, Any] = dict.fromkeys(Record.__dataclass_fields__, "")
    record = Record(
        **{**known, "home": Home(short_path / "main"), "id": "0123", "connection": "shared"}
    )
    over = threading.Event()

    def hang() -> Answer:
        over.wait(10)
        return Answer()

    with (
        FakeEngine(short_path / "d", {"GET /events": hang}) as fake,
        contextlib.closing(Engine(fake.host)) as engine,
    ):
        backend = dind.make(engine)
        try:
            with pytest.raises(RequestException):
                backend.post_mortem(record)
        finally:
            over.set()


def test_refusal_without_a_pattern() -> None:
    """What nobody foresaw is told as the engine said it, with ways on all the same."""
    error = engine_errors.refused(_HOME, Settings(image="i:t"), "the moon is full")

    assert type(error) is ModeUnavailable
    assert str(error) == (
        "The outer engine refused the container of the daemon 'main' (image i:t).\n"
        "Evidence:\n"
        "  the moon is full\n"
        "To fix this, either:\n"
        "  - Mend what the engine says.\n"
        "  - Try it without the plugin: docker run --rm --privileged IMAGE dockerd."
    )


def test_engine_that_does_not_answer() -> None:
    """An engine that never says whether it started a container is told as that."""
    error = engine_errors.unanswered(_HOME, Settings(image="x"), TimeoutError("read timed out"))

    assert isinstance(error, StartTimeout)
    text = str(error)
    assert "does not start the daemon 'main' (image x); it does not answer." in text
    assert "read timed out" in text
    assert "journalctl -u docker" in text


def test_engine_that_fails_while_a_daemon_starts(short_path: Path) -> None:
    """An engine that fails once the container is there is told in three parts, with the log."""
    home = Home(short_path / "main")
    home.path.mkdir()
    (home.path / "log").write_text("last words\n")
    looks = iter([Answer(body={"NetworkSettings": {"Networks": {}}, "Id": "0123"})])
    answers: dict[str, Any] = {
        "GET /images/i:t/json": Answer(body={"Id": "sha256:1", "Config": {}}),
        "POST /containers/create": Answer(201, {"Id": "0123"}),
        f"POST /containers/{home.label}/start": Answer(204),
        f"GET /containers/{home.label}/json": lambda: next(looks, Answer(500, {"message": "lost"})),
    }
    with (
        FakeEngine(short_path / "d", answers) as fake,
        contextlib.closing(Engine(fake.host)) as engine,
    ):
        backend = dind.make(engine)
        with pytest.raises(DaemonUnhealthy) as caught:
            backend.start(home, Settings(image="i:t", timeout=5), lambda text: None)

    assert str(caught.value) == (
        "The daemon 'main' (image i:t) could not be brought into use: the outer engine or the "
        "daemon itself broke off.\n"
        "Evidence:\n"
        "  lost\n"
        "  last words\n"
        "To fix this, either:\n"
        "  - Look at the engine's own log: journalctl -u docker.\n"
        "  - Look for what ended the daemon in the log lines above."
    )


_INFO = {"ServerVersion": "28", "Driver": "overlay2"}
# A pull takes longer than a daemon may.
_PULL_SECONDS, _TIMEOUT = 2.5, 2


@contextlib.contextmanager
def _slow(short_path: Path, home: Home) -> Iterator[Engine]:
    """An engine that lacks images and is slow to pull them, and a daemon on it that is ready."""
    pulled: list[bool] = []

    def pull() -> Answer:
        threading.Event().wait(_PULL_SECONDS)
        pulled.append(True)
        return Answer(body='{"status": "Downloaded"}')

    def found() -> Answer:
        if not pulled:
            return Answer(404, {"message": "No such image"})
        return Answer(body={"Id": "sha256:1", "Config": {}})

    home.path.mkdir()
    answers: dict[str, Any] = {
        "GET /version": Answer(body={"ApiVersion": "1.41"}),
        "GET /images/i:t/json": found,
        "GET /images/l:t/json": found,
        "POST /images/create": pull,
        "POST /containers/create": Answer(201, {"Id": "0123"}),
        f"POST /containers/{home.label}/start": Answer(204),
        f"GET /containers/{home.label}/json": Answer(
            body={"NetworkSettings": {"Networks": {}}, "Id": "0123"}
        ),
    }
    inner = {
        "GET /info": Answer(body=_INFO),
        "GET /version": Answer(body={"ApiVersion": "1.41"}),
    }
    with (
        FakeEngine(short_path / "d", answers) as fake,
        FakeEngine(home.path / layout.SOCKET, inner),
        contextlib.closing(Engine(fake.host)) as engine,
    ):
        yield engine


def _is_timed_apart(record: Record) -> None:
    assert record.pulled >= _PULL_SECONDS
    assert record.seconds < _TIMEOUT


def test_pull_is_no_part_of_the_start(short_path: Path) -> None:
    """A pull that takes longer than a daemon may is none of its time, and told apart."""
    home = Home(short_path / "main")
    with _slow(short_path, home) as engine:
        backend = dind.make(engine)
        record = backend.start(home, Settings(image="i:t", timeout=_TIMEOUT), lambda text: None)

    _is_timed_apart(record)


def test_pull_is_no_part_of_a_guards_start(
    short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same in mode socket, for the images to load."""
    monkeypatch.setattr(guard_launch, "start", lambda orders, timeout: True)
    home = Home(short_path / "main")
    with _slow(short_path, home) as engine:
        record = socket.make(engine).start(
            home, Settings(load=["l:t"], timeout=_TIMEOUT), lambda text: None
        )

    _is_timed_apart(record)


def test_settings_of_a_guard(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a guard was started with is known to each process, for its client container."""
    monkeypatch.setattr(guard_launch, "start", lambda orders, timeout: True)
    home = Home(short_path / "main")
    settings = Settings(load=["l:t"], image="other:tag")
    with _slow(short_path, home) as engine:
        with pytest.raises(DaemonLost, match="is gone; nothing can be done in it"):
            socket.make(engine)._settings(home)
        socket.make(engine).start(home, settings, lambda text: None)

        assert socket.make(engine)._settings(home) == settings


def test_pull_while_a_daemon_gets_its_images(
    short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An image that vanishes and is pulled again once the daemon is ready is timed apart too."""
    home = Home(short_path / "main")

    def provide(preload: seeding.Preload, daemon: object) -> None:
        assert not preload.source.pulled
        preload.source.ensure("l:t")

    monkeypatch.setattr(seeding.Preload, "provide", provide)
    monkeypatch.setattr(
        seeding, "preload", lambda settings, mode, image, source, *_: seeding.Preload((), source)
    )
    with _slow(short_path, home) as engine:
        backend = dind.make(engine)
        there = {"Id": "sha256:1", "Config": {}}
        ensure = images.ImageSource.ensure
        monkeypatch.setattr(
            images.ImageSource,
            "ensure",
            lambda supply, name: there if name == "i:t" else ensure(supply, name),
        )
        record = backend.start(home, Settings(image="i:t", timeout=_TIMEOUT), lambda text: None)

    _is_timed_apart(record)


def test_registries() -> None:
    """Mirrors and registries reach dockerd as its own arguments."""
    settings = Settings(
        registry_mirror=("http://m:5000",), insecure_registry=("r:5000", "10.0.0.0/8")
    )
    found = _spec(settings).first_process(_NETWORK)["command"]

    assert "--registry-mirror=http://m:5000" in found
    assert {"--insecure-registry=r:5000", "--insecure-registry=10.0.0.0/8"} < set(found)


def test_limits() -> None:
    """Limits are the container's, without swap in addition; none are set unasked."""
    assert spec.limits(Settings()) == {}
    assert spec.limits(Settings(memory="2g", cpus="0.5")) == {
        "mem_limit": "2g",
        "memswap_limit": "2g",
        "nano_cpus": 500_000_000,
    }


def test_processes_are_not_limited() -> None:
    """An engine with a limit of its own for each container, as Podman's, is told of none."""
    api: Any = Mock(networks=Mock(return_value=[]), create_host_config=dict)
    assert _spec().arguments(api)["host_config"]["PidsLimit"] == 0


@pytest.mark.parametrize("remapped", [True, False])
def test_engine_that_maps_users(remapped: bool) -> None:
    """A privileged container has the engine's own users; one that has none else is left alone."""
    api: Any = Mock(networks=Mock(return_value=[]), create_host_config=dict)
    info = {"SecurityOptions": ["name=seccomp", "name=userns"] if remapped else None}
    made = dataclasses.replace(_spec(), outer_info=lambda: info)
    privileged = dataclasses.replace(
        made, mode=ContainerMode("dind", host_config={"privileged": True})
    )

    assert privileged.arguments(api)["host_config"].get("userns_mode") == (
        "host" if remapped else None
    )
    assert "userns_mode" not in made.arguments(api)["host_config"]


def test_label_of_the_container_of_the_tests() -> None:
    """Beside tests in a container, the daemon's container and its volume carry that one's id."""
    api: Any = Mock(networks=Mock(return_value=[]), create_host_config=dict)
    made = dataclasses.replace(_spec(), container="c0ffee").arguments(api)

    assert made["labels"][labels.CONTAINER] == "c0ffee"
    [data_root] = [
        mount for mount in made["host_config"]["mounts"] if mount["Target"] == layout.DATA_ROOT
    ]
    assert data_root["VolumeOptions"]["Labels"][labels.CONTAINER] == "c0ffee"
    assert labels.CONTAINER not in _spec().arguments(api)["labels"]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"publish": ["8080"], "scope": "worker"}, True),
        ({"publish": ["8080"]}, False),
        ({"scope": "worker"}, False),
    ],
    ids=str,
)
def test_port_of_each_worker(settings: dict[str, Any], told: bool) -> None:
    """Where each worker's daemon publishes the same port, that is told as the way out."""
    text = "Bind for 0.0.0.0:8080 failed: port is already allocated"
    error = engine_errors.refused(_HOME, Settings(image="i:t", **settings), text)

    assert isinstance(error, SettingsError)
    assert ("--dind-scope session" in error.remedy[0]) == told
    assert "Name another port: --dind-publish PORT." in error.remedy
