"""A daemon in a container of the outer engine: what the modes dind and sysbox share."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from ..engine import exec as execution
from ..engine import images
from ..engine.engine import Engine, answering
from ..errors import NoShell, NotShared
from ..lifetime import labels, layout, reaper
from ..lifetime.layout import Home
from ..settings import Settings
from ..store import seeding
from . import connection as ways
from . import creation, readiness, restart
from .engine_errors import failed_meanwhile
from .new import StartingDaemon, inspect
from .protocol import Record

if TYPE_CHECKING:
    import docker
    from docker.models.containers import Container

    from ..lifetime.files import Files
    from ..lifetime.lease import Held
    from .probe import Obstacle

# That each answer to what became of a daemon may take.
_POST_MORTEM_SECONDS = 5


class ContainerBackend:
    """Daemons in containers.

    Args:
        engine: The outer engine.
        mode: The mode these are of.
        host_config: What the mode's containers differ in.
        user_namespace: Whether root in them is not root on the engine's machine.
        judge: What is wrong with what a container sees of itself, given as `SIGHT` has it.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        mode: str,
        host_config: Mapping[str, Any],
        user_namespace: bool = False,
        judge: Callable[[str], Obstacle | None] | None = None,
    ) -> None:
        self._engine = engine
        self._mode = mode
        self._host_config = dict(host_config)
        self._user_namespace = user_namespace
        self._judge = judge
        self._held: list[Held] = []

    def start(self, home: Home, settings: Settings, progress: images.Progress) -> Record:
        """Start a daemon and wait until it is healthy; `stop` removes what a failed start left."""
        supply = images.Supply(self._engine.client, progress)
        with answering(self._engine):
            image = supply.ensure(settings.image)
            ticket = seeding.ticket(settings, self._mode, image["Id"], supply)
            way = ways.new(self._engine, home)
        while True:
            try:
                with self._explained(home, way, settings):
                    return self._started(home, way, settings, image, ticket, supply)
            except (NotShared, NoShell) as error:
                way = ways.other(way, error, self._engine, home)
            self.stop(home)
            if not way.supervised:
                ticket = seeding.Ticket()

    @contextlib.contextmanager
    def _explained(self, home: Home, way: ways.Connection, settings: Settings) -> Iterator[None]:
        """Say what it means that a client breaks off while a daemon starts."""
        from docker.errors import DockerException
        from requests.exceptions import RequestException

        try:
            yield
        except (DockerException, RequestException) as error:
            raise failed_meanwhile(home, settings, error, readiness.log(way)) from error

    def _started(
        self,
        home: Home,
        way: ways.Connection,
        settings: Settings,
        image: Mapping[str, Any],
        ticket: seeding.Ticket,
        supply: images.Supply,
    ) -> Record:
        plan = creation.Plan(home, settings, image, ticket, way, self._mode, self._host_config)
        creation.uninterrupted(
            lambda: creation.create(self._engine, plan, remove=lambda: self.stop(home))
        )
        with answering(self._engine):
            details = inspect(self._engine, home)
            if details:
                # Else it has ended already, as the wait is to find out.
                way.opened(details)
        new = StartingDaemon(self._engine, home, way, settings, ticket, self._mode)
        api_version = new.wait(spent=supply.seconds)
        self._keep_hold(way)
        with new.client() as client:
            info = client.info()
        readiness.check(new.subject, info, api_version)
        # Read only where somebody judges it: from an engine elsewhere it must be fetched.
        obstacle = self._judge(way.read(layout.SIGHT) or "") if self._judge else None
        if obstacle is not None:
            raise obstacle.error(self._mode)
        seeding.provide(ticket, settings, supply, new)
        return Record(
            mode=self._mode,
            home=home,
            id=details["Id"],
            host=way.host,
            address=way.address,
            published=tuple(f"{port}/{protocol}" for port, protocol in settings.ports()),
            way=way.name,
            certificates=way.certificates,
            outer=way.outer,
            because=way.because,
            version=info["ServerVersion"],
            api_version=api_version,
            driver=info["Driver"],
            user_namespace=self._user_namespace,
            seconds=supply.seconds,
            pulled=supply.pulled,
        )

    def files(self, record: Record) -> Files:
        """Its files."""
        return ways.known(self._engine, record)

    def hold(self, record: Record) -> None:
        """Hold it until `release`, or this process's end, where the run's lease doesn't."""
        self._keep_hold(ways.known(self._engine, record))

    def _keep_hold(self, way: ways.Connection) -> None:
        held = way.hold()
        if held is not None:
            self._held.append(held)

    def release(self) -> None:
        """Let go of what is held; idempotent."""
        while self._held:
            self._held.pop().release()

    def outer(self) -> docker.DockerClient:
        """A client on the outer engine."""
        return self._engine.client

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

    def restart(self, record: Record, timeout: float) -> None:
        """Start the daemon anew in its container, and wait until it serves again."""
        restart.start_anew(self._engine, record, timeout)

    def post_mortem(self, record: Record) -> int | None:
        """The exit code of a daemon that is gone, by its own word or by the engine's events."""
        with contextlib.closing(self._engine.patient(_POST_MORTEM_SECONDS)) as engine:
            files = ways.known(engine, record)
            written = readiness.exit_code(files)
            if written is not None:
                return written
            ends = _ends(engine.client.api, record.id)
            # It may have come to write it meanwhile.
            written = readiness.exit_code(files)
        if written is not None:
            return written
        return int(ends[-1]) if ends and ends[-1] else None

    def stop(self, home: Home) -> None:
        """Remove the container with its volume; one that is gone is fine."""
        from docker.errors import APIError, NotFound
        from requests.exceptions import ConnectionError as Broken
        from requests.exceptions import Timeout

        api = self._engine.client.api
        reaper.thaw(home.path)
        try:
            api.remove_container(home.label, force=True, v=True)
        except NotFound:
            self._remove_volumes(home)
        except APIError as error:
            # 409: it ended by itself just now, and the engine is removing it already.
            if error.status_code != HTTPStatus.CONFLICT:
                raise
            # What it can't remove by then is left to the next run's sweep.
            with contextlib.suppress(NotFound, Timeout, Broken):
                api.wait(home.label, condition="removed", timeout=api.timeout)

    def _remove_volumes(self, home: Home) -> None:
        """Remove the volume of a container that somebody removed without it."""
        from docker.errors import APIError

        api = self._engine.client.api
        filters = {"label": f"{labels.HOME}={home.path}", "dangling": True}
        for volume in api.volumes(filters=filters)["Volumes"] or []:
            with contextlib.suppress(APIError):
                api.remove_volume(volume["Name"])


def _ends(api: Any, container: str) -> list[str | None]:
    """The exit codes that the engine has of a container; it is waited for in bounds."""
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
