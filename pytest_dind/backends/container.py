"""Daemons in containers of the outer engine, for modes dind and sysbox: their life."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from ..engine import containers, http, steps, tars
from ..engine import exec as exec_module
from ..engine.engine import Engine, answering
from ..engine.images import ImageSource
from ..errors import NoShell, NotShared
from ..forwarder import launch
from ..forwarder.config import ForwarderConfig
from ..lifetime import labels, layout, reaper
from ..lifetime.layout import Home
from ..settings import Settings
from ..store import seeding
from . import (
    authorities,
    endpoints,
    file_copies,
    mounts,
    names,
    readiness,
    shaping,
    tls_connection,
)
from . import connection as connections
from .engine_errors import failed_meanwhile, refused, unanswered
from .protocol import Record, Shaper
from .shaping import Shaped
from .spec import ContainerMode, ContainerSpec

if TYPE_CHECKING:
    import docker
    from docker.models.containers import Container

    from ..engine.streams import Progress
    from ..lifetime.files import Files
    from ..lifetime.lease import Held
    from ..store.snapshots import Snapshot

# The time-out of each question that is asked after a daemon's end.
_POST_MORTEM_SECONDS = 5


class StartingDaemon:
    """A daemon whose container has just been started, until it is handed over.

    Attributes:
        files: Its files.
        api_version: The newest API version that it speaks; known once it is ready.
    """

    def __init__(self, engine: Engine, spec: ContainerSpec) -> None:
        self._engine = engine
        self._spec = spec
        self.files: Files = spec.connection
        self.api_version = ""

    def wait(self, tick: Callable[[], object] = bool, *, spent: float = 0) -> None:
        """Wait until it serves.

        Args:
            tick: Called often meanwhile.
            spent: Seconds of its time-out that are gone already.
        """
        watched = dataclasses.replace(self._watched, tick=tick)
        if self._spec.preload.seed.key:
            # A daemon that is about to end, to be published, answers too.
            counts = partial(seeding.outcome, self.files)
            watched = dataclasses.replace(watched, counts=counts)
        timeout = self._spec.settings.timeout
        self.api_version = readiness.wait_until_ready(watched, timeout=timeout, spent=spent)

    @property
    def _watched(self) -> readiness.Watched:
        spec = self._spec
        return _watched(self._engine, spec.home, spec.subject, spec.connection)

    @contextmanager
    def client(self) -> Iterator[docker.DockerClient]:
        """A client on it, which need not ask for the version to speak: that takes some 10 ms."""
        connection = self._spec.connection
        client = http.client(connection.host, connection.certificates, version=self.api_version)
        with contextlib.closing(client):
            yield client

    def publish(self) -> None:
        """Make a golden root of its data-root, and start a new daemon from that in its place."""
        self._engine.client.api.kill(self._spec.home.label, "SIGUSR2")
        self.wait()

    def restart(self) -> None:
        """Start a new daemon on its data-root; none without a supervisor, which would have to."""
        if self._spec.connection.supervised:
            label, timeout = self._spec.home.label, self._spec.settings.timeout
            self.api_version = _restarted(self._engine, label, self._watched, timeout)


class ContainerBackend:
    """Daemons in containers of the outer engine.

    Args:
        engine: The outer engine.
        mode: How the containers differ from those of other modes.
    """

    def __init__(self, engine: Engine, mode: ContainerMode) -> None:
        self._engine = engine
        self._mode = mode
        self._held: list[Held] = []
        # Processes that have started a forwarder, and end at once.
        self._launched: list[subprocess.Popen[bytes]] = []

    def start(
        self,
        home: Home,
        settings: Settings,
        progress: Progress,
        shaper: Shaper | None = None,
        origin: seeding.Origin | None = None,
    ) -> Record:
        """Start a daemon and wait until it is healthy; `stop` removes what a failed start left."""
        source = ImageSource(self._engine.client, progress)
        self._engine.ask_for_info()
        with answering(self._engine):
            image = source.ensure(settings.image)
            mode = self._mode.name
            preload = seeding.preload(settings, mode, image["Id"], source, origin)
            connection = connections.choose(self._engine, home)
            gateway = tls_connection.gateway(self._engine)
            container = self._engine.own_container_id
        files = mounts.of(settings, home)
        spec = ContainerSpec(
            home,
            settings,
            image,
            self._mode,
            connection,
            preload,
            gateway=gateway,
            files=files,
            outer_info=self._engine.info,
            container=container,
        )
        while True:
            spec = self._without_unshared_files(spec, progress)
            try:
                with _explained(spec):
                    return self._started(self._shaped(spec, shaper), progress)
            except (NotShared, NoShell) as error:
                unseen = spec.files.unseen(error.evidence)
                if unseen:
                    # The engine may well see the daemon's home, as where CI mounts the temp dir.
                    spec = _without_file(spec, unseen, progress)
                else:
                    other = connections.fallback(spec.connection, error, self._engine, home)
                    spec = spec.over(other)
                    if isinstance(error, NotShared):
                        spec = dataclasses.replace(spec, files=spec.files.without_home())
            self.stop(home)

    def _without_unshared_files(self, spec: ContainerSpec, progress: Progress) -> ContainerSpec:
        """The same daemon without the files that an engine elsewhere can't mount, which is told."""
        unshared = self._engine.unshared
        if not unshared:
            return spec
        files, line = spec.files.elsewhere(unshared)
        return _told(spec, files, line, progress)

    def _started(self, shaped: Shaped, progress: Progress) -> Record:
        spec = shaped.spec
        connection, source, copies = spec.connection, spec.preload.source, spec.files.to_copy()
        with steps.Step(progress, f"starting daemon {spec.home.name!r}") as step:
            containers.uninterrupted(lambda: self._create(shaped))
            with answering(self._engine):
                details = containers.inspect(self._engine.client, spec.home.label)
                if details:
                    # Else it has ended already, which the wait finds out.
                    connection.prepare(details)
            daemon = StartingDaemon(self._engine, spec)
            with shaped.naming_the_hook():
                daemon.wait(step.tick, spent=source.seconds)
        self._keep_hold(connection)
        with daemon.client() as client:
            info = client.info()
        readiness.check(spec.subject, info, daemon.api_version)
        # Read only where it is judged: without a shared directory the engine must fetch it.
        judge = self._mode.judge
        obstacle = judge(connection.read(layout.SIGHT) or "") if judge else None
        if obstacle is not None:
            raise obstacle.error(self._mode.name)
        spec.preload.provide(daemon)
        file_copies.provide(self._engine.client, details["Id"], copies, progress)
        spec.files.note(spec.home)
        self._join(spec, progress)
        return Record(
            mode=self._mode.name,
            home=spec.home,
            id=details["Id"],
            host=connection.host,
            address=connection.address,
            published=tuple(f"{port}/{protocol}" for port, protocol in spec.settings.ports()),
            connection=connection.name,
            certificates=connection.certificates,
            outer=connection.outer,
            because=connection.because,
            ip=containers.address(details),
            gateway=containers.gateway(details) if spec.gateway is None else spec.gateway,
            version=info["ServerVersion"],
            api_version=daemon.api_version,
            driver=info["Driver"],
            user_namespace=self._mode.user_namespace,
            seconds=source.seconds,
            pulled=source.pulled,
        )

    def _join(self, spec: ContainerSpec, progress: Progress) -> None:
        """Join the network that the settings name; let nested containers know what is in it."""
        network, started_in = spec.settings.network, spec.connection.network or names.DEFAULT
        if network not in ("", started_in):
            names.join(self._engine, spec.home, network, progress)
        elif started_in != names.DEFAULT:
            names.tell(self._engine, spec.home.label, progress)

    def _shaped(self, spec: ContainerSpec, shaper: Shaper | None) -> Shaped:
        """The container that the engine is to be asked for."""
        with answering(self._engine):
            create = spec.arguments(self._engine.client.api)
        return shaping.shaped(spec, create, shaper)

    def _create(self, shaped: Shaped) -> None:
        """Create and start the container.

        Raises:
            DindError: the engine refuses it, or gives no answer.
        """
        from docker.errors import APIError
        from requests.exceptions import RequestException

        spec, home, api = shaped.spec, shaped.spec.home, self._engine.client.api
        try:
            files = authorities.files(spec.settings.ca)
            placed = spec.connection.give(files)
            containers.create_in_place_of(
                lambda: self.stop(home), lambda: api.create_container(**shaped.create)
            )
            if not placed:
                # Before it runs this works in each mode, while nothing in it could unpack them.
                entries = (tars.Entry(*file) for file in files.items())
                api.put_archive(home.label, "/", b"".join(tars.pack(entries)))
            api.start(home.label)
        except APIError as error:
            said = error.explanation or str(error)
            known = refused(home, spec.settings, said)
            # Another connection may lead to the daemon, see `start`.
            if shaped.changes and not isinstance(known, (NotShared, NoShell)):
                raise shaped.error(said, known.remedy) from error
            raise known from error
        except RequestException as error:
            raise unanswered(home, spec.settings, error) from error
        except Exception as error:
            # docker-py's own check of the arguments, or an accident in it.
            if not shaped.changes:
                raise
            raise shaped.error(f"docker-py: {type(error).__name__}: {error}") from error

    def files(self, record: Record) -> Files:
        """A daemon's files: its log, its exit code, and messages to its first process."""
        return connections.of_record(self._engine, record)

    def hold(self, record: Record) -> None:
        """Keep the daemon alive until `release`, or this process's end, if the lease doesn't."""
        self._keep_hold(connections.of_record(self._engine, record))

    def _keep_hold(self, connection: connections.Connection) -> None:
        held = connection.hold()
        if held is not None:
            self._held.append(held)

    def forward(self, record: Record) -> None:
        """Start the daemon's forwarder, if it has none; the daemon does not depend on it."""
        with contextlib.suppress(OSError):
            config = ForwarderConfig(
                home=str(record.home.path),
                daemon=endpoints.of_daemon(record),
                address=record.address,
                engine=endpoints.of_engine(self._engine),
                container=record.id,
            )
            self._launched.append(launch.start(config))

    def release(self) -> None:
        """End what `hold` began; idempotent."""
        while self._held:
            self._held.pop().release()
        while self._launched:
            self._launched.pop().wait()

    def outer(self) -> docker.DockerClient:
        """A client on the outer engine, which has the images to load."""
        return self._engine.client

    def container(self, record: Record) -> Container:
        """The outer container."""
        return self._engine.client.containers.get(record.id)

    def exec(
        self, record: Record, command: exec_module.Command
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command in the daemon's container."""
        return exec_module.run(self._engine.client, record.id, command)

    def freeze(
        self, record: Record, settings: Settings, snapshot: Snapshot, progress: Progress
    ) -> None:
        """Put a snapshot of a daemon into the warm store; it holds still meanwhile."""
        from ..store import snapshots

        source = snapshots.Source(
            engine=self._engine,
            home=record.home,
            container=record.id,
            host_config=self._mode.host_config,
            noted=self.files(record).read(layout.IMAGES) or "",
            limit=seeding.kibibytes(settings.cache_size),
        )
        snapshots.take(source, snapshot, progress)

    def restart(self, record: Record, timeout: float) -> None:
        """Start the daemon anew in its container, and wait until it serves again.

        Raises:
            DindError: it can't be restarted, ended instead, or was not ready in time.
        """
        connection = connections.of_record(self._engine, record)
        subject = f"The daemon {record.home.name!r} (mode {record.mode})"
        if not connection.supervised:
            raise NoShell(
                f"{subject} can't be restarted.",
                evidence="Its image has no shell, so nothing in its container can start it anew; "
                "and its container, started anew, would have another address.",
                remedy=[
                    "Use an image that has sh, as docker:dind does: --dind-image IMAGE.",
                    "Start a new daemon instead, with dind_factory.",
                ],
            )
        watched = dataclasses.replace(
            _watched(self._engine, record.home, f"{subject}, restarted,", connection),
            ping=lambda patience: http.ping(record.host, record.certificates, timeout=patience),
        )
        _restarted(self._engine, record.home.label, watched, timeout)

    def post_mortem(self, record: Record) -> int | None:
        """The exit code of a daemon that is gone, from its own file or the engine's events."""
        with contextlib.closing(self._engine.patient(_POST_MORTEM_SECONDS)) as engine:
            files = connections.of_record(engine, record)
            written = readiness.exit_code(files)
            if written is not None:
                return written
            codes = _exit_codes(engine.client.api, record.id)
            # It may have been written meanwhile.
            written = readiness.exit_code(files)
        if written is not None:
            return written
        return int(codes[-1]) if codes and codes[-1] else None

    def stop(self, home: Home) -> None:
        """Remove the container with its volume; one that is gone is fine."""
        from docker.errors import APIError, NotFound
        from requests.exceptions import ConnectionError as Broken
        from requests.exceptions import Timeout

        api = self._engine.client.api
        launch.end(home.path)
        reaper.thaw(home.path)
        try:
            containers.remove(api, home.label)
        except NotFound:
            self._remove_volumes(home)
        except APIError as error:
            # 409: it ended by itself just now, and the engine is removing it already.
            if error.status_code != HTTPStatus.CONFLICT:
                raise
            # A removal that takes longer is left to the engine, or the next run's sweep.
            with contextlib.suppress(NotFound, Timeout, Broken):
                api.wait(home.label, condition="removed", timeout=api.timeout)

    def _remove_volumes(self, home: Home) -> None:
        """Remove the volume of a container that somebody removed without it."""
        from docker.errors import APIError

        api = self._engine.client.api
        ours = f"{labels.HOME}={home.path}"
        found = api.volumes(filters={"label": ours, "dangling": True})["Volumes"] or []
        for volume in found:
            if not labels.selected(volume["Labels"], [ours]):
                continue
            with contextlib.suppress(APIError):
                api.remove_volume(volume["Name"])


def _watched(
    engine: Engine, home: Home, subject: str, connection: connections.Connection
) -> readiness.Watched:
    return readiness.Watched(
        subject=subject,
        files=connection,
        ping=connection.ping,
        is_gone=lambda: not containers.inspect(engine.client, home.label),
        poll_seconds=connection.poll_seconds,
        remedy=connection.remedy,
    )


def _restarted(engine: Engine, label: str, watched: readiness.Watched, timeout: float) -> str:
    """Start a daemon anew in its container, by its first process; gives its API version."""
    files = watched.files
    files.write(layout.RESTARTED, "")
    engine.client.api.kill(label, "SIGALRM")
    # The daemon that is about to end answers too.
    watched = dataclasses.replace(watched, counts=lambda: bool(files.read(layout.RESTARTED)))
    return readiness.wait_until_ready(watched, timeout=timeout)


def _without_file(spec: ContainerSpec, path: str, progress: Progress) -> ContainerSpec:
    """The same daemon without a path that the engine does not see, which is told."""
    files, line = spec.files.without(path, "the engine has no such path")
    return _told(spec, files, line, progress)


def _told(
    spec: ContainerSpec, files: mounts.SuiteFiles, line: str, progress: Progress
) -> ContainerSpec:
    if line:
        progress(f"{line}; --dind-mount copy:PATH copies files there")
    return dataclasses.replace(spec, files=files)


@contextmanager
def _explained(spec: ContainerSpec) -> Iterator[None]:
    """Turn a docker client's error during a start into one that says what it means."""
    from docker.errors import DockerException
    from requests.exceptions import RequestException

    try:
        yield
    except (DockerException, RequestException) as error:
        log = readiness.log(spec.connection)
        raise failed_meanwhile(spec.home, spec.settings, error, log) from error


def _exit_codes(api: Any, container: str) -> list[str | None]:
    """The exit codes of a container in the events that the engine remembers."""
    # The engine removed the container, but remembers its last events (moby: 256 of them).
    # It is asked for them up to the next second, since the end may be on its way; by its own
    # clock, since it waits for that second however long it takes to come.
    now = parsedate_to_datetime(api._get(f"{api.base_url}/_ping").headers["Date"])
    until = int(now.timestamp()) + 1
    filters = json.dumps({"container": [container], "event": ["die"]})
    # Not docker-py's own call, which has no time-out.
    answer = api._get(
        api._url("/events"),
        params={"since": 0, "until": until, "filters": filters},
        stream=True,
    )
    with contextlib.closing(answer):
        events = api._stream_helper(answer, decode=True)
        return [event["Actor"]["Attributes"].get("exitCode") for event in events]
