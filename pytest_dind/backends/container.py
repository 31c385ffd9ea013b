"""A daemon in a container of the outer engine: what the modes dind and sysbox share."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar

from .. import health, images, labels, reaper, store
from ..errors import NoShell, NotShared
from ..settings import Settings
from . import execution, launch, network, restart, ways
from .new import New, inspect
from .protocol import Home, Record
from .refusals import refused

if TYPE_CHECKING:
    import docker
    from docker.models.containers import Container

    from ..engine import Engine
    from ..files import Files
    from ..lease import Held

T = TypeVar("T")

_LATE_SECONDS = 10
_POLL_SECONDS = 0.05


class ContainerBackend:
    """Daemons in containers.

    Args:
        engine: The outer engine.
        mode: The mode these are of.
        host_config: What the mode's containers differ in.
        user_namespace: Whether root in them is not root on the engine's machine.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        mode: str,
        host_config: Mapping[str, Any],
        user_namespace: bool = False,
    ) -> None:
        self._engine = engine
        self._mode = mode
        self._host_config = dict(host_config)
        self._user_namespace = user_namespace
        self._held: list[Held] = []

    def start(self, home: Home, settings: Settings, say: images.Say) -> Record:
        """Start a daemon and wait until it is healthy; `stop` removes what a failed start left."""
        began = time.monotonic()
        image = images.ensure(self._engine.client, settings.image, say)
        ticket = store.ticket(settings, self._mode, image["Id"], self._engine, say)
        way = ways.new(self._engine, home)
        while True:
            try:
                return self._started(home, way, settings, image, ticket, say, began)
            except (NotShared, NoShell) as error:
                way = ways.other(way, error, self._engine, home)
            self.stop(home)
            if not way.supervised:
                ticket = store.Ticket()

    def _started(
        self,
        home: Home,
        way: ways.Way,
        settings: Settings,
        image: Mapping[str, Any],
        ticket: store.Ticket,
        say: images.Say,
        began: float,
    ) -> Record:
        uninterrupted(lambda: self._create(home, settings, image, ticket, way))
        details = inspect(self._engine, home)
        way.opened(details)
        new = New(self._engine, home, way, settings, ticket, self._mode)
        api_version = new.wait(spent=time.monotonic() - began)
        self._keep_hold(way)
        with new.client() as client:
            info = client.info()
        health.check(new.subject, info, api_version)
        store.provide(ticket, settings, self._engine, new, say)
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
            seconds=time.monotonic() - began,
        )

    def _create(
        self,
        home: Home,
        settings: Settings,
        image: Mapping[str, Any],
        ticket: store.Ticket,
        way: ways.Way,
    ) -> None:
        """Create and start the container."""
        from docker.errors import APIError

        api = self._engine.client.api
        ours = labels.make(
            home.run, mode=self._mode, keep=settings.keep, home=home.path, cache=ticket.key
        )
        bindings = way.bindings()
        bindings |= {(port, protocol): (way.bind, port) for port, protocol in settings.ports()}
        try:
            self._in_place_of_another(
                home,
                api.create_container,
                settings.image,
                name=home.label,
                labels=ours,
                **launch.process(
                    home, way, image, settings, ticket, network.nested(api.networks())
                ),
                ports=list(bindings),
                host_config=api.create_host_config(
                    mounts=[*way.mounts(), *launch.mounts(settings.image, ticket, ours)],
                    # Without a supervisor nothing else keeps the log and the exit code.
                    auto_remove=way.supervised,
                    network_mode=way.network or None,
                    port_bindings={
                        f"{port}/{protocol}": where for (port, protocol), where in bindings.items()
                    },
                    **launch.limits(settings),
                    **self._host_config,
                ),
            )
            api.start(home.label)
        except APIError as error:
            raise refused(home, settings, error.explanation or str(error)) from error

    def _in_place_of_another(
        self, home: Home, create: Callable[..., object], *args: Any, **kwargs: Any
    ) -> None:
        """Create a container; one that the engine still makes for a starter that is gone, goes."""
        from docker.errors import APIError

        deadline = time.monotonic() + _LATE_SECONDS
        while True:
            try:
                create(*args, **kwargs)
                return
            except APIError as error:
                # The engine reserves a name before it has made the container.
                if error.status_code != HTTPStatus.CONFLICT or time.monotonic() > deadline:
                    raise
                self.stop(home)
                time.sleep(_POLL_SECONDS)

    def files(self, record: Record) -> Files:
        """Its files."""
        return ways.known(self._engine, record)

    def hold(self, record: Record) -> None:
        """Hold it until `release`, or this process's end, where the run's lease doesn't."""
        self._keep_hold(ways.known(self._engine, record))

    def _keep_hold(self, way: ways.Way) -> None:
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
        api: Any = self._engine.client.api
        # The engine removed the container, but remembers its last events (moby: 256 of them).
        # It is asked for them up to the next second, since the end may be on its way; by its own
        # clock, since docker-py waits for that second however long it takes to come.
        now = parsedate_to_datetime(api.get(f"{api.base_url}/_ping").headers["Date"])
        stream = api.events(
            since=0,
            until=int(now.timestamp()) + 1,
            filters={"container": record.id, "event": "die"},
            decode=True,
        )
        with contextlib.closing(stream):
            ends = [event["Actor"]["Attributes"].get("exitCode") for event in stream]
        written = health.exit_code(self.files(record))
        if written is not None:
            return written
        return int(ends[-1]) if ends and ends[-1] else None

    def stop(self, home: Home) -> None:
        """Remove the container with its volume; one that is gone is fine."""
        from docker.errors import APIError, NotFound

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
            with contextlib.suppress(NotFound):
                api.wait(home.label, condition="removed")

    def _remove_volumes(self, home: Home) -> None:
        """Remove the volume of a container that somebody removed without it."""
        from docker.errors import APIError

        api = self._engine.client.api
        filters = {"label": f"{labels.HOME}={home.path}", "dangling": True}
        for volume in api.volumes(filters=filters)["Volumes"] or []:
            with contextlib.suppress(APIError):
                api.remove_volume(volume["Name"])


def uninterrupted(call: Callable[[], T]) -> T:
    """Finish `call` even when an exception, such as Ctrl-C, is raised here meanwhile.

    A request that the engine carries out while nobody waits for it would leave its container
    behind; a Ctrl-C is raised once the request is through, when there is something to remove.
    """
    with ThreadPoolExecutor(max_workers=1) as pool:
        # The executor's exit waits for the call.
        return pool.submit(call).result()
