"""Mode socket: the outer engine itself, behind a guard."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from ..allowances import BUILDKIT
from ..engine import exec as exec_module
from ..engine import http, own_container, reach, versions
from ..engine.containers import SUPERUSER, with_own_users
from ..engine.engine import Engine, answering
from ..engine.images import ImageSource
from ..errors import DaemonExited, ModeUnavailable, SettingsError
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
from .engine_errors import gone
from .probe import LEASE_SEEN, LEASES, LOOK, Obstacle, sections
from .protocol import LOOPBACK, Record, Shaper

if TYPE_CHECKING:
    import docker
    from docker.models.containers import Container

    from ..engine.own_container import SharedFiles
    from ..engine.streams import Progress
    from ..store.seeding import Origin
    from ..store.snapshots import Snapshot
    from .probe import Probe

ISOLATES = False

_MODE = "socket"
_UNIX = "unix://"
_IDLE = "while :; do sleep 86400; done"
_INSTEAD_OF_EXEC = (
    "Run the command beside the tests, with the environment of dind_env.",
    "Use another mode: --dind-mode=auto.",
)


def make(engine: Engine) -> SocketBackend:
    """The backend on this outer engine."""
    return SocketBackend(engine)


def check(engine: Engine, probe: Probe) -> Obstacle | None:
    """The obstacle to a guard: an engine without a unix socket, or whose files may be others.

    The guard judges a bind by what it sees itself under the path. In a container of the engine,
    whose mounts tell what the engine has there, and outside of containers nothing is to be proved.
    """
    if not engine.url.startswith(_UNIX):
        return Obstacle(
            "the engine is not reached by a unix socket",
            f"The engine's URL is {engine.url}.",
            (
                "Run the tests on the engine's own machine, and name its socket: "
                "--dind-host=unix:///var/run/docker.sock.",
                "Use another mode: --dind-mode=auto.",
            ),
        )
    if not own_container.is_contained() or engine.own_container is not None:
        return None
    return _unseen(
        probe,
        "the tests run in a container that the engine does not know, and whose directories it does "
        "not see",
        "Mount the engine's own socket into the tests' container, and let a proxy before it answer "
        "GET /containers/ID/json: the guard then knows which directories are shared.",
    )


def check_thoroughly(engine: Engine, probe: Probe) -> Obstacle | None:
    """The same, and whether a container sees the directory that the guard's socket will be in.

    From a container that the engine knows it need not: only `exec` is lacking then.
    """
    obstacle = check(engine, probe)
    if obstacle is not None or own_container.is_contained():
        return obstacle
    return _unseen(probe, "containers have no part in this process's directories")


def _unseen(probe: Probe, cause: str, *remedy: str) -> Obstacle | None:
    """The obstacle where a container does not see the run's directory."""
    result = probe(LOOK, shares=True)
    if result.ran and sections(result.output).get(LEASES) == LEASE_SEEN:
        return None
    from ..causes.refusals import UNSHARED

    return Obstacle(
        cause,
        "A FIFO that this process holds open is not there, or not open, in a container: the engine "
        "is in another container, or in a virtual machine.",
        (*remedy, *UNSHARED.remedy, "Use another mode: --dind-mode=auto."),
    )


def proved_by_start(engine: Engine) -> bool:
    """False: `check` costs nothing that a start would save."""
    return False


