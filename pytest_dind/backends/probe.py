"""Probes: short-lived containers whose output proves whether a mode works."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from ..engine import containers, reach, tls
from ..engine.images import ImageSource
from ..errors import ModeUnavailable
from ..forwarder import tunnel
from ..lifetime import layout
from ..lifetime.layout import Home
from . import memory
from .memory import Memory

if TYPE_CHECKING:
    from pathlib import Path

    from ..engine.engine import Engine
    from ..engine.streams import Progress

# A container under Sysbox takes half a second, and 25 times as long on an emulated machine.
_PROBE_SECONDS = 20

CGROUPS = "/proc/cgroups"
CONTROLLERS = "/sys/fs/cgroup/cgroup.controllers"
CONNTRACK = "/proc/sys/net/netfilter/nf_conntrack_max"
INOTIFY = "/proc/sys/fs/inotify/max_user_instances"
FILES = (
    "/proc/sys/kernel/osrelease",
    "/proc/sys/user/max_user_namespaces",
    "/proc/sys/kernel/unprivileged_userns_clone",
    "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
    "/proc/filesystems",
    "/proc/net/ip_tables_names",
    "/sys/fs/selinux/enforce",
    "/sys/module/apparmor/parameters/enabled",
    CGROUPS,
    CONTROLLERS,
    CONNTRACK,
    INOTIFY,
)
"""Files in which the kernel tells facts that matter to a daemon, or to nodes in it."""

LEASE_SEEN = "the lease is held outside"
# Opening a FIFO for reading waits until somebody has it open for writing, on the same kernel.
SEE_LEASE = f"timeout 5 sh -c ': <{layout.IN_CONTAINER}/{layout.LEASE}' && echo {LEASE_SEEN}"
"""A shell command that writes `LEASE_SEEN` if the container sees its run's lease held."""

MOUNT = "mount"
LEASES = "lease"
MOUNTED = "a tmpfs was mounted"
DISK = "df"
IPTABLES = "iptables"
RESOLVERS = "resolvers"
TOOLS = "tools"

# It loads no kernel module, and changes nothing outside of its container.
LOOK = (
    "sh",
    "-c",
    f"""
see() {{ echo "=== $1"; shift; "$@" 2>&1; }}
see {MOUNT} sh -c 'mkdir -p /pytest-dind && mount -t tmpfs none /pytest-dind && echo {MOUNTED}'
see {LEASES} sh -c '[ ! -e {layout.IN_CONTAINER} ] || {{ {SEE_LEASE.replace("'", '"')}; }}'
see {DISK} df -Pk /
see {IPTABLES} iptables --version
see {RESOLVERS} sed -n 's/^nameserver  *//p' /etc/resolv.conf
see {TOOLS} sh -c 'for tool in {" ".join(tunnel.TOOLS)}; do command -v "$tool"; done'
for file in {" ".join(FILES)}; do [ -r "$file" ] && see "$file" cat "$file"; done
[ -c /dev/fuse ] && see /dev/fuse echo
exit 0
""",
)
"""A command that writes the facts that matter to a daemon in such a container, in sections."""


@dataclass(frozen=True)
class Obstacle:
    """Why a mode can't be had.

    Attributes:
        cause: In a few words, to follow "because".
        evidence: The facts that show it.
        remedy: The remedies, as alternatives.
    """

    cause: str
    evidence: str
    remedy: tuple[str, ...]

    def error(self, mode: str) -> ModeUnavailable:
        """The error for a user who asked for the mode."""
        return ModeUnavailable(
            f"Mode {mode} is not available: {self.cause}.",
            evidence=self.evidence,
            remedy=self.remedy,
        )


@dataclass(frozen=True)
class ProbeResult:
    """The output of a probe container, or the engine's refusal of it.

    Attributes:
        output: Its output; the engine's text when it did not run.
        ran: Whether it ran and ended with exit code 0.
        hangs: Whether it did not end in time.
        key: By which it is remembered, should it prove something; empty where it is not to be.
    """

    output: str
    ran: bool
    hangs: bool = False
    key: str = ""


def sections(output: str) -> dict[str, str]:
    """The sections of `LOOK`'s output, by their names."""
    parts = (part.partition("\n") for part in output.split("=== ")[1:])
    return {name.strip(): content.strip() for name, _, content in parts}


