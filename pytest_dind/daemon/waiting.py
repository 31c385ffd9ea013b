"""Waits for a nested container: until it is as a test needs it, or can't become so."""

from __future__ import annotations

import contextlib
import re
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..backends.protocol import Address
from ..causes import explained
from ..engine import containers
from ..engine.exec import Command
from ..engine.polling import poll
from ..errors import AddressUnreachable, ContainerFailed, ContainerTimeout, SettingsError
from ..validation import shown
from . import arguments
from .ports import Ports, key

if TYPE_CHECKING:
    import docker
    from docker.models.containers import Container

_POLL_SECONDS = 0.05
# What a container that has ended has written may still be on its way.
_REST_SECONDS = 5
_LAST_LINES = 10
_LAST_CHECKS = 3
_LISTENS = "0A"
"""The state of a listening socket in /proc/net/tcp."""

IN_VAIN: dict[str, str] = {}
"""What this process waits for, or has waited for in vain, by the ids of containers."""

Run = Callable[[Command], "subprocess.CompletedProcess[Any]"]
"""Runs a command in the daemon's container."""


@dataclass(frozen=True)
class Wanted:
    """What is waited for; all of it is to hold.

    Attributes:
        healthy: Its health check succeeds.
        log: This is in what it has written.
        port: This port of it, as `80/tcp`, accepts connections; empty for none.
        exited: It has ended with this exit code.
        timeout: Seconds that it may take.
    """

    healthy: bool
    log: re.Pattern[str] | None
    port: str
    exited: int | None
    timeout: float

    def __str__(self) -> str:
        told = ["is healthy"] if self.healthy else []
        told += [f"has written {self.log.pattern!r}"] if self.log else []
        told += [f"accepts connections on port {self.port}"] if self.port else []
        told += [f"has ended with exit code {self.exited}"] if self.exited is not None else []
        return " and ".join(told)


def wanted(healthy: Any, log: Any, port: Any, exited: Any, timeout: Any) -> Wanted:
    """Check the arguments of `Daemon.wait_for`; gives what is waited for.

    Raises:
        SettingsError: one has a value that it can't have, or there is nothing to wait for.
        AddressUnreachable: the port is none.
    """
    arguments.demand(
        "wait_for", healthy=healthy, log=log, port=port, exited=exited, timeout=timeout
    )
    found = Wanted(healthy, _pattern(log), _port(port), exited, timeout)
    if not str(found):
        raise SettingsError(
            "wait_for: there is nothing to wait for.",
            evidence="None of healthy, log, port and exited is given.",
            remedy=["Give one or several: wait_for(container, healthy=True, port=80)."],
        )
    if exited is not None and (healthy or found.port):
        raise SettingsError(
            f"wait_for: a container never {found}.",
            evidence="One that has ended is not healthy, and has no port.",
            remedy=["Wait for the one first, and for its end in a second call."],
        )
    return found


def _pattern(log: str | re.Pattern[str] | None) -> re.Pattern[str] | None:
    if log is None or isinstance(log, re.Pattern):
        return log
    try:
        return re.compile(log, re.MULTILINE)
    # Numbers that are too large, groups that are too deep, and what is warned of where warnings are
    # errors.
    except (re.error, OverflowError, RecursionError, Warning) as error:
        raise SettingsError(
            f"wait_for: log={shown(log)} is not a regular expression.",
            evidence=str(error),
            remedy=["Mend it.", "Take text as it is: log=re.escape(TEXT)."],
        ) from error


def _port(port: int | str | None) -> str:
    if port is None:
        return ""
    found = key(port, "tcp")
    if not found.endswith("/tcp"):
        raise arguments.bad("wait_for", "port", port, "a port of tcp; of no other it can be known")
    return found


