"""Mode socket: the outer engine itself, behind a guard."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..daemon.commands import gone
from ..engine import exec as execution
from ..engine import images
from ..engine.engine import Engine, answering
from ..errors import DaemonExited, SettingsError
from ..guard import launch, remains
from ..guard.allow import BUILDKIT
from ..guard.orders import Orders
from ..guard.policy import OWN
from ..guard.roles import CLIENT
from ..lifetime import directories, labels
from ..lifetime.files import Directory, Files
from ..lifetime.layout import GUARD, IN_CONTAINER, KEPT, LEASE, ROOT, SOCKET, Home
from ..settings import Settings
from . import readiness, records
from .engine_errors import ELSEWHERE_REMEDY
from .probe import LEASE_SEEN, LEASES, LOOK, Obstacle, sections
from .protocol import Record
from .spec import SUPERUSER

if TYPE_CHECKING:
    import docker
    from docker.models.containers import Container

    from .probe import Probe

MODE = __name__.rpartition(".")[2]

_LOOPBACK = "127.0.0.1"
_UNIX = "unix://"
# Where the docker CLI in the client container looks for an engine.
_CLIENT_SOCKET = "/var/run/docker.sock"
_OF_A_DAEMON = ("arg", "publish", "memory", "cpus", "registry_mirror", "insecure_registry")
_IDLE = "while :; do sleep 86400; done"


def make(engine: Engine) -> SocketBackend:
    """The backend on this outer engine."""
    return SocketBackend(engine)


def check(engine: Engine, probe: Probe) -> Obstacle | None:
    """Why there can be no guard: only an engine that is reached by a unix socket can have one."""
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
    """Why not, and whether a container sees the directory that the guard's socket is to be in."""
    obstacle = check(engine, probe)
    if obstacle is not None:
        return obstacle
    sight = probe(LOOK, shares=True)
    if sight.ran and sections(sight.output).get(LEASES) == LEASE_SEEN:
        return None
    return Obstacle(
        "containers have no part in this process's directories",
        "A FIFO that this process holds open is not there, or not open, in a container: the engine "
        "is in another container, or in a virtual machine.",
        (*ELSEWHERE_REMEDY, "Use another mode: --dind-mode=auto."),
    )


