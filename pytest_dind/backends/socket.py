"""Mode socket: the outer engine itself, behind a guard."""

from __future__ import annotations

import contextlib
import subprocess
from typing import TYPE_CHECKING, Any

from ..allowances import BUILDKIT
from ..engine import exec as exec_module
from ..engine.containers import SUPERUSER
from ..engine.engine import Engine, answering
from ..engine.images import ImageSource
from ..errors import DaemonExited, SettingsError
from ..guard import launch
from ..guard.config import GuardConfig
from ..guard.objects import leftovers
from ..guard.objects.listing import labelled
from ..guard.objects.roles import CLIENT
from ..guard.rules.policy import OWN
from ..lifetime import directories, labels, layout
from ..lifetime.files import Directory, Files
from ..lifetime.layout import Home
from ..mounts import parse
from ..settings import Settings
from . import mounts, names, readiness, records
from .engine_errors import UNSHARED_REMEDY, gone
from .probe import LEASE_SEEN, LEASES, LOOK, Obstacle, sections
from .protocol import LOOPBACK, Record

if TYPE_CHECKING:
    import docker
    from docker.models.containers import Container

    from ..engine.streams import Progress
    from .probe import Probe
    from .shaping import Shaper

ISOLATES = False

_MODE = "socket"
_UNIX = "unix://"
_IDLE = "while :; do sleep 86400; done"


def make(engine: Engine) -> SocketBackend:
    """The backend on this outer engine."""
    return SocketBackend(engine)


def check(engine: Engine, probe: Probe) -> Obstacle | None:
    """The obstacle to a guard: only an engine that is reached by a unix socket can have one."""
    if engine.url.startswith(_UNIX):
        return None
    return Obstacle(
        "the engine is not reached by a unix socket",
        f"The engine's URL is {engine.url}.",
        (
            "Run the tests on the engine's own machine, and name its socket: "
            "--dind-host=unix:///var/run/docker.sock.",
            "Use another mode: --dind-mode=auto.",
        ),
    )


def check_thoroughly(engine: Engine, probe: Probe) -> Obstacle | None:
    """The same, and whether a container sees the directory that the guard's socket will be in."""
    obstacle = check(engine, probe)
    if obstacle is not None:
        return obstacle
    result = probe(LOOK, shares=True)
    if result.ran and sections(result.output).get(LEASES) == LEASE_SEEN:
        return None
    return Obstacle(
        "containers have no part in this process's directories",
        "A FIFO that this process holds open is not there, or not open, in a container: the engine "
        "is in another container, or in a virtual machine.",
        (*UNSHARED_REMEDY, "Use another mode: --dind-mode=auto."),
    )


def proved_by_start(engine: Engine) -> bool:
    """False: `check` costs nothing that a start would save."""
    return False