class Log:
    """What a container has written so far, followed in a thread of its own.

    Args:
        client: A client on the daemon.
        container: The container's id.
    """

    def __init__(self, client: docker.DockerClient, container: str) -> None:
        self._chunks: list[bytes] = []
        self._ended = threading.Event()
        api: Any = client.api
        self._stream = api.logs(container, stream=True, follow=True)
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def search(self, pattern: re.Pattern[str]) -> bool:
        """Whether this is in it."""
        text = b"".join(self._chunks)
        return pattern.search(text.decode(errors="replace")) is not None

    def end(self) -> None:
        """Wait for what a container that has ended has written."""
        self._ended.wait(_REST_SECONDS)

    def close(self) -> None:
        """End the thread."""
        with contextlib.suppress(OSError):
            self._stream.close()
        self._thread.join(_REST_SECONDS)
        # The stream's own `close` only wakes the thread up where the connection broke.
        self._stream._response.close()

    def _follow(self) -> None:
        # A stream that breaks ends: whether the container has, is looked at apart from it.
        try:
            with contextlib.suppress(Exception):
                for chunk in self._stream:
                    self._chunks.append(chunk)
        finally:
            self._ended.set()


@dataclass(frozen=True)
class Wait:
    """A wait for one container.

    Attributes:
        client: A client on the daemon.
        ports: The ports of the daemon's containers.
        run: Runs a command in the daemon's container.
        daemon: The daemon's name.
        wanted: What is waited for.
    """

    client: docker.DockerClient
    ports: Ports
    run: Run
    daemon: str
    wanted: Wanted

    def until(self, container: Container | str) -> None:
        """Wait until all holds.

        Raises:
            ContainerFailed: it can't come true: the container is not there, has ended in another
                way, is unhealthy, or has no health check.
            ContainerTimeout: it did not come true in time.
        """
        given = arguments.name_or_id(container) or ""
        details = containers.inspect(self.client, given)
        if not details:
            raise ContainerFailed(
                f"There is no nested container {given!r} in the daemon {self.daemon!r}.",
                evidence=f"It was waited for until it {self.wanted}.",
                remedy=[
                    "Start the container in this daemon before waiting for it.",
                    "One with remove=True is gone once it has ended.",
                ],
            )
        IN_VAIN[details["Id"]] = str(self.wanted)
        with self._log(details) as log:
            last = details

            def look() -> bool | None:
                nonlocal last
                now = containers.inspect(self.client, details["Id"])
                last = now or last
                return self._look(now, last, log) or None

            if not poll(look, seconds=self.wanted.timeout, every=_POLL_SECONDS):
                raise self._late(last)
        del IN_VAIN[details["Id"]]

    @contextlib.contextmanager
    def _log(self, details: Mapping[str, Any]) -> Iterator[Log | None]:
        """The log, followed while the block lasts; None where it is not waited for."""
        from docker.errors import APIError

        if self.wanted.log is None:
            yield None
            return
        try:
            log = Log(self.client, details["Id"])
        except APIError as error:
            raise self._failed(
                details,
                "has no log that can be read",
                "Run it with another log driver: json-file or local.",
                str(error.explanation or error),
            ) from error
        try:
            yield log
        finally:
            log.close()

    def _look(self, details: Mapping[str, Any], last: Mapping[str, Any], log: Log | None) -> bool:
        """Whether all holds now.

        Args:
            details: The container's details; empty when it is gone.
            last: The last details that there were.
            log: Its log, where that is waited for.

        Raises:
            ContainerFailed: it can't come true.
        """
        wanted = self.wanted
        ended = not details or _has_ended(details["State"])
        if ended and log is not None:
            log.end()
        written = wanted.log is None or (log is not None and log.search(wanted.log))
        if not ended:
            return bool(
                wanted.exited is None
                and written
                and (not wanted.healthy or self._is_healthy(details))
                and (not wanted.port or self._accepts(details))
            )
        code = details["State"]["ExitCode"] if details else None
        if written and not wanted.healthy and not wanted.port and wanted.exited in (None, code):
            return True
        if details:
            raise self._failed(last, "has ended")
        raise self._failed(
            last, "is gone", "Run it without remove=True, and remove it after the wait."
        )

    def _is_healthy(self, details: Mapping[str, Any]) -> bool:
        health = details["State"].get("Health") or {}
        status = health.get("Status", "none")
        if status == "none":
            raise self._failed(
                details,
                "has no health check",
                "Give it one: healthcheck={...}, or HEALTHCHECK in its Dockerfile.",
            )
        if status == "unhealthy":
            raise self._failed(details, "is unhealthy")
        return bool(status == "healthy")

    def _accepts(self, details: Mapping[str, Any]) -> bool:
        try:
            address = self.ports.find(details["Id"], self.wanted.port, "tcp", wait=False)
        except AddressUnreachable:
            return self._listens_inside(details)
        return self.ports.accepts(address)

    def _listens_inside(self, details: Mapping[str, Any]) -> bool:
        """Whether a process listens on a port that the test process doesn't reach."""
        if self.ports.record.address and not self.ports.backend.container(self.ports.record):
            # The machine's own engine: its containers' addresses are this process's too.
            address = containers.address(details)
            number = int(self.wanted.port.partition("/")[0])
            return bool(address) and self.ports.accepts(Address(address, number))
        tables = [f"/proc/{details['State']['Pid']}/net/{name}" for name in ("tcp", "tcp6")]
        done = self.run(Command(["cat", *tables]))
        # Without IPv6 there is no second one.
        return is_listened_on(done.stdout.decode(), int(self.wanted.port.partition("/")[0]))

    def _failed(
        self,
        details: Mapping[str, Any],
        how: str,
        remedy: str = "Look in its log lines for the cause.",
        evidence: str = "",
    ) -> ContainerFailed:
        error = ContainerFailed(
            f"The nested container {_name(details)!r} {how}; "
            f"it was waited for until it {self.wanted}.",
            evidence=f"{evidence}\n{self._evidence(details)}",
            remedy=[remedy],
        )
        return explained(error)

    def _late(self, details: Mapping[str, Any]) -> ContainerTimeout:
        error = ContainerTimeout(
            f"The nested container {_name(details)!r} was waited for until it {self.wanted}, "
            f"in vain for {self.wanted.timeout:g} s.",
            evidence=self._evidence(details),
            remedy=[
                "Look in its log lines for what it is doing.",
                f"Give it longer: timeout={2 * self.wanted.timeout:g}.",
            ],
        )
        return explained(error)

    def _evidence(self, details: Mapping[str, Any]) -> str:
        """The container's state, its last health checks, and its last log lines."""
        from docker.errors import APIError

        state = details["State"]
        told = f"It is {state['Status']}"
        if _has_ended(state):
            told += f", exit code {state['ExitCode']}"
        if state.get("OOMKilled"):
            told += ", killed for want of memory (OOM)"
        lines = [f"{told}."]
        if state.get("Error"):
            lines.append(f"The engine says: {state['Error']}")
        health = state.get("Health") or {}
        for check in (health.get("Log") or [])[-_LAST_CHECKS:]:
            output = str(check["Output"]).strip()
            lines.append(f"Health check, exit code {check['ExitCode']}: {output}")
        with contextlib.suppress(APIError):
            said: bytes = self.client.api.logs(details["Id"], tail=_LAST_LINES)
            lines.append("Its last log lines:\n" + (said.decode(errors="replace") or "none"))
        return "\n".join(lines)


def _has_ended(state: Mapping[str, Any]) -> bool:
    return state["Status"] in ("exited", "dead", "removing")


def _name(details: Mapping[str, Any]) -> str:
    return str(details["Name"]).lstrip("/")


def is_listened_on(tables: str, port: int) -> bool:
    """Whether a socket listens on a port, in the tables of /proc/net/tcp and tcp6."""
    rows = [line.split() for line in tables.splitlines()]
    return any(
        row[3] == _LISTENS and int(row[1].rpartition(":")[2], 16) == port
        for row in rows
        # Not the heads of the tables.
        if ":" in row[1]
    )
