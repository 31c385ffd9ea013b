"""`KubernetesNode`: a node of a cluster, which is a container in the cluster's daemon."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..daemon import arguments, commands
from ..daemon.handle import Daemon
from ..engine import containers
from ..engine import exec as exec_module
from ..errors import KubernetesFailed

SERVER, AGENT = "server", "agent"
_LAST_LINES = 25


@dataclass(frozen=True)
class KubernetesNode:
    """A node of a cluster.

    Attributes:
        name: Its name, in the cluster and as a host.
        role: "server" or "agent".
        ip: Its address for the other nodes, inside the cluster's daemon.
        id: The id of its container there.
    """

    name: str
    role: str
    ip: str
    id: str = field(repr=False)
    _daemon: Daemon = field(repr=False, compare=False)
    # The variables of commands in it.
    _environment: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)

    def exec(
        self,
        command: Sequence[str | os.PathLike[str]],
        *,
        check: bool = True,
        env: Mapping[str, str] | None = None,
        stdin: str | bytes | None = None,
        timeout: float | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the node's container, with the interface of `Daemon.exec`.

        Args:
            command: The program and its arguments.
            check: Raise when it exits with another code than 0.
            env: Further environment variables.
            stdin: What it reads; without, its stdin is empty.
            timeout: Seconds until it is killed, with the processes it has started.

        Raises:
            subprocess.CalledProcessError: it failed, and `check` is true; both outputs are in the
                error's text.
            subprocess.TimeoutExpired: it was killed after `timeout` seconds.
            KubernetesFailed: the node does not run.
        """
        arguments.demand("exec", check=check)
        wanted = commands.command(command, env, None, stdin, timeout)
        done = self._run(
            exec_module.Command(
                wanted.argv,
                env={**self._environment, **wanted.env},
                stdin=wanted.stdin,
                timeout=wanted.timeout,
            )
        )
        return commands.finished(wanted, done, check=check, text=True)

    def _run(self, command: exec_module.Command) -> subprocess.CompletedProcess[bytes]:
        """Run a command in its container.

        Raises:
            KubernetesFailed: the node does not run.
        """
        from docker.errors import APIError

        with self._daemon._connected() as client:
            try:
                return exec_module.run(client, self.id, command)
            except APIError as error:
                ended = self.ended()
                if ended is None:
                    raise
                raise ended from error

    def logs(self, tail: int | None = None) -> str:
        """The log of the node's container; its last `tail` lines where given.

        Raises:
            KubernetesFailed: the node was removed.
        """
        arguments.demand("logs", tail=tail)
        from docker.errors import NotFound

        with self._daemon._connected() as client:
            try:
                found: bytes = client.api.logs(self.id, tail="all" if tail is None else tail)
            except NotFound as error:
                raise self._gone("Its container is not there any more.") from error
        return found.decode(errors="replace")

    def ended(self) -> KubernetesFailed | None:
        """The error for a node whose container has ended, with its log; None for one that runs.

        Raises:
            DaemonLost: the daemon is gone.
        """
        with self._daemon._connected() as client:
            details = containers.inspect(client, self.id)
        if not details:
            return self._gone("Its container is not there any more.")
        state = details["State"]
        if state["Running"]:
            return None
        log = ""
        with contextlib.suppress(KubernetesFailed):
            log = self.logs(tail=_LAST_LINES)
        killed = " (out of memory)" if state.get("OOMKilled") else ""
        return self._gone(f"Its container ended with exit code {state['ExitCode']}{killed}.\n{log}")

    def _gone(self, evidence: str) -> KubernetesFailed:
        from ..causes import explained

        return explained(
            KubernetesFailed(
                f"The node {self.name!r} of the cluster {self._daemon.name!r} does not run.",
                evidence=evidence,
                remedy=[
                    "Look in its last log lines for the component that ended, and why.",
                    "Use one of kubernetes.nodes: those that were killed are not among them.",
                ],
            )
        )