class SocketBackend:
    """Guards of the outer engine; each is to its tests what a daemon is in other modes."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._settings = Settings()

    def start(self, home: Home, settings: Settings, progress: images.Progress) -> Record:
        """Start a guard; `stop` removes what a failed start left."""
        import docker

        _demand_nothing_of_a_daemon(settings)
        self._settings = settings
        supply = images.Supply(self._engine.client, progress)
        with answering(self._engine):
            for name in settings.load:
                supply.ensure(name)
        self._launch(home, settings)
        host = f"{_UNIX}{home.path / SOCKET}"
        with contextlib.closing(docker.DockerClient(base_url=host, version="auto")) as client:
            info = client.info()
            api_version = client.api.api_version
        return Record(
            mode=MODE,
            home=home,
            id=home.label,
            host=host,
            address=_LOOPBACK,
            published=(),
            version=info["ServerVersion"],
            api_version=api_version,
            driver=info["Driver"],
            user_namespace=False,
            seconds=supply.seconds,
            pulled=supply.pulled,
        )

    def _launch(self, home: Home, settings: Settings) -> None:
        try:
            root = (home.path.parent / ROOT).read_text()
        except OSError:
            root = str(Path.cwd())
        orders = Orders(
            home=str(home.path),
            socket=str(home.path / SOCKET),
            lease=str(home.path / LEASE),
            kept=str(home.path / KEPT),
            engine=self._engine.url.removeprefix(_UNIX),
            labels=_labels(home, settings),
            guard=settings.guard,
            allow=settings.guard_allow,
            roots=(root, tempfile.gettempdir()),
        )
        if not launch.start(orders, settings.timeout):
            raise DaemonExited(
                f"The guard of the daemon {home.name!r} did not start.",
                evidence=readiness.log(Directory(home.path)) or "It has logged nothing.",
                remedy=[
                    "Mend what its last log lines say.",
                    "Use another mode: --dind-mode=auto.",
                ],
            )

    def files(self, record: Record) -> Files:
        """Its files, of which the log is one."""
        return Directory(record.home.path)

    def hold(self, record: Record) -> None:
        """The run's lease holds it."""

    def release(self) -> None:
        """There is nothing to let go of."""

    def outer(self) -> docker.DockerClient:
        """A client on the outer engine."""
        return self._engine.client

    def container(self, record: Record) -> Container | None:
        """None: it is the outer engine."""
        return None

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
        """Run a command in a client container, which has the guarded socket."""
        if not launch.is_alive(record.home.path):
            raise gone(record, ConnectionError("Its guard does not run."))
        return execution.run(
            self._engine.client,
            self._client(record.home),
            command,
            env=env,
            workdir=workdir,
            stdin=stdin,
            timeout=timeout,
        )

    def _client(self, home: Home) -> str:
        """The id of the client container, made when it is first needed."""
        from docker.errors import NotFound
        from docker.types import Mount

        api: Any = self._engine.client.api
        with directories.locked(home.path, CLIENT):
            with contextlib.suppress(NotFound):
                there = api.inspect_container(home.label)
                if not there["State"]["Running"]:
                    # As after a restart of the engine.
                    api.start(there["Id"])
                return str(there["Id"])
            settings = self._started_with(home)
            images.ensure(self._engine.client, settings.image, lambda line: None)
            made = api.create_container(
                settings.image,
                name=home.label,
                user=SUPERUSER,
                entrypoint=["sh", "-c", _IDLE],
                command=[],
                labels={**_labels(home, settings), labels.ROLE: CLIENT},
                environment=_variables(settings),
                host_config=api.create_host_config(
                    mounts=[
                        Mount(_CLIENT_SOCKET, str(home.path / SOCKET), type="bind"),
                        # What processes that share the daemon put in front of the socket is there.
                        Mount(IN_CONTAINER, str(home.path), type="bind", read_only=True),
                    ]
                ),
            )
            api.start(made["Id"])
            return str(made["Id"])

    def restart(self, record: Record, timeout: float) -> None:
        """Start the guard anew; what the tests made is known by its labels."""
        from docker.errors import NotFound

        settings = self._started_with(record.home).replace(timeout=timeout)
        launch.end(record.home.path)
        self._launch(record.home, settings)
        with contextlib.suppress(NotFound):
            # It has the socket of the guard that is gone.
            self._engine.client.api.restart(record.home.label, timeout=0)

    def _started_with(self, home: Home) -> Settings:
        """The settings of a guard, which this process or another one has started."""
        found = records.read(home)
        return self._settings if found is None else found[1]

    def post_mortem(self, record: Record) -> int | None:
        """None: nobody knows the exit code of a guard that is gone."""
        return None

    def stop(self, home: Home) -> None:
        """End the guard, and remove what its tests made."""
        launch.end(home.path)
        remains.purge(self._engine, home.path)
        with contextlib.suppress(FileNotFoundError):
            (home.path / GUARD).unlink()


def _demand_nothing_of_a_daemon(settings: Settings) -> None:
    """Refuse settings of a daemon of one's own: in silence they would be without effect."""
    for name in _OF_A_DAEMON:
        value = getattr(settings, name)
        if value:
            option = name.replace("_", "-")
            raise SettingsError(
                f"--dind-{option} can't be had in mode {MODE}: there is no daemon of the run's own "
                "to set that for.",
                evidence=f"{name} is {value!r}.",
                remedy=[
                    f"Leave --dind-{option} out.",
                    "Use a mode with a daemon of its own: --dind-mode=auto.",
                ],
            )


def _variables(settings: Settings) -> dict[str, str]:
    """The client container's environment.

    With BuildKit its docker would use BuildKit's own API, which is refused.
    """
    refuses = settings.guard == OWN and BUILDKIT not in settings.guard_allow
    return {"DOCKER_BUILDKIT": "0"} if refuses else {}


def _labels(home: Home, settings: Settings) -> dict[str, str]:
    found = labels.make(home.run, mode=MODE, keep=settings.keep, home=home.path)
    return {key: value for key, value in found.items() if value}
