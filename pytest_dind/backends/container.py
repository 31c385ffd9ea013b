"""A daemon in a container of the outer engine: what the modes dind and sysbox share."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from .. import health, images, labels, security
from ..errors import DindError, EngineUnavailable, ImageUnavailable, ModeUnavailable, SettingsError
from ..settings import Settings
from ..workspace import SOCKET
from . import execution, network
from .protocol import Home, Record

if TYPE_CHECKING:
    from docker.models.containers import Container

    from ..engine import Engine

T = TypeVar("T")

# Where the home is in the container. Not below /tmp: the official image mounts a tmpfs over that.
HOME = "/run/pytest-dind"
_DATA_ROOT = "/var/lib/docker"
_DOCKERD = "dockerd"
_LATE_SECONDS = 10
_POST_MORTEM_SECONDS = 3
_POLL_SECONDS = 0.05
# A bridge of the user's own; dockerd refuses it together with `--bip`.
_OTHER_BRIDGE = {"--bridge", "-b"}


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

    def start(self, home: Home, settings: Settings, say: images.Say) -> Record:
        """Start a daemon and wait until it is healthy; `stop` removes what a failed start left."""
        began = time.monotonic()
        image = images.ensure(self._engine.client, settings.image, say)
        subject = f"The daemon {home.name!r} (mode {self._mode}, image {settings.image})"
        uninterrupted(lambda: self._create(home, settings, image))
        return self._wait(home, settings, subject, began)

    def _create(self, home: Home, settings: Settings, image: Mapping[str, Any]) -> None:
        """Create and start the container."""
        from docker.errors import APIError
        from docker.types import DriverConfig, Mount

        api = self._engine.client.api
        ours = labels.make(home.run, mode=self._mode, keep=settings.keep, home=home.path)
        mounts = [
            Mount(HOME, str(home.path), type="bind"),
            # A volume without a name: it goes when the container goes.
            Mount(
                _DATA_ROOT, None, type="volume", labels=ours, driver_config=DriverConfig("local")
            ),
        ]
        layout = network.nested(api.networks())
        try:
            self._in_place_of_another(
                home,
                api.create_container,
                settings.image,
                name=home.label,
                labels=ours,
                entrypoint=[
                    "sh",
                    "-c",
                    files(__package__).joinpath("supervise.sh").read_text(),
                    "sh",
                ],
                command=_command(image, settings, layout),
                ports=settings.ports(),
                host_config=api.create_host_config(
                    mounts=mounts,
                    auto_remove=True,
                    port_bindings={
                        f"{port}/{protocol}": ("127.0.0.1", port)
                        for port, protocol in settings.ports()
                    },
                    **self._host_config,
                ),
            )
            api.start(home.label)
        except APIError as error:
            raise _refused(home, settings, error.explanation or str(error)) from error

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

    def _wait(self, home: Home, settings: Settings, subject: str, began: float) -> Record:
        """Wait for the daemon in a started container, and ask what it is."""
        import docker

        details = self._inspect(home.label)
        host = f"unix://{home.path / SOCKET}"
        api_version = health.wait_until_ready(
            subject,
            home.path,
            host,
            timeout=settings.timeout,
            spent=time.monotonic() - began,
            gone=lambda: not self._inspect(home.label),
        )
        daemon = docker.DockerClient(base_url=host, version=api_version)
        try:
            info = daemon.info()
        finally:
            daemon.close()
        health.check(subject, info, api_version)
        return Record(
            mode=self._mode,
            home=home,
            id=details["Id"],
            host=host,
            address=_address(details),
            published=tuple(f"{port}/{protocol}" for port, protocol in settings.ports()),
            version=info["ServerVersion"],
            api_version=api_version,
            driver=info["Driver"],
            user_namespace=self._user_namespace,
            seconds=time.monotonic() - began,
        )

    def _inspect(self, name: str) -> dict[str, Any]:
        """The container's details; empty when it is gone."""
        from docker.errors import NotFound

        try:
            details: dict[str, Any] = self._engine.client.api.inspect_container(name)
        except NotFound:
            return {}
        return details

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
        from requests.exceptions import ConnectionError as Broken
        from requests.exceptions import Timeout

        ends = []
        # The engine removed the container, but remembers its last events (moby: 256 of them).
        # It is asked for them up to the next second, since the end may be on its way; its clock
        # need not be this process's, so that the second may be long.
        with contextlib.closing(self._engine.patient(_POST_MORTEM_SECONDS)) as engine:
            stream: Any = engine.client.api.events(
                since=0,
                until=int(time.time()) + 1,
                filters={"container": record.id, "event": "die"},
                decode=True,
            )
            with contextlib.closing(stream), contextlib.suppress(Timeout, Broken):
                for event in stream:
                    ends.append(event["Actor"]["Attributes"].get("exitCode"))
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


def _command(image: Mapping[str, Any], settings: Settings, layout: network.Network) -> list[str]:
    """Arguments of supervise.sh: deadline, whether the image is bare, and the daemon's command."""
    entrypoint = list(image["Config"].get("Entrypoint") or [])
    if entrypoint and Path(entrypoint[-1]).name == _DOCKERD:
        entrypoint.pop()
    bare = not entrypoint
    given = {argument.partition("=")[0] for argument in settings.arg}
    if given & _OTHER_BRIDGE:
        given.add("--bip")
    return [
        str(int(settings.timeout) + 1),
        "yes" if bare else "no",
        *entrypoint,
        _DOCKERD,
        f"--host=unix://{HOME}/{SOCKET}",
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
    subject = f"the daemon {home.name!r} (image {settings.image})"
    denial = security.recognized(text)
    if denial is not None:
        return ModeUnavailable(
            f"The outer engine cannot start {subject}. {denial.cause}.",
            evidence=text,
            remedy=denial.remedy,
        )
    error, remedy = refusal(text)
    if error is None:
        what = f"The outer engine refused the container of {subject}."
        return ModeUnavailable(what, evidence=text, remedy=remedy)
    return error(f"The outer engine cannot start {subject}.", evidence=text, remedy=remedy)


def refusal(text: str) -> tuple[type[DindError] | None, Sequence[str]]:
    """What an engine means that starts no container: the error, where it is known, and ways on."""
    for pattern, error, remedy in _REFUSALS:
        if re.search(pattern, text, re.IGNORECASE):
            return error, remedy
    return None, [
        "Mend what the engine says.",
        "Try it without the plugin: docker run --rm --privileged IMAGE dockerd.",
    ]


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
