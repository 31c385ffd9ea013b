"""`Daemon`, the handle by which a test uses its daemon."""

from __future__ import annotations

import dataclasses
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from ..backends import engine_errors, readiness
from ..backends.protocol import Address, Backend, Record
from ..backends.registry import isolates
from ..engine import activation, archives, digests, http, images, steps, streams
from ..engine.images import ImageSource
from ..errors import DindError
from ..lifetime import layout
from . import arguments, commands, ports, waiting
from .loss import STOPPED, lost
from .ports import Ports

if TYPE_CHECKING:
    import re

    import docker
    from docker.models.containers import Container

    from ..engine.exec import Command
    from ..lifetime.files import Files
    from ..store.snapshots import Snapshot, Wanted


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
    # The directory by which the processes of a test run know of its snapshots.
    _shared: Path | None = field(default=None, repr=False, compare=False)

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
    def ip(self) -> str:
        """The address of the daemon's container on the outer engine; empty in mode socket.

        Containers of the outer engine reach the daemon there, and so does the test process where
        that engine is on this machine and in no virtual one.
        """
        return self.record.ip

    @property
    def gateway(self) -> str:
        """The address at which nested containers reach the test process.

        Empty where none is known: the outer engine is on another machine, or in a virtual one.
        """
        return self.record.gateway

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

        Only what chooses an engine is taken out (`DOCKER_HOST`, `DOCKER_CONTEXT` and the like of
        some tools), and `env` put in; what configures tools stays, such as `DOCKER_CONFIG` with
        its credentials and CLI plugins. testcontainers learns where published ports are reached.
        """
        found = http.environment(activation.present(), self.host, self.record.certificates)
        host = ports.host(self.record)
        if host:
            found["TESTCONTAINERS_HOST_OVERRIDE"] = host
        if host and isolates(self.mode):
            # Where there is a /.dockerenv it would take loopback for that of another container, and
            # look for ports on a nested network.
            found["TESTCONTAINERS_CONNECTION_MODE"] = "docker_host"
        if isolates(self.mode):
            # As nested containers find it: its path on this machine is none in the daemon.
            found["TESTCONTAINERS_DOCKER_SOCKET_OVERRIDE"] = layout.SOCKET_IN_CONTAINER
        return found

    @contextmanager
    def activated(self) -> Iterator[Daemon]:
        """Have this process's own environment lead to the daemon, in this context.

        `docker.from_env()` and the tools that read the environment follow it, testcontainers also
        where it is imported already. Contexts may be nested, also of several daemons; all threads
        of the process share the environment.
        """
        with activation.activated(self.environment()):
            yield self

    def client(self, **kwargs: Any) -> docker.DockerClient:
        """A new docker client on the daemon; close it after use.

        Args:
            kwargs: As `docker.DockerClient` takes them, such as `timeout` in seconds.

        Raises:
            DaemonLost: the daemon is gone.
        """
        arguments.demand("client", **kwargs)
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
        arguments.demand("exec", check=check, text=text)
        wanted = commands.command(command, env, workdir, stdin, timeout)
        try:
            return self._run(wanted, check=check, text=text)
        except commands.CommandFailed as error:
            if commands.asks_registries(wanted.argv):
                error.note = self._proxies()
            raise

    def _run(
        self, command: Command, *, check: bool = False, text: bool = False
    ) -> subprocess.CompletedProcess[Any]:
        """Run a command in the daemon's container; `exec` says how."""
        if self._inside:
            inside = {"DOCKER_HOST": self._inside}
            command = dataclasses.replace(command, env={**inside, **command.env})
        return commands.run(self._backend, self.record, command, check=check, text=text)

    def _proxies(self) -> str:
        """A line on the proxies that it pulls through; empty without any, and when it is gone."""
        with suppress(DindError), closing(self.client()) as client:
            return images.proxies(client, "the daemon")
        return ""

    def copy_to(self, source: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
        """Copy a file or a directory of this machine into the daemon's container.

        As `docker cp` does: into `target` where that is a directory, else to that name, whose
        parent must be there; of a directory that is given with `/.` at its end, what is in it.
        Modes, times and the links in a directory are kept, all becomes root's; a source that is
        itself a link is followed; sockets are left out.

        Args:
            source: The file or directory.
            target: Where it goes in the container.

        Raises:
            CopyFailed: there is no source, or no place for it.
        """
        from . import copies

        copies.copy_to(self._run, source, target, self._progress)

    def copy_from(self, source: str | os.PathLike[str], target: str | os.PathLike[str]) -> Path:
        """Copy a file or a directory of the daemon's container to this machine.

        As `copy_to` does, the other way round; all becomes the caller's own, and devices, pipes and
        sockets are left out.

        Args:
            source: The file or directory in the container.
            target: Where it goes.

        Returns:
            Where it is now.

        Raises:
            CopyFailed: there is no source, or no place for it.
        """
        from . import copies

        return copies.copy_from(self._run, source, target, self._progress)

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
        arguments.demand("address", wait=wait)
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
        arguments.demand("nested_address", network=network)
        with self._connected() as client:
            return Ports(self.record, self._backend, client).nested(container, network)

    def wait_for(  # noqa: PLR0913 - what a container may be waited for
        self,
        container: Container | str,
        *,
        healthy: bool = False,
        log: str | re.Pattern[str] | None = None,
        port: int | str | None = None,
        exited: int | None = None,
        timeout: float = 60,
    ) -> None:
        """Wait until a nested container is as the test needs it; until all holds that is given.

        It ends at once when that can't come true any more, since the container has ended in another
        way, or its health check fails for good.

        Args:
            container: The nested container: the object, its name or its id.
            healthy: Its health check succeeds.
            log: A regular expression that is found in what it has written on either output, which
                the engine gives line by line; `^` and `$` are of each line.
            port: A port of it accepts connections, as `80` or `"80/tcp"`; that need not be
                published.
            exited: It has ended with this exit code.
            timeout: Seconds that it may take.

        Raises:
            ContainerFailed: it can't come true; exit code, health checks and last log lines are in
                the text.
            ContainerTimeout: it did not come true in time; the same is in the text.
            SettingsError: there is nothing to wait for, or an argument is none.
        """
        arguments.demand("wait_for", container=container)
        wanted = waiting.wanted(healthy, log, port, exited, timeout)
        with self._connected() as client:
            ports = Ports(self.record, self._backend, client)
            waiting.Wait(client, ports, self._run, self.name, wanted).until(container)

    def load(self, *sources: str | os.PathLike[str]) -> list[str]:
        """Bring images into the daemon.

        Args:
            sources: Each the name or id of an image of the outer engine, which pulls it when it is
                missing; or the path of an archive that `docker save` made: a `Path`, or text that
                begins with `/`, `./`, `../` or `~` or ends as archives do (`.tar`, `.tar.gz`). An
                image that is named by its digest gets its tag's name; only what `--dind-load` names
                is found by its digest.

        Returns:
            What the daemon has of them, by name; by id what has no name.

        Raises:
            ImageUnavailable: one is missing and can't be pulled, is no image, or is an archive for
                another platform than the daemon's.
        """
        archives.demand_sources(sources)
        archived = [source for source in sources if archives.is_archive(source)]
        names = [str(source) for source in sources if not archives.is_archive(source)]
        with self._connected() as client:
            source = ImageSource(self._backend.outer(), self._progress)
            loaded, by_digest = digests.load(source, client, names)
            for name, id_ in by_digest.items():
                digests.tag(client, name, id_)
            digests.tell(
                client, by_digest, self._progress, "one that runs takes none (--dind-load)"
            )
            for archive in archived:
                loaded += archives.load(client, archive, self._progress)
        return loaded

    def build(self, path: str | os.PathLike[str], tag: str, **options: Any) -> str:
        """Build a Dockerfile's directory in the daemon, by BuildKit.

        That is by the buildx of the daemon's image, or else of this machine, or else BuildKit by
        the engine's API; what BuildKit can't do is done by the older builder.

        Args:
            path: The directory.
            tag: The image's name.
            options: Further ones of docker-py's `build`, such as `buildargs` or `dockerfile`; and
                `secrets`, a dict of what steps may mount with `RUN --mount=type=secret`: each the
                path of a file, or its contents as bytes.

        Returns:
            The image's id.

        Raises:
            BuildFailed: a step fails; the last lines of the build are in the text.
            SettingsError: there is no such option, or what it asks for can't be had here.
        """
        # Like `copies`, not at the top: a start waits for what is imported before it.
        from ..engine import builds
        from .building import Builder

        given = {name: value for name, value in options.items() if value is not None}
        arguments.demand("build", path=path, tag=tag, **given)
        build = builds.build_of(path, tag, given)
        with (
            steps.Step(self._progress, f"building {tag}", silent=True) as step,
            self._connected(timeout=streams.SILENCE_SECONDS) as client,
        ):
            return Builder(self.record, self._run, self.environment, step).build(client, build)

    def logs(self, tail: int | None = None) -> str:
        """The daemon's own log; its last `tail` lines where given."""
        arguments.demand("logs", tail=tail)
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

        In a daemon that others use too, as the workers of xdist do, their calls fail meanwhile and
        their containers without such a policy end: a test that restarts it is to have one of its
        own, by `dind_factory`.

        Args:
            timeout: Seconds it may take to end and to be ready again.

        Raises:
            DindError: it ended instead, or was not ready in time.
        """
        from docker.errors import NotFound

        arguments.demand("restart", timeout=timeout)
        mark = self.record.home.path / layout.RESTARTING
        try:
            mark.touch()
            self._backend.restart(self.record, timeout)
        except (NotFound, FileNotFoundError) as error:
            raise engine_errors.gone(self.record.home, error) from error
        finally:
            mark.unlink(missing_ok=True)

    def snapshot(self, name: str) -> None:
        """Keep a copy of the daemon as it is now, from which further daemons start.

        That is by `dind_factory(snapshot=name)`, and by `dind_fresh` with the marker
        `dind_snapshot(name)`. Its images, volumes, networks and containers are in it, these with
        what they have written. Containers that run are paused meanwhile, and the daemon does not
        answer. The copy is in the warm store until the end of the run.

        Args:
            name: The name: lower-case letters, digits, `_`, `.` and `-`; one that there is already
                is replaced.

        Raises:
            SettingsError: the name is not valid, or the mode has no snapshots.
            SnapshotFailed: it can't be taken; nothing of it is left.
        """
        from ..store.snapshots import demand_name, for_one_run

        self._freeze(for_one_run(demand_name("snapshot", name)))

    def _freeze(self, wanted: Wanted) -> None:
        """Take a snapshot, and let the processes of the run know of it."""
        from ..store.snapshots import without_isolation
        from . import snapshots

        if not isolates(self.mode):
            raise without_isolation(self.mode)
        with self._connected() as client:
            taken = snapshots.take(self.record, self._backend, client, self._progress, wanted)
        snapshots.note(self._shared or self.record.home.path.parent, taken)

    def _start_again(self, snapshot: Snapshot) -> None:
        """Start the containers that ran in a snapshot that this is a copy of, in their order."""
        from . import snapshots

        with self._connected() as client:
            snapshots.start_again(client, snapshot, partial(self.wait_for, healthy=True))

    def stop(self) -> None:
        """Remove the daemon for good with all its contents; idempotent."""
        # By now its home may be that of another one, of a run with the same `--dind-reuse`.
        if self.id in STOPPED:
            return
        self._backend.stop(self.record.home)
        STOPPED.add(self.id)
        (self.record.home.path / layout.KEPT).unlink(missing_ok=True)
