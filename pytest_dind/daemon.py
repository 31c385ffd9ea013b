"""`Daemon`, what a test holds."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from . import health, transport
from .backends.protocol import Address, Backend, Record
from .errors import AddressUnreachable

if TYPE_CHECKING:
    import docker
    from docker.models.containers import Container

    from .files import Files


@dataclass(frozen=True)
class Daemon:
    """A Docker daemon for tests, healthy when handed over."""

    record: Record = field(repr=False)
    _backend: Backend = field(repr=False, compare=False)

    def __repr__(self) -> str:
        return f"Daemon(name={self.name!r}, mode={self.mode!r}, host={self.host!r})"

    @property
    def mode(self) -> str:
        """The mode in force."""
        return self.record.mode

    @property
    def name(self) -> str:
        """Its name among the daemons of this run."""
        return self.record.home.name

    @property
    def id(self) -> str:
        """The id of its outer container."""
        return self.record.id

    @property
    def host(self) -> str:
        """Its URL, as `DOCKER_HOST` has it."""
        return self.record.host

    @property
    def env(self) -> dict[str, str]:
        """The `DOCKER_*` variables that point a tool at it."""
        return self.record.variables()

    @property
    def version(self) -> str:
        """The version of its engine."""
        return self.record.version

    @property
    def user_namespace(self) -> bool:
        """Whether a user namespace isolates it: root in it is not root on the engine's machine."""
        return self.record.user_namespace

    @property
    def container(self) -> Container | None:
        """Its container on the outer engine, where it has one."""
        return self._backend.container(self.record)

    def environment(self) -> dict[str, str]:
        """This process's environment, with every inherited `DOCKER_*` replaced by `env`."""
        return transport.environment(os.environ, self.host, self.record.certificates)

    def client(self, **kwargs: Any) -> docker.DockerClient:
        """A new docker client on it; close it after use.

        Args:
            kwargs: As `docker.DockerClient` takes them, such as `timeout` in seconds.
        """
        record = self.record
        return transport.client(
            record.host, record.certificates, **{"version": record.api_version, **kwargs}
        )

    def exec(
        self,
        command: Sequence[str],
        *,
        check: bool = True,
        env: Mapping[str, str] | None = None,
        workdir: str | None = None,
        stdin: str | None = None,
        timeout: float | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the daemon's container, where the `docker` CLI talks to the daemon.

        Args:
            command: The program and its arguments.
            check: Raise when it exits with another code than 0.
            env: Further environment variables.
            workdir: The directory to run in.
            stdin: What it reads; without, its stdin is empty.
            timeout: Seconds until it is killed.

        Raises:
            subprocess.CalledProcessError: it failed, and `check` is true.
            subprocess.TimeoutExpired: it was killed after `timeout` seconds.
        """
        done = self._backend.exec(
            self.record,
            command,
            env=env,
            workdir=workdir,
            stdin=None if stdin is None else stdin.encode(),
            timeout=timeout,
        )
        result = subprocess.CompletedProcess(
            done.args,
            done.returncode,
            done.stdout.decode(errors="replace"),
            done.stderr.decode(errors="replace"),
        )
        if check and result.returncode:
            raise CommandFailed(result.returncode, result.args, result.stdout, result.stderr)
        return result

    def address(self, container: Container | str, port: int, protocol: str = "tcp") -> Address:
        """Where the test process reaches a published port of a nested container.

        Args:
            container: The nested container: the object, its name or its id.
            port: The port inside the container.
            protocol: `tcp` or `udp`.

        Raises:
            AddressUnreachable: the port is not published, or the container is not there.
        """
        from docker.errors import NotFound

        name = container if isinstance(container, str) else str(container.id)
        client = self.client()
        try:
            details = client.api.inspect_container(name)
        except NotFound as error:
            raise AddressUnreachable(
                f"There is no nested container {name!r} in the daemon {self.name!r}.",
                evidence=str(error),
                remedy=["Start the container in this daemon before asking for its address."],
            ) from error
        finally:
            client.close()
        ports = details["NetworkSettings"]["Ports"] or {}
        bindings = [
            int(binding["HostPort"])
            for binding in ports.get(f"{port}/{protocol}") or []
            if not ip_address(binding["HostIp"] or "0.0.0.0").is_loopback
        ]
        if not bindings:
            published = ", ".join(key for key, value in ports.items() if value) or "none"
            raise AddressUnreachable(
                f"Port {port}/{protocol} of the nested container {details['Name'].lstrip('/')!r} "
                "is not published to the test process.",
                evidence=f"Published ports: {published}; the container is "
                f"{details['State']['Status']}.",
                remedy=[
                    f"Start it with ports={{'{port}/{protocol}': None}}; 127.0.0.1 would be the "
                    "daemon's own loopback.",
                    "A container that has ended publishes nothing: look at its logs.",
                ],
            )
        return self._outside(details["Name"].lstrip("/"), bindings[0], protocol)

    def _outside(self, container: str, port: int, protocol: str) -> Address:
        """Where a port of the daemon's container is reached."""
        record = self.record
        if f"{port}/{protocol}" in record.published:
            return Address(record.outer, port)
        if record.address:
            return Address(record.address, port)
        published = ", ".join(record.published) or "none"
        raise AddressUnreachable(
            f"Port {port}/{protocol}, where the daemon {self.name!r} publishes the nested "
            f"container {container!r}, is not reached from here.",
            evidence=f"The daemon's container is on another machine ({record.because}). Ports that "
            f"are published there: {published}.",
            remedy=[
                f"Publish a port with --dind-publish {port}/{protocol}, and the container on that "
                f"port: ports={{...: {port}}}.",
                "Reach it from a nested container, or with Daemon.exec.",
            ],
        )

    def logs(self, tail: int | None = None) -> str:
        """The daemon's own log; its last `tail` lines where given."""
        return health.log(self._files, tail)

    @property
    def _files(self) -> Files:
        """What its container and this process tell each other."""
        return self._backend.files(self.record)

    def exit_code(self) -> int | None:
        """The code it ended with; None while it runs, and where nobody knows."""
        return self._backend.post_mortem(self.record)

    def stop(self) -> None:
        """Remove it for good with all that is in it; again is fine."""
        self._backend.stop(self.record.home)


class CommandFailed(subprocess.CalledProcessError):
    """A `CalledProcessError` that shows both outputs in its text."""

    def __str__(self) -> str:
        return f"{super().__str__()}\nstdout: {self.stdout}\nstderr: {self.stderr}"
