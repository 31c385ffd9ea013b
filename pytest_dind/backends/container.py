"""A daemon in a container of the outer engine: what the modes dind and sysbox share."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http import HTTPStatus
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from .. import health, images, labels, store
from ..errors import DindError, EngineUnavailable, ImageUnavailable, ModeUnavailable, SettingsError
from ..settings import Settings
from ..workspace import SOCKET
from . import execution, network
from .protocol import Home, Record

if TYPE_CHECKING:
    import docker
    from docker.models.containers import Container

    from ..engine import Engine

T = TypeVar("T")
Verify: TypeAlias = "Callable[[Engine, Mapping[str, Any]], None]"

# Where the home is in the container. Not below /tmp: the official image mounts a tmpfs over that.
_HOME = "/run/pytest-dind"
_DATA_ROOT = "/var/lib/docker"
_DOCKERD = "dockerd"
_SCRIPTS = ("store.sh", "supervise.sh")
# A bridge of the user's own; dockerd refuses it together with `--bip`.
_OTHER_BRIDGE = {"--bridge", "-b"}


class ContainerBackend:
    """Daemons in containers.

    Args:
        engine: The outer engine.
        mode: The mode these are of.
        host_config: What the mode's containers differ in.
        user_namespace: Whether root in them is not root on the engine's machine.
        verify: Checks of the mode's own on what a healthy daemon says of itself (`docker info`).
    """

    def __init__(
        self,
        engine: Engine,
        *,
        mode: str,
        host_config: Mapping[str, Any],
        user_namespace: bool = False,
        verify: Verify = lambda engine, info: None,
    ) -> None:
        self._engine = engine
        self._mode = mode
        self._host_config = dict(host_config)
        self._user_namespace = user_namespace
        self._verify = verify

    def start(self, home: Home, settings: Settings, say: images.Say) -> Record:
        """Start a daemon and wait until it is healthy; `stop` removes what a failed start left."""
        began = time.monotonic()
        image = images.ensure(self._engine.client, settings.image, say)
        ticket = store.ticket(settings, self._mode, image["Id"], self._engine, say)
        uninterrupted(lambda: self._create(home, settings, image, ticket))
        details = self._inspect(home.label)
        new = _New(self, home, settings, ticket)
        api_version = new.wait(spent=time.monotonic() - began)
        with new.client() as client:
            info = client.info()
        health.check(new.subject, info, api_version)
        self._verify(self._engine, info)
        store.provide(home, ticket, settings, self._engine, new, say)
        return Record(
            mode=self._mode,
            home=home,
            id=details["Id"],
            host=new.host,
            address=_address(details),
            published=tuple(f"{port}/{protocol}" for port, protocol in settings.ports()),
            version=info["ServerVersion"],
            api_version=api_version,
            driver=info["Driver"],
            user_namespace=self._user_namespace,
            seconds=time.monotonic() - began,
        )

    def _create(
        self, home: Home, settings: Settings, image: Mapping[str, Any], ticket: store.Ticket
    ) -> None:
        """Create and start the container."""
        from docker.errors import APIError

        api = self._engine.client.api
        ours = labels.make(
            home.run, mode=self._mode, keep=settings.keep, home=home.path, cache=ticket.key
        )
        ports = settings.ports()
        try:
            api.create_container(
                settings.image,
                name=home.label,
                labels=ours,
                entrypoint=["sh", "-c", _script(), "sh"],
                command=_command(home, image, settings, ticket, network.nested(api.networks())),
                ports=ports,
                host_config=api.create_host_config(
                    mounts=_mounts(home, ticket, ours),
                    auto_remove=True,
                    port_bindings={
                        f"{port}/{protocol}": ("127.0.0.1", port) for port, protocol in ports
                    },
                    **self._host_config,
                ),
            )
            api.start(home.label)
        except APIError as error:
            raise _refused(home, settings, error.explanation or str(error)) from error

    def _inspect(self, name: str) -> dict[str, Any]:
        """The container's details; empty when it is gone."""
        from docker.errors import NotFound

        try:
            details: dict[str, Any] = self._engine.client.api.inspect_container(name)
        except NotFound:
            return {}
        return details

    @property
    def mode(self) -> str:
        """The mode these daemons are of."""
        return self._mode

    def is_gone(self, home: Home) -> bool:
        """Whether the container of this home has ended."""
        return not self._inspect(home.label)

    def signal(self, home: Home, signal: str) -> None:
        """Send a signal to the container's first process."""
        self._engine.client.api.kill(home.label, signal)

    def container(self, record: Record) -> Container:
        """The outer container."""
        return self._engine.client.containers.get(record.id)

    def exec(
        self,
        record: Record,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None,
        workdir: str | None,
        stdin: bytes | None,
        timeout: float | None,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command in the daemon's container."""
        return execution.run(
            self._engine.client,
            record.id,
            command,
            env=env,
            workdir=workdir,
            stdin=stdin,
            timeout=timeout,
        )

    def post_mortem(self, record: Record) -> int | None:
        """The exit code of a daemon that is gone, by its own word or by the engine's events."""
        # The engine removed the container, but remembers its last events (moby: 256 of them).
        # It is asked for them up to the next second, since the end may be on its way.
        stream: Any = self._engine.client.api.events(
            since=0,
            until=int(time.time()) + 1,
            filters={"container": record.id, "event": "die"},
            decode=True,
        )
        with contextlib.closing(stream):
            ends = [event["Actor"]["Attributes"].get("exitCode") for event in stream]
        written = health.exit_code(record.home.path)
        if written is not None:
            return written
        return int(ends[-1]) if ends and ends[-1] else None

    def stop(self, home: Home) -> None:
        """Remove the container with its volume; one that is gone is fine."""
        from docker.errors import APIError, NotFound

        api = self._engine.client.api
        try:
            api.remove_container(home.label, force=True, v=True)
        except NotFound:
            pass
        except APIError as error:
            # 409: it ended by itself just now, and the engine is removing it already.
            if error.status_code != HTTPStatus.CONFLICT:
                raise
            with contextlib.suppress(NotFound):
                api.wait(home.label, condition="removed")


def uninterrupted(call: Callable[[], T]) -> T:
    """Finish `call` even when an exception, such as Ctrl-C, is raised here meanwhile.

    A request that the engine carries out while nobody waits for it would leave its container
    behind; a Ctrl-C is raised once the request is through, when there is something to remove.
    """
    with ThreadPoolExecutor(max_workers=1) as pool:
        # The executor's exit waits for the call.
        return pool.submit(call).result()


class _New:
    """A daemon in a container that was started just now."""

    def __init__(
        self, backend: ContainerBackend, home: Home, settings: Settings, ticket: store.Ticket
    ) -> None:
        self._backend = backend
        self._home = home
        self._settings = settings
        self._ticket = ticket
        self.host = f"unix://{home.path / SOCKET}"
        self.subject = f"The daemon {home.name!r} (mode {backend.mode}, image {settings.image})"

    def wait(self, *, spent: float = 0) -> str:
        """Wait until it serves; gives the newest API version it speaks."""
        return health.wait_until_ready(
            self.subject,
            self._home.path,
            self.host,
            timeout=self._settings.timeout,
            spent=spent,
            gone=lambda: self._backend.is_gone(self._home),
            # The answer of a daemon that is about to be published doesn't count.
            awaited=lambda: not self._ticket.key or bool(store.outcome(self._home)),
        )

    @contextmanager
    def client(self) -> Iterator[docker.DockerClient]:
        """A client on it."""
        import docker

        client = docker.DockerClient(base_url=self.host)
        try:
            yield client
        finally:
            client.close()

    def publish(self) -> None:
        """Have a golden root made of it, and a new daemon with that root in its place."""
        self._backend.signal(self._home, "SIGUSR2")
        self.wait()


def _script() -> str:
    """What the container's first process runs."""
    return "".join(files(__package__).joinpath(name).read_text() for name in _SCRIPTS)


def _mounts(home: Home, ticket: store.Ticket, ours: Mapping[str, str]) -> list[Any]:
    from docker.types import DriverConfig, Mount

    mounts = [
        Mount(_HOME, str(home.path), type="bind"),
        # A volume without a name: it goes when the container goes.
        Mount(
            _DATA_ROOT, None, type="volume", labels=dict(ours), driver_config=DriverConfig("local")
        ),
    ]
    return [*mounts, Mount(store.PATH, store.VOLUME)] if ticket.key else mounts


def _command(
    home: Home,
    image: Mapping[str, Any],
    settings: Settings,
    ticket: store.Ticket,
    layout: network.Network,
) -> list[str]:
    """The arguments of supervise.sh, with the daemon's command as their last."""
    entrypoint = list(image["Config"].get("Entrypoint") or [])
    bare = not entrypoint
    if entrypoint and Path(entrypoint[-1]).name == _DOCKERD:
        entrypoint.pop()
    given = {argument.partition("=")[0] for argument in settings.arg}
    if given & _OTHER_BRIDGE:
        given.add("--bip")
    return [
        str(int(settings.timeout) + 1),
        "yes" if bare else "no",
        home.label,
        *ticket.arguments(),
        *entrypoint,
        _DOCKERD,
        f"--host=unix://{_HOME}/{SOCKET}",
        # Where tools in the container, and nested containers that mount it, look for a daemon.
        "--host=unix:///var/run/docker.sock",
        # The socket's group, so that a test process that is not root may use it.
        f"--group={os.getgid()}",
        *(flag for flag in layout.arguments() if flag.partition("=")[0] not in given),
        *settings.arg,
    ]


def _address(details: Mapping[str, Any]) -> str:
    """The container's address: per network, since API 1.52 has no other."""
    networks = details["NetworkSettings"]["Networks"].values()
    return next((net["IPAddress"] for net in networks if net.get("IPAddress")), "")


def _refused(home: Home, settings: Settings, text: str) -> DindError:
    """The error for an engine that did not create or start the container."""
    for pattern, error, remedy in _REFUSALS:
        if re.search(pattern, text, re.IGNORECASE):
            return error(
                f"The outer engine cannot start the daemon {home.name!r} (image {settings.image}).",
                evidence=text,
                remedy=remedy,
            )
    return ModeUnavailable(
        f"The outer engine refused the container of the daemon {home.name!r} "
        f"(image {settings.image}).",
        evidence=text,
        remedy=[
            "Mend what the engine says.",
            "Try it without the plugin: docker run --rm --privileged IMAGE dockerd.",
        ],
    )


# What engines say (moby's, runc's and crun's own texts), what it means, and the ways on.
_REFUSALS: list[tuple[str, type[DindError], list[str]]] = [
    (
        r"port is already allocated|address already in use|ports are not available",
        SettingsError,
        [
            "Name another port: --dind-publish PORT.",
            "End what holds the port (ss -ltnp shows it).",
        ],
    ),
    (
        r"privileged|unable to apply caps|operation not permitted|authorization denied",
        ModeUnavailable,
        [
            "Use an engine that allows --privileged: --dind-host HOST.",
            "Where the engine remaps user namespaces (userns-remap) or its policy forbids "
            "--privileged, ask who runs it for an exception.",
        ],
    ),
    (
        r"bind source path does not exist|mounts denied|not shared from",
        EngineUnavailable,
        [
            "Run the tests on the engine's own machine.",
            "If they run in a container that has the engine's socket mounted, mount the temp dir "
            "into it under the same path.",
            "Set TMPDIR to a directory that the engine may mount.",
        ],
    ),
    (
        r'exec: "sh"|stat sh: no such file|executable file (`sh` )?not found',
        ImageUnavailable,
        ["Name a Docker-in-Docker image: --dind-image docker:dind."],
    ),
]
