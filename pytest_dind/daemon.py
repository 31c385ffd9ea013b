"""`Daemon`, what a test holds."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from . import health
from .backends.protocol import Address, Backend, Record
from .errors import AddressUnreachable

if TYPE_CHECKING:
    import docker
    from docker.models.containers import Container


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
        return {"DOCKER_HOST": self.host}

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
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("DOCKER_")}
        return inherited | self.env

    def client(self, **kwargs: Any) -> docker.DockerClient:
        """A new docker client on it; close it after use.

        Args:
            kwargs: As `docker.DockerClient` takes them, such as `timeout` in seconds.
        """
        import docker

        return docker.DockerClient(
            base_url=self.host, **{"version": self.record.api_version, **kwargs}
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
        # Where the daemon is the machine's own engine, so is its loopback.
        here = ip_address(self.record.address or "0.0.0.0").is_loopback
        bindings = [
            (binding["HostIp"], int(binding["HostPort"]))
            for binding in ports.get(f"{port}/{protocol}") or []
            if here or not ip_address(binding["HostIp"] or "0.0.0.0").is_loopback
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
        host, published_as = bindings[0]
        if f"{published_as}/{protocol}" in self.record.published:
            return Address("127.0.0.1", published_as)
        if here and not ip_address(host or "0.0.0.0").is_unspecified:
            return Address(host, published_as)
        return Address(self.record.address, published_as)

    def logs(self, tail: int | None = None) -> str:
        """The daemon's own log; its last `tail` lines where given."""
        return health.log(self.record.home.path, tail)

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