def unshared(engine: Engine) -> Obstacle | None:
    """The obstacle where containers don't see this process's directories.

    None where daemons can be reached over TLS, or through the engine, instead.
    """
    if tls.available() or reach.needs_gate(engine):
        return None
    from ..causes import security
    from ..causes.refusals import UNSHARED

    selinux = security.OPTIONS[security.SELINUX] if security.enforces_selinux() else ()
    return Obstacle(
        "containers have no part in this process's directories",
        "A FIFO that this process holds open is not there, or not open, in a container: the engine "
        "is in another container, in a virtual machine, or on another host.",
        (*UNSHARED.remedy, tls.REMEDY, *selinux),
    )


def _tells_unshared(refusal: str) -> bool:
    from ..causes.refusals import DENIED, UNSHARED

    return UNSHARED.is_in(refusal) or DENIED.is_in(refusal)


class Probe:
    """Runs a command in a short-lived container of an image, which is removed even if it hangs.

    Args:
        engine: The outer engine.
        image: The daemon's image; it has the tools that a daemon's container needs.
        run: The directory of the run that needs to know.
        progress: Writes a progress line.
        memory: What earlier probes have proved of a runtime; None to run each.

    Attributes:
        pulled: Seconds that a pull of the image took; 0 where it was not missing.
        age: The age of what was remembered, in seconds; None where nothing was.
    """

    def __init__(
        self,
        engine: Engine,
        image: str,
        run: Path,
        progress: Progress,
        memory: Memory | None = None,
    ) -> None:
        self.pulled = 0.0
        self.age: float | None = None
        self._memory = memory
        self._engine = engine
        self._image = image
        self._run = run
        self._progress = progress

    def __call__(
        self,
        command: Sequence[str],
        *,
        shares: bool = False,
        seconds: int = _PROBE_SECONDS,
        **host_config: Any,
    ) -> ProbeResult:
        """Run a command in a container with this host configuration.

        Args:
            command: The command.
            shares: Whether the run's directory is mounted in it, as a daemon's is, if that works.
            seconds: Seconds that each answer of the engine may take.
            host_config: As docker-py's `create_host_config` takes it.

        Raises:
            ImageUnavailable: the image is missing and can't be pulled.
        """
        source = ImageSource(self._engine.client, self._progress)
        image = source.ensure(self._image)
        self.pulled += source.pulled
        key = ""
        if self._memory is not None and "runtime" in host_config:
            details = {"image": image["Id"], "probe": [list(command), shares, host_config]}
            details["directory"] = str(self._run.parent)
            key = memory.key(self._engine, host_config["runtime"], details)
            shown = self._memory.recall(key)
            if shown is not None:
                self.age = shown.age
                return ProbeResult(shown.output, ran=True)
        if shares:
            from docker.types import Mount

            host_config["mounts"] = [Mount(layout.IN_CONTAINER, str(self._run), type="bind")]
        with contextlib.closing(self._engine.patient(seconds)) as engine:
            result = self._look(engine, command, host_config)
            if shares and not result.ran and _tells_unshared(result.output):
                # Without the directory the container runs, and shows all else.
                del host_config["mounts"]
                result = self._look(engine, command, host_config)
            return dataclasses.replace(result, key=key)

    def keep(self, result: ProbeResult) -> None:
        """Remember a result, which has proved that its runtime works."""
        if self._memory is not None and result.key:
            self._memory.note(result.key, result.output)

    def _look(
        self, engine: Engine, command: Sequence[str], host_config: Mapping[str, Any]
    ) -> ProbeResult:
        from docker.errors import APIError
        from requests.exceptions import ConnectionError as Broken
        from requests.exceptions import Timeout

        one_off = containers.OneOff(
            image=self._image,
            home=Home(self._run / f"probe-{uuid4().hex[:8]}"),
            role="probe",
            command=command,
            host_config=host_config,
        )
        try:
            with containers.ended(engine, one_off, timeout=engine.timeout) as ended:
                return ProbeResult(ended.output(), ran=ended.code == 0)
        except APIError as error:
            return ProbeResult(error.explanation or str(error), ran=False)
        except (Timeout, Broken) as error:
            # docker-py turns a time-out in the middle of an answer into a ConnectionError.
            return ProbeResult(str(error), ran=False, hangs=True)
