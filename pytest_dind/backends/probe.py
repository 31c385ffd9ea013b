"""A look into a container made for nothing else: what a mode's availability is proved with."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from ..engine import denials, images
from ..engine import tls as certificates
from ..errors import ModeUnavailable
from ..lifetime import directories, labels, layout
from ..lifetime.layout import IN_CONTAINER, LEASE
from .creation import uninterrupted
from .engine_errors import ELSEWHERE, ELSEWHERE_REMEDY
from .spec import SUPERUSER

if TYPE_CHECKING:
    from pathlib import Path

    from ..engine.engine import Engine

# A container under Sysbox takes half a second; one on an emulated machine 25 times as long.
_PROBE_SECONDS = 20
# An engine that waits for a runtime that hangs removes nothing, but keeps the request in mind.
_REMOVAL_SECONDS = 5

FILES = (
    "/proc/sys/kernel/osrelease",
    "/proc/sys/user/max_user_namespaces",
    "/proc/sys/kernel/unprivileged_userns_clone",
    "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
    "/proc/filesystems",
    "/proc/net/ip_tables_names",
    "/sys/fs/selinux/enforce",
    "/sys/module/apparmor/parameters/enabled",
)
"""What the kernel says of itself, as far as it matters to a daemon."""

LEASE_SEEN = "the lease is held outside"
# Opening a FIFO for reading waits until somebody has it open for writing, on the same kernel.
SEE_LEASE = f"timeout 5 sh -c ': <{IN_CONTAINER}/{LEASE}' && echo {LEASE_SEEN}"
"""A shell command that shows whether a container has part in the lease of its run."""

MOUNT = "mount"
LEASES = "lease"
MOUNTED = "a tmpfs was mounted"
DISK = "df"
IPTABLES = "iptables"

# It loads no kernel module, and changes nothing outside of its container.
LOOK = (
    "sh",
    "-c",
    f"""
see() {{ echo "=== $1"; shift; "$@" 2>&1; }}
see {MOUNT} sh -c 'mkdir -p /pytest-dind && mount -t tmpfs none /pytest-dind && echo {MOUNTED}'
see {LEASES} sh -c '[ ! -e {IN_CONTAINER} ] || {{ {SEE_LEASE.replace("'", '"')}; }}'
see {DISK} df -Pk /
see {IPTABLES} iptables --version
for file in {" ".join(FILES)}; do [ -r "$file" ] && see "$file" cat "$file"; done
[ -c /dev/fuse ] && see /dev/fuse echo
exit 0
""",
)
"""A command that shows what a daemon in a container would have to work with."""


@dataclass(frozen=True)
class Obstacle:
    """Why a mode can't be had.

    Attributes:
        cause: In a few words, to follow "because".
        evidence: What was seen.
        remedy: What to do, as alternatives.
    """

    cause: str
    evidence: str
    remedy: tuple[str, ...]

    def error(self, mode: str) -> ModeUnavailable:
        """The same for the user who asked for the mode."""
        return ModeUnavailable(
            f"Mode {mode} is not available: {self.cause}.",
            evidence=self.evidence,
            remedy=self.remedy,
        )


@dataclass(frozen=True)
class ProbeResult:
    """What a probe container wrote, or what the engine said of it.

    Attributes:
        output: Its output; the engine's words when it did not run.
        ran: Whether it ran and ended with exit code 0.
        hangs: Whether it did not end in time.
    """

    output: str
    ran: bool
    hangs: bool = False


def sections(output: str) -> dict[str, str]:
    """What `LOOK` saw, by what it looked at."""
    parts = (part.partition("\n") for part in output.split("=== ")[1:])
    return {name.strip(): content.strip() for name, _, content in parts}


def unshared() -> Obstacle | None:
    """Why no daemon can be had where containers don't see this process's directories.

    None where it can: it is reached over TLS then.
    """
    if certificates.available():
        return None
    selinux = denials.OPTIONS[denials.SELINUX] if denials.enforces_selinux() else ()
    return Obstacle(
        "containers have no part in this process's directories",
        "A FIFO that this process holds open is not there, or not open, in a container: the engine "
        "is in another container, in a virtual machine, or on another host.",
        (*ELSEWHERE_REMEDY, certificates.REMEDY, *selinux),
    )


class Probe:
    """Runs short-lived containers of an image, each removed at once, also when it hangs.

    Args:
        engine: The outer engine.
        image: The daemon's image; it has what a daemon's container needs.
        run: The directory of the run on whose behalf this is done.
        progress: Where a line on what takes long goes.

    Attributes:
        pulled: Seconds that a pull of the image took; 0 where it was not missing.
    """

    def __init__(self, engine: Engine, image: str, run: Path, progress: images.Progress) -> None:
        self.pulled = 0.0
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
            seconds: What each answer of the engine may take.
            host_config: As docker-py's `create_host_config` takes it.

        Raises:
            ImageUnavailable: the image is missing and can't be pulled.
        """
        supply = images.Supply(self._engine.client, self._progress)
        supply.ensure(self._image)
        self.pulled += supply.pulled
        if shares:
            from docker.types import Mount

            host_config["mounts"] = [Mount(IN_CONTAINER, str(self._run), type="bind")]
        with contextlib.closing(self._engine.patient(seconds)) as engine:
            sight = self._look(engine, command, host_config)
            if shares and not sight.ran and re.search(ELSEWHERE, sight.output):
                # It goes without the directory then, and shows all else.
                del host_config["mounts"]
                sight = self._look(engine, command, host_config)
            return sight

    def _look(self, engine: Engine, command: Sequence[str], host: Mapping[str, Any]) -> ProbeResult:
        from docker.errors import APIError
        from docker.types import LogConfig
        from requests.exceptions import ConnectionError as Broken
        from requests.exceptions import Timeout

        api = engine.client.api
        home = self._run / f"probe-{uuid4().hex[:8]}"
        name = f"pytest-dind-{self._run.name}-{home.name}"
        ours = labels.make(self._run.name, mode="", keep="never", home=home)
        # By these the reaper finds the container, should this process be killed.
        home.mkdir(mode=0o700, parents=True)
        (home / layout.ENGINE).write_text(engine.url)
        try:
            uninterrupted(
                lambda: api.create_container(
                    self._image,
                    name=name,
                    user=SUPERUSER,
                    entrypoint=list(command),
                    command=[],
                    labels=ours | {labels.ROLE: "probe"},
                    host_config=api.create_host_config(
                        network_mode="none",
                        # One that can be read, whichever the engine's default is.
                        log_config=LogConfig(type=LogConfig.types.JSON),
                        **host,
                    ),
                )
            )
            api.start(name)
            # docker-py waits for ever unless it is told a time-out here too.
            code = api.wait(name, timeout=api.timeout)["StatusCode"]
            output = api.logs(name).decode(errors="replace")
            return ProbeResult(output, ran=code == 0)
        except APIError as error:
            return ProbeResult(error.explanation or str(error), ran=False)
        except (Timeout, Broken) as error:
            # docker-py turns a time-out in the middle of an answer into a ConnectionError.
            return ProbeResult(str(error), ran=False, hangs=True)
        finally:
            api.timeout = _REMOVAL_SECONDS
            with contextlib.suppress(APIError, Timeout, Broken):
                api.remove_container(name, force=True, v=True)
            directories.remove(home)