class SocketBackend:
    """Guards of the outer engine; each takes the place that a daemon has in other modes."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def start(
        self,
        home: Home,
        settings: Settings,
        progress: Progress,
        shaper: Shaper | None = None,
        origin: Origin | None = None,
    ) -> Record:
        """Start a guard; `stop` removes what a failed start left."""
        if origin is not None:
            from ..store.snapshots import without_isolation

            raise without_isolation(_MODE)

        _refuse_settings_of_daemons(settings)
        source = ImageSource(self._engine.client, progress)
        with answering(self._engine):
            for name in settings.load:
                source.ensure(name)
            gateway = names.way_back(self._engine)
            engine_api = self._engine.client.version()["ApiVersion"]
        _tell_of_newer_api(engine_api, progress)
        self._launch(home, settings)
        host = f"{_UNIX}{home.path / layout.SOCKET}"
        with contextlib.closing(http.own_client(base_url=host)) as client:
            info = client.info()
            api_version = client.api.api_version
        here = reach.publishes_here(self._engine)
        record = Record(
            mode=_MODE,
            home=home,
            id=home.label,
            host=host,
            # From a container beside those of the tests, the engine's machine is another one.
            address=own_container.gateway(self._engine) or LOOPBACK if here else "",
            because=""
            if here
            else f"engine {self._engine.url}: published ports are not reached from here, because "
            f"{reach.apart(self._engine)}",
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
        with answering(self._engine):
            shared = self._shared(home)
            ours = self._labels(home, settings)
        config = GuardConfig(
            home=str(home.path),
            socket=str(home.path / layout.SOCKET),
            lease=str(home.path / layout.LEASE),
            kept=str(home.path / layout.KEPT),
            engine=self._engine.url.removeprefix(_UNIX),
            labels=ours,
            guard=settings.guard,
            allow=settings.guard_allow,
            roots=tuple(bind.source for bind in binds if not bind.read_only),
            read_only=tuple(bind.source for bind in binds if bind.read_only),
            shared=None if shared is None else shared.fields(),
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

    def _shared(self, home: Home) -> SharedFiles | None:
        """What the engine has of the files of the tests' container; None where it has all."""
        if not own_container.is_contained():
            return None
        details = self._engine.own_container
        # `check` has proved that an engine which does not know it sees the home.
        if details is None:
            return own_container.shared_around(home.path)
        return own_container.shared(details)

    def _labels(self, home: Home, settings: Settings) -> dict[str, str]:
        found = labels.make(
            home.run,
            mode=_MODE,
            keep=settings.keep,
            home=home.path,
        )
        ours = {key: value for key, value in found.items() if value}
        return ours | labels.of_container(self._engine.own_container_id)

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
            shared = self._shared(home)
            own = _of_engine(home, shared)
            files = mounts.of(settings, home).of_engine(shared)
            make = partial(
                api.create_container,
                settings.image,
                name=home.label,
                user=SUPERUSER,
                entrypoint=["sh", "-c", _IDLE],
                command=[],
                labels={**self._labels(home, settings), labels.ROLE: CLIENT},
                environment=_variables(settings),
                use_config_proxy=False,
                host_config=api.create_host_config(
                    **with_own_users(self._engine.info()),
                    tmpfs=files.tmpfs() or None,
                    mounts=[
                        *files.mounts(),
                        Mount(layout.SOCKET_IN_CONTAINER, f"{own}/{layout.SOCKET}", type="bind"),
                        # Has the sockets of labelling proxies, too.
                        Mount(layout.IN_CONTAINER, own, type="bind", read_only=True),
                    ],
                ),
            )
            made = self._made(make, settings)
            api.start(made["Id"])
            return str(made["Id"])

    def _made(self, make: Callable[[], dict[str, Any]], settings: Settings) -> dict[str, Any]:
        """Make the client container.

        Raises:
            ModeUnavailable: the engine does not have the directories that it needs.
        """
        from docker.errors import APIError, NotFound

        try:
            try:
                return make()
            except NotFound:
                # Pulled only now: an engine looks at directories first, and a pull takes minutes.
                ImageSource(self._engine.client, lambda line: None).ensure(settings.image)
                return make()
        except APIError as error:
            known = _without_directories(self._engine, str(error.explanation or error))
            if known is None:
                raise
            raise known from error

    def freeze(
        self, record: Record, settings: Settings, snapshot: Snapshot, progress: Progress
    ) -> None:
        """Raise the error that there are no snapshots."""
        from ..store.snapshots import without_isolation

        raise without_isolation(_MODE)

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


def _tell_of_newer_api(version: str, progress: Progress) -> None:
    """Tell that clients get an older API than the engine's, where the guard does not know that."""
    if versions.unread(version):
        newest = versions.dotted(versions.READ_API)
        progress(f"the engine's API is {version}; clients of the guard have {newest}")


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


def _of_engine(home: Home, shared: SharedFiles | None) -> str:
    """The engine's path of a home.

    Raises:
        ModeUnavailable: it has none, so that no container can have the guard's socket.
    """
    path = str(home.path) if shared is None else shared.path(str(home.path))
    if path:
        return path
    raise ModeUnavailable(
        f"exec can't be had in mode {_MODE} here: no container of the engine can have the guard's "
        "socket.",
        evidence=f"{home.path / layout.SOCKET} is in the container that the tests run in alone: "
        "none of that container's mounts has it.",
        remedy=[
            "Give the tests' container a temp dir that the engine has too: docker run "
            "-v /tmp/dind:/tmp/dind -e TMPDIR=/tmp/dind.",
            *_INSTEAD_OF_EXEC,
        ],
    )


def _without_directories(engine: Engine, said: str) -> ModeUnavailable | None:
    """The error of `exec` where a refusal tells that the engine lacks this process's directories.

    Args:
        engine: The outer engine.
        said: What it said.
    """
    from ..causes.refusals import DENIED, UNSHARED

    for cause in (DENIED, UNSHARED):
        if cause.is_in(said):
            return ModeUnavailable(
                f"exec can't be had in mode {_MODE} here: the engine can't give a container the "
                "guard's socket and the suite's files.",
                evidence=f"{engine.url}: {said}",
                remedy=[*cause.remedy, *_INSTEAD_OF_EXEC],
            )
    return None


def _variables(settings: Settings) -> dict[str, str]:
    """The client container's environment; its docker uses BuildKit only where that is allowed."""
    refuses = settings.guard == OWN and BUILDKIT not in settings.guard_allow
    return {"DOCKER_BUILDKIT": "0"} if refuses else {}
