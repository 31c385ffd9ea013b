"""The container of a daemon, as the outer engine is asked for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..engine import activation, containers
from ..lifetime import labels, layout
from ..lifetime.layout import Home
from ..settings import Settings
from ..store import seeding
from . import environment, names, proxies, rootless, subnets
from .connection import Connection
from .mounts import SuiteFiles

if TYPE_CHECKING:
    from .probe import Obstacle

_DOCKERD = "dockerd"
_INSECURE = "--insecure-registry"
_LOOPBACK = ("127.0.0.0/8", "::1/128")
_SCRIPTS = ("store/store.sh", rootless.SCRIPT, "backends/supervise.sh")
# A bridge of the user's own; dockerd refuses it together with `--bip`.
_OTHER_BRIDGE = {"--bridge", "-b"}


@dataclass(frozen=True)
class ContainerMode:
    """How the containers of one mode differ from those of another.

    Attributes:
        name: The mode.
        host_config: As docker-py's `create_host_config` takes it.
        user_namespace: Whether root in them is not root on the engine's machine.
        judge: Gives the obstacle in the user ids and mounts that a container sees, if there is one;
            None where a mode's containers are not judged.
    """

    name: str
    host_config: Mapping[str, Any] = field(default_factory=dict)
    user_namespace: bool = False
    judge: Callable[[str], Obstacle | None] | None = None


@dataclass(frozen=True)
class ContainerSpec:
    """What a daemon's container is made of.

    Attributes:
        home: The daemon's home.
        settings: The daemon's settings.
        image: The daemon's image, as the engine's inspect has it.
        mode: The mode.
        connection: How the test process reaches the daemon.
        preload: The images that the daemon has from its start.
        files: The files of this machine that the daemon has.
        gateway: As `subnets.nested` takes it.
        outer_info: Gives what the outer engine tells about itself.
        container: The id of the engine's container that the tests run in, if they do.
    """

    home: Home
    settings: Settings
    image: Mapping[str, Any]
    mode: ContainerMode
    connection: Connection
    preload: seeding.Preload
    files: SuiteFiles = field(default_factory=SuiteFiles)
    gateway: str | None = ""
    outer_info: Callable[[], Mapping[str, Any]] = dict
    container: str = ""

    @property
    def subject(self) -> str:
        """The daemon, as error texts name it."""
        return f"The daemon {self.home.name!r} (mode {self.mode.name}, image {self.settings.image})"

    def over(self, connection: Connection) -> ContainerSpec:
        """The same daemon over another connection.

        The first process of the container brings the golden root; without it there is none.
        """
        preload = self.preload
        if not connection.supervised:
            preload = dataclasses.replace(preload, seed=seeding.Seed())
        return dataclasses.replace(self, connection=connection, preload=preload)

    def arguments(self, api: Any) -> dict[str, Any]:
        """The arguments of docker-py's `create_container`, for an engine with this API.

        Raises:
            SettingsError: the engine lacks the network that the daemon is to join.
        """
        connection, settings = self.connection, self.settings
        outer = api.networks()
        if settings.network:
            names.demand(settings.network, outer)
        ours = labels.make(
            self.home.run,
            mode=self.mode.name,
            keep=settings.keep,
            home=self.home.path,
            cache=self.preload.seed.key,
        ) | labels.of_container(self.container)
        bindings = connection.bindings()
        bindings |= {
            (port, protocol): (connection.bind, port) for port, protocol in settings.ports()
        }
        network = self._network(outer)
        return {
            "image": settings.image,
            "name": self.home.label,
            "user": containers.SUPERUSER,
            "labels": ours,
            **self.first_process(network),
            "environment": self._environment(network),
            # docker-py would add the docker config's, which are for containers of the user's own.
            "use_config_proxy": False,
            "ports": list(bindings),
            "host_config": api.create_host_config(
                mounts=[*connection.mounts(), *self._volumes(ours), *self.files.mounts()],
                tmpfs=self.files.tmpfs() or None,
                # Without a supervisor nothing else keeps the log and the exit code.
                auto_remove=connection.supervised,
                network_mode=connection.network or None,
                port_bindings={
                    f"{port}/{protocol}": where for (port, protocol), where in bindings.items()
                },
                **connection.options(),
                **limits(settings),
                **self._users(),
                **self.mode.host_config,
            )
            # As the docker CLI asks for it; Podman would allow 2048, nested containers' included.
            | {"PidsLimit": 0},
        }

    def _users(self) -> dict[str, str]:
        privileged = self.mode.host_config.get("privileged")
        return containers.with_own_users(self.outer_info()) if privileged else {}

    def _environment(self, network: subnets.Network) -> dict[str, str]:
        homes = filter(Path.is_dir, self.home.path.parent.glob("*"))
        daemons = {self.home.name, *(path.name for path in homes)}
        around = proxies.Surroundings(
            info=self.outer_info(),
            variables=activation.outside(),
            network=network,
            names=sorted(daemons),
        )
        return environment.variables(self.settings, around, self.preload.source.progress)

    def first_process(self, network: subnets.Network) -> dict[str, list[str]]:
        """The container's first process, as docker-py's `create_container` takes it."""
        entrypoint = list(self.image["Config"].get("Entrypoint") or [])
        if entrypoint and Path(entrypoint[-1]).name == _DOCKERD:
            entrypoint.pop()
        daemon = [*entrypoint, _DOCKERD, *self._dockerd_arguments(network)]
        if not self.connection.supervised:
            return {"entrypoint": daemon, "command": []}
        return {
            "entrypoint": ["sh", "-c", containers.script(*_SCRIPTS), "sh"],
            "command": [
                str(int(self.settings.timeout) + 1),
                "no" if entrypoint else "yes",
                self.home.label,
                *self.preload.seed.arguments(),
                self.connection.name,
                " ".join(self._without_given(network.recent_arguments())),
                *daemon,
            ],
        }

    def _network(self, outer: Iterable[Mapping[str, Any]]) -> subnets.Network:
        """The daemon's own network on an engine that has these networks."""
        started_in = self.connection.network or subnets.DEFAULT
        joined = filter(None, [started_in, self.settings.network])
        return subnets.nested(outer, tuple(joined), self.gateway)

    def _without_given(self, arguments: Iterable[str]) -> list[str]:
        """Those of the plugin's arguments that no argument of the user's takes the place of."""
        given = {argument.partition("=")[0] for argument in self.settings.arg}
        if given & _OTHER_BRIDGE:
            given.add("--bip")
        return [argument for argument in arguments if argument.partition("=")[0] not in given]

    def _dockerd_arguments(self, network: subnets.Network) -> list[str]:
        settings = self.settings
        return [
            *self.connection.arguments(),
            # Where tools in the container, and nested containers that mount it, find a daemon.
            f"--host=unix://{layout.SOCKET_IN_CONTAINER}",
            *(f"--registry-mirror={url}" for url in settings.registry_mirror),
            *(f"{_INSECURE}={registry}" for registry in self._insecure_registries()),
            *self._without_given(network.arguments()),
            *settings.arg,
        ]

    def _insecure_registries(self) -> tuple[str, ...]:
        """The registries that need no TLS.

        Those on loopback need none; with newer engines (see `versions`) only as long as no other is
        named.
        """
        found = self.settings.insecure_registry
        given = any(argument.partition("=")[0] == _INSECURE for argument in self.settings.arg)
        return (*found, *_LOOPBACK) if found or given else ()

    def _volumes(self, ours: Mapping[str, str]) -> list[Any]:
        """The data-root, and the warm store for a daemon that has part in it."""
        # A volume without a name: it goes when the container goes.
        data_root = containers.volume(layout.DATA_ROOT, None, ours)
        if not self.preload.seed.key:
            return [data_root]
        store = labels.of_store(self.settings.image)
        return [data_root, containers.volume(layout.STORE_IN_CONTAINER, seeding.VOLUME, store)]


def limits(settings: Settings) -> dict[str, Any]:
    """The limits of the container, as docker-py's host config has them."""
    limited: dict[str, Any] = {}
    if settings.memory:
        # No swap in addition: what exceeds the limit is killed, instead of crawling.
        limited |= {"mem_limit": settings.memory, "memswap_limit": settings.memory}
    if settings.cpus:
        limited["nano_cpus"] = int(float(settings.cpus) * 1e9)
    return limited