class SocketBackend:
    """Guards of the outer engine; each takes the place that a daemon has in other modes."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def start(
        self, home: Home, settings: Settings, progress: Progress, shaper: Shaper | None = None
    ) -> Record:
        """Start a guard; `stop` removes what a failed start left."""
        import docker

        _refuse_settings_of_daemons(settings)
        source = ImageSource(self._engine.client, progress)
        with answering(self._engine):
            for name in settings.load:
                source.ensure(name)
            gateway = names.way_back(self._engine)
        self._launch(home, settings)
        host = f"{_UNIX}{home.path / layout.SOCKET}"
        with contextlib.closing(docker.DockerClient(base_url=host, version="auto")) as client:
            info = client.info()
            api_version = client.api.api_version
        record = Record(
            mode=_MODE,
            home=home,
            id=home.label,
            host=host,
            address=LOOPBACK,
            published=(),
            version=info["ServerVersion"],
            api_version=api_version,
            driver=info["Driver"],
            user_namespace=False,
            seconds=source.seconds,
            pulled=source.pulled,
            gateway=gateway,
        )
        # The client container, which another process may make, and a restart need the settings.
        records.write(record, settings)
        return record

    def _launch(self, home: Home, settings: Settings) -> None:
        binds = mounts.of(settings, home).binds
        config = GuardConfig(
            home=str(home.path),
            socket=str(home.path / layout.SOCKET),
            lease=str(home.path / layout.LEASE),
            kept=str(home.path / layout.KEPT),
            engine=self._engine.url.removeprefix(_UNIX),
            labels=_labels(home, settings),
            guard=settings.guard,
            allow=settings.guard_allow,
            roots=tuple(bind.source for bind in binds if not bind.read_only),
            read_only=tuple(bind.source for bind in binds if bind.read_only),
        )
        if not launch.start(config, settings.timeout):
            raise DaemonExited(
                f"The guard of the daemon {home.name!r} did not start.",
                evidence=readiness.log(Directory(home.path)) or "It has logged nothing.",
                remedy=[
                    "Mend what its last log lines say.",
                    "Use another mode: --dind-mode=auto.",
                ],
            )

    def files(self, record: Record) -> Files:
        """A guard's files, of which the log is one."""
        return Directory(record.home.path)

    def hold(self, record: Record) -> None:
        """Nothing: the run's lease keeps the guard alive."""

    def forward(self, record: Record) -> None:
        """Nothing: what the outer engine publishes is on its machine's loopback already."""

    def release(self) -> None:
        """Nothing: `hold` began nothing."""

    def outer(self) -> docker.DockerClient:
        """A client on the outer engine, which has the images to load."""
        return self._engine.client

    def container(self, record: Record) -> Container | None:
        """None: the daemon is the outer engine itself."""
        return None

    def exec(
        self, record: Record, command: exec_module.Command
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command in a client container, which has the guarded socket."""
        if not launch.is_alive(record.home.path):
            raise gone(record.home, ConnectionError("Its guard does not run."))
        return exec_module.run(self._engine.client, self._client(record.home), command)

    def _client(self, home: Home) -> str:
        """The id of the client container, made when it is first needed."""
        from docker.errors import NotFound
        from docker.types import Mount

        api: Any = self._engine.client.api
        with directories.locked(home.path, CLIENT):
            with contextlib.suppress(NotFound):
                there = api.inspect_container(home.label)
                if not there["State"]["Running"]:
                    # It does not after a restart of the engine.
                    api.start(there["Id"])
                return str(there["Id"])
            settings = self._settings(home)
            ImageSource(self._engine.client, lambda line: None).ensure(settings.image)
            files = mounts.of(settings, home)
            made = api.create_container(
                settings.image,
                name=home.label,
                user=SUPERUSER,
                entrypoint=["sh", "-c", _IDLE],
                command=[],
                labels={**_labels(home, settings), labels.ROLE: CLIENT},
                environment=_variables(settings),
                use_config_proxy=False,
                host_config=api.create_host_config(
                    tmpfs=files.tmpfs() or None,
                    mounts=[
                        *files.mounts(),
                        Mount(
                            layout.SOCKET_IN_CONTAINER, str(home.path / layout.SOCKET), type="bind"
                        ),
                        # Has the sockets of labelling proxies, too.
                        Mount(layout.IN_CONTAINER, str(home.path), type="bind", read_only=True),
                    ],
                ),
            )
            api.start(made["Id"])
            return str(made["Id"])

    def restart(self, record: Record, timeout: float) -> None:
        """Start the guard anew; it knows the objects that tests made by their labels."""
        from docker.errors import NotFound

        settings = self._settings(record.home).replace(timeout=timeout)
        launch.end(record.home.path)
        self._launch(record.home, settings)
        with contextlib.suppress(NotFound):
            # It still has the socket of the guard that ended.
            self._engine.client.api.restart(record.home.label, timeout=0)

    def _settings(self, home: Home) -> Settings:
        """The settings that the guard was started with.

        Raises:
            DaemonLost: there is no guard.
        """
        found = records.read(home)
        if found is None:
            raise gone(home, FileNotFoundError(f"There is no {home.path / layout.STATE}."))
        return found[1]

    def post_mortem(self, record: Record) -> int | None:
        """None: nobody knows the exit code of a guard that is gone."""
        return None

    def stop(self, home: Home) -> None:
        """End the guard, and remove the objects that its tests made."""
        # Asked first: where the engine does not answer, the guard stays to do it later.
        labelled(self._engine.client.api, CLIENT, str(home.path))
        launch.end(home.path)
        leftovers.purge(self._engine, home.path)
        with contextlib.suppress(FileNotFoundError):
            (home.path / layout.GUARD).unlink()


def _refuse_settings_of_daemons(settings: Settings) -> None:
    """Check that no setting is given that only a started daemon has: it would have no effect.

    Raises:
        SettingsError: one is.
    """
    for text in settings.mount:
        mount = parse(text)
        if mount.copied or mount.target not in ("", mount.source):
            raise SettingsError(
                f"--dind-mount: {text} can't be had in mode {_MODE}: the engine has this machine's "
                "files under their own paths alone.",
                evidence="In this mode the option says which paths tests may bind.",
                remedy=[
                    "Give the path alone: --dind-mount PATH.",
                    "Use a mode with a daemon of its own: --dind-mode=auto.",
                ],
            )
    for name in settings.of_started_daemon():
        option = name.replace("_", "-")
        raise SettingsError(
            f"--dind-{option} can't be had in mode {_MODE}: there is no daemon of the run's own "
            "to set that for.",
            evidence=f"{name} is {getattr(settings, name)!r}.",
            remedy=[
                f"Leave --dind-{option} out.",
                "Use a mode with a daemon of its own: --dind-mode=auto.",
            ],
        )


def _variables(settings: Settings) -> dict[str, str]:
    """The client container's environment; its docker uses BuildKit only where that is allowed."""
    refuses = settings.guard == OWN and BUILDKIT not in settings.guard_allow
    return {"DOCKER_BUILDKIT": "0"} if refuses else {}


def _labels(home: Home, settings: Settings) -> dict[str, str]:
    found = labels.make(home.run, mode=_MODE, keep=settings.keep, home=home.path)
    return {key: value for key, value in found.items() if value}
