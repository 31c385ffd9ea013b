"""`Daemon`, the handle by which a test uses its daemon."""

from __future__ import annotations

import dataclasses
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, overload

from ..backends import engine_errors, readiness
from ..backends.protocol import Address, Backend, Record
from ..engine import archives, builds, http, streams
from ..engine.images import ImageSource
from ..errors import DindError
from ..lifetime import layout
from . import commands, ports
from .loss import lost
from .ports import Ports

if TYPE_CHECKING:
    import docker
    from docker.models.containers import Container

    from ..lifetime.files import Files


def _quiet(text: str) -> None:
    """Write no progress line."""


@dataclass(frozen=True)
class Daemon:
    """A Docker daemon for tests, healthy when handed over."""

    record: Record = field(repr=False)
    _backend: Backend = field(repr=False, compare=False)
    # Writes a progress line.
    _progress: streams.Progress = field(default=_quiet, repr=False, compare=False)
    # The URL for commands in its container, where that is not the usual one.
    _inside: str = field(default="", repr=False, compare=False)

    def __repr__(self) -> str:
        return f"Daemon(name={self.name!r}, mode={self.mode!r}, host={self.host!r})"

    @property
    def mode(self) -> str:
        """The mode in which the daemon was made."""
        return self.record.mode

    @property
    def name(self) -> str:
        """The daemon's name, unique in this run."""
        return self.record.home.name

    @property
    def id(self) -> str:
        """The id of the daemon's container on the outer engine."""
        return self.record.id

    @property
    def host(self) -> str:
        """The daemon's URL, as `DOCKER_HOST` has it."""
        return self.record.host

    @property
    def env(self) -> dict[str, str]:
        """The `DOCKER_*` variables that point a tool at the daemon."""
        return self.record.variables()

    @property
    def version(self) -> str:
        """The daemon's version."""
        return self.record.version

    @property
    def user_namespace(self) -> bool:
        """Whether a user namespace isolates it: its root is not root on the engine's machine."""
        return self.record.user_namespace

    @property
    def container(self) -> Container | None:
        """The daemon's container on the outer engine; None in a mode without one."""
        return self._backend.container(self.record)

    def environment(self) -> dict[str, str]:
        """This process's environment, in which tools find this daemon and no other engine.

        That is every inherited `DOCKER_*`, of which `env` takes the place, and the like of some
        tools; testcontainers learns where published ports are reached.
        """
        found = http.environment(os.environ, self.host, self.record.certificates)
        host = ports.host(self.record)
        return found | ({"TESTCONTAINERS_HOST_OVERRIDE": host} if host else {})

    def client(self, **kwargs: Any) -> docker.DockerClient:
        """A new docker client on the daemon; close it after use.

        Args:
            kwargs: As `docker.DockerClient` takes them, such as `timeout` in seconds.

        Raises:
            DaemonLost: the daemon is gone.
        """
        # Looked at first: docker-py leaves a socket open where nobody answers.
        loss = lost(self.record, self._backend)
        if loss is not None:
            raise loss
        record = self.record
        return http.client(
            record.host, record.certificates, **{"version": record.api_version, **kwargs}
        )

    @contextmanager
    def _connected(self, **kwargs: Any) -> Iterator[docker.DockerClient]:
        """A client on it; a call that fails because the daemon is gone raises `DaemonLost`."""
        from requests.exceptions import RequestException

        with closing(self.client(**kwargs)) as client:
            try:
                yield client
            except (DindError, RequestException) as error:
                loss = lost(self.record, self._backend, asks=True)
                if loss is None:
                    raise
                raise loss from error

    @overload
    def exec(
        self,
        command: Sequence[str | os.PathLike[str]],
        *,
        check: bool = ...,
        env: Mapping[str, str] | None = ...,
        workdir: str | None = ...,
        stdin: str | bytes | None = ...,
        timeout: float | None = ...,
        text: Literal[True] = ...,
    ) -> subprocess.CompletedProcess[str]: ...

    @overload
    def exec(
        self,
        command: Sequence[str | os.PathLike[str]],
        *,
        check: bool = ...,
        env: Mapping[str, str] | None = ...,
        workdir: str | None = ...,
        stdin: str | bytes | None = ...,
        timeout: float | None = ...,
        text: Literal[False],
    ) -> subprocess.CompletedProcess[bytes]: ...

    def exec(  # noqa: PLR0913 - subprocess.run's own arguments, which users know
        self,
        command: Sequence[str | os.PathLike[str]],
        *,
        check: bool = True,
        env: Mapping[str, str] | None = None,
        workdir: str | None = None,
        stdin: str | bytes | None = None,
        timeout: float | None = None,
        text: bool = True,
    ) -> subprocess.CompletedProcess[Any]:
        """Run a command in the daemon's container, where the `docker` CLI talks to the daemon.

        Args:
            command: The program and its arguments.
            check: Raise when it exits with another code than 0.
            env: Further environment variables.
            workdir: The directory to run in.
            stdin: What it reads; without, its stdin is empty.
            timeout: Seconds until it is killed, with the processes it has started.
            text: Give its outputs as text; false gives them as bytes, every byte as it was.

        Raises:
            subprocess.CalledProcessError: it failed, and `check` is true; both outputs are in the
                error's text.
            subprocess.TimeoutExpired: it was killed after `timeout` seconds.
            DindError: it could not be run: there is no such directory, or no such daemon any more.
        """
        wanted = commands.command(command, env, workdir, stdin, timeout)
        if self._inside:
            inside = {"DOCKER_HOST": self._inside}
            wanted = dataclasses.replace(wanted, env={**inside, **wanted.env})
        return commands.run(self._backend, self.record, wanted, check=check, text=text)

    def address(
        self,
        container: Container | str,
        port: int | str,
        protocol: str = "tcp",
        *,
        wait: bool | float = False,
    ) -> Address:
        """Where the test process reaches a published port of a nested container.

        Args:
            container: The nested container: the object, its name or its id.
            port: The port inside the container, as `80` or `"80/udp"`.
            protocol: `tcp`, `udp` or `sctp`.
            wait: Wait until the port accepts connections, 10 seconds or as many as given; of tcp
                alone that can be known.

        Raises:
            AddressUnreachable: the port is not published, the container is not there or does not
                run, or nothing accepts.
        """
        with self._connected() as client:
            return Ports(self.record, self._backend, client).find(
                container, port, protocol, wait=wait
            )

    def nested_address(self, container: Container | str, network: str = "") -> str:
        """A nested container's own IP address, for what runs beside it in the daemon.

        Args:
            container: The nested container: the object, its name or its id.
            network: The network to look at, where it is on several.

        Raises:
            AddressUnreachable: it is not there, does not run, or has no address there.
        """
        with self._connected() as client:
            return Ports(self.record, self._backend, client).nested(container, network)

    def load(self, *sources: str | os.PathLike[str]) -> list[str]:
        """Bring images into the daemon.

        Args:
            sources: Each the name or id of an image of the outer engine, which pulls it when it is
                missing; or the path of an archive that `docker save` made: a `Path`, or text that
                begins with `/`, `./`, `../` or `~` or ends as archives do (`.tar`, `.tar.gz`).

        Returns:
            What the daemon has of them, by name; by id what has no name.

        Raises:
            ImageUnavailable: one is missing and can't be pulled, or is no image.
        """
        archives.demand_sources(sources)
        archived = [source for source in sources if archives.is_archive(source)]
        names = [str(source) for source in sources if not archives.is_archive(source)]
        with self._connected() as client:
            loaded = (
                ImageSource(self._backend.outer(), self._progress).load(client, names)
                if names
                else []
            )
            for archive in archived:
                loaded += archives.load(client, archive, self._progress)
        return loaded

    def build(self, path: str | os.PathLike[str], tag: str, **options: Any) -> str:
        """Build a Dockerfile's directory in the daemon.

        Args:
            path: The directory.
            tag: The image's name.
            options: Further ones of docker-py's `build`, such as `buildargs` or `dockerfile`.

        Returns:
            The image's id.

        Raises:
            BuildFailed: a step fails; the last lines of the build are in the text.
        """
        with self._connected(timeout=streams.SILENCE_SECONDS) as client:
            return builds.build(client, path, tag, self._progress, options)

    def logs(self, tail: int | None = None) -> str:
        """The daemon's own log; its last `tail` lines where given."""
        return readiness.log(self._files, tail)

    @property
    def _files(self) -> Files:
        """The files by which its container and this process communicate."""
        return self._backend.files(self.record)

    def exit_code(self) -> int | None:
        """The exit code of the daemon; None while it runs, and where nobody knows it."""
        return self._backend.post_mortem(self.record)

    def restart(self, timeout: float = 60) -> None:
        """Restart the daemon, and wait until it serves again.

        Containers with a restart policy run again then; images, volumes and the other containers
        are there still. This handle, its clients and its address stay the same.

        Args:
            timeout: Seconds it may take to end and to be ready again.

        Raises:
            DindError: it ended instead, or was not ready in time.
        """
        from docker.errors import NotFound

        if not isinstance(timeout, (int, float)):
            raise commands.bad("restart", "timeout", timeout, "a number of seconds")
        mark = self.record.home.path / layout.RESTARTING
        try:
            mark.touch()
            self._backend.restart(self.record, timeout)
        except (NotFound, FileNotFoundError) as error:
            raise engine_errors.gone(self.record.home, error) from error
        finally:
            mark.unlink(missing_ok=True)

    def stop(self) -> None:
        """Remove the daemon for good with all its contents; idempotent."""
        self._backend.stop(self.record.home)
