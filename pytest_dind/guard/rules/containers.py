"""The rules for the bodies of create, update, commit and exec of containers.

Each field is known or refused. The fields that are passed on unchecked limit a container, describe
it, or reach into nothing but the container. The guard does not bound memory and processors.
"""

from __future__ import annotations

import re
from typing import Any

from ..http.refusal import malformed
from .body import Check, Json, anything, each, fields, flag, mapping, objects, text, texts
from .policy import Policy

# The capabilities that a container has by default (moby, daemon/pkg/oci/caps), and two that
# reach no further than the container: databases ask for them.
_CAPABILITIES = (
    "AUDIT_WRITE CHOWN DAC_OVERRIDE FOWNER FSETID KILL MKNOD NET_BIND_SERVICE NET_RAW SETFCAP "
    "SETGID SETPCAP SETUID SYS_CHROOT IPC_LOCK SYS_NICE"
)
_LOG_DRIVERS = ("json-file", "local", "none")
_RUNTIMES = ("", "runc", "io.containerd.runc.v2")
_SECURITY = re.compile(r"no-new-privileges([:=](true|false))?")
# Those that the kernel keeps per container (runc, libcontainer/configs/validate).
_SYSCTL = re.compile(
    r"net\.[a-zA-Z0-9_.-]+|fs\.mqueue\.[a-z_]+"
    r"|kernel\.(msgmax|msgmnb|msgmni|sem|shmall|shmmax|shmmni|shm_rmid_forced|domainname)"
)
_JOINS = "container:"

_PLAIN_CONFIG = (
    "Hostname Domainname User AttachStdin AttachStdout AttachStderr ExposedPorts Tty OpenStdin "
    "StdinOnce Env Cmd Healthcheck ArgsEscaped WorkingDir Entrypoint NetworkDisabled MacAddress "
    "OnBuild StopSignal StopTimeout Shell"
)
_PLAIN_RESOURCES = (
    "CpuShares Memory NanoCpus BlkioWeight BlkioWeightDevice BlkioDeviceReadBps "
    "BlkioDeviceWriteBps BlkioDeviceReadIOps BlkioDeviceWriteIOps CpuPeriod CpuQuota "
    "CpuRealtimePeriod CpuRealtimeRuntime CpusetCpus CpusetMems KernelMemory KernelMemoryTCP "
    "MemoryReservation MemorySwap MemorySwappiness OomKillDisable PidsLimit Ulimits CpuCount "
    "CpuPercent IOMaximumIOps IOMaximumBandwidth"
)
_PLAIN_HOST = (
    "ContainerIDFile PortBindings RestartPolicy AutoRemove ConsoleSize CapDrop Dns DnsOptions "
    "DnsSearch ExtraHosts GroupAdd OomScoreAdj PublishAllPorts ReadonlyRootfs Tmpfs ShmSize Init "
    "Isolation Umask"
)

_PLAIN_EXEC = (
    "User Tty ConsoleSize AttachStdin AttachStderr AttachStdout DetachKeys Env WorkingDir Cmd "
    # As docker-py writes it, where the docker CLI's configuration has keys.
    "Detach detachKeys"
)


class Checks:
    """The checks of the fields of containers, under one policy."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._runtimes = {*_RUNTIMES}
        self._usual = _CAPABILITIES.split()
        self._resources: dict[str, Check] = {
            **each(anything, _PLAIN_RESOURCES),
            "CgroupParent": self._cgroup_parent,
            "Devices": self._devices,
            "DeviceCgroupRules": self._device_rules,
            "DeviceRequests": self._device_rules,
        }
        self._host: dict[str, Check] = {
            **self._resources,
            **each(anything, _PLAIN_HOST),
            # Checked in `mounts`.
            "Binds": texts,
            "Mounts": objects,
            "VolumeDriver": text,
            # Checked in `references`.
            "VolumesFrom": texts,
            "Links": texts,
            "NetworkMode": self._namespace("net", ()),
            "PidMode": self._namespace("pid", ("",)),
            "IpcMode": self._namespace("ipc", ("", "none", "private", "shareable")),
            "UTSMode": self._namespace("uts", ("",)),
            "UsernsMode": self._namespace("userns", ("",)),
            "CgroupnsMode": self._namespace("cgroupns", ("", "private")),
            "Cgroup": self._namespace("cgroup", ("",)),
            "Privileged": self._privileged,
            "CapAdd": self._capabilities,
            "SecurityOpt": self._security,
            "Sysctls": self._sysctls,
            "StorageOpt": self._storage,
            "LogConfig": self._log,
            "Runtime": self._runtime,
            "Annotations": self._annotations,
            "MaskedPaths": self._unmasked,
            "ReadonlyPaths": self._unmasked,
        }
        self._config: dict[str, Check] = {
            **each(anything, _PLAIN_CONFIG),
            "Image": text,
            "Labels": mapping,
            "Volumes": _volumes,
        }

    def create(self, body: Json) -> Json:
        """Check the body of a create, but for the other objects that it names.

        Raises:
            Refusal: a field is not allowed.
        """
        known: dict[str, Check] = {
            **self._config,
            "HostConfig": lambda where, found: fields(
                where, found, self._host, self._policy.unknown
            ),
            "NetworkingConfig": anything,
            # docker-py's older form; engines take no notice of it.
            "Runtime": self._runtime,
        }
        checked = fields("", body, known, self._policy.unknown)
        checked.setdefault("HostConfig", {})
        return checked

    def asks_for_unusual_runtime(self, body: Json) -> bool:
        """Whether the body of a create names a runtime that is not known to be usual."""
        host = body.get("HostConfig")
        named = [part.get("Runtime") for part in (body, host) if isinstance(part, dict)]
        return any(isinstance(name, str) and name not in self._runtimes for name in named)

    def learn_default_runtime(self, name: str) -> None:
        """Let the engine's default runtime pass: who names it asks for nothing more."""
        self._runtimes.add(name)

    def commit(self, body: Json) -> Json:
        """Check the body of a commit: the settings for containers of the image."""
        return fields("", body, self._config, self._policy.unknown)

    def update(self, body: Json) -> Json:
        """Check the body of an update.

        Raises:
            Refusal: a field is not allowed.
        """
        known = {**self._resources, "RestartPolicy": anything}
        return fields("", body, known, self._policy.unknown)

    def exec(self, body: Json) -> Json:
        """Check the body that creates or starts a command in a container.

        Raises:
            Refusal: a field is not allowed.
        """
        known = {
            **each(anything, _PLAIN_EXEC),
            "Privileged": self._privileged,
            # Sent by docker-py; the container is the path's.
            "Container": text,
        }
        checked = fields("", body, known, self._policy.unknown)
        checked.pop("Container", None)
        return checked

    def _namespace(self, kind: str, harmless: tuple[str, ...]) -> Check:
        """Make the check of a namespace mode: the container's own, or that of another container."""

        def check(where: str, value: Any) -> str:
            mode = text(where, value)
            if mode == "host" or (kind == "userns" and mode):
                self._policy.demand(f"host-{kind}", f"the host's {kind} namespace ({where})")
            elif mode.startswith(_JOINS) and kind in ("net", "pid", "ipc"):
                pass  # The owner of that container is checked in `references`.
            elif kind != "net" and mode not in harmless and self._policy.own:
                # A network's name is looked up in `references`.
                raise malformed(f"{where} has the value {mode!r}, which is not known")
            return mode

        return check

    def _privileged(self, where: str, value: Any) -> bool:
        found = flag(where, value)
        if found:
            self._policy.demand("privileged", f"privilege ({where})")
        return found

    def _capabilities(self, where: str, value: Any) -> list[str]:
        found = texts(where, value)
        for given in found:
            name = given.upper().removeprefix("CAP_")
            if name not in self._usual:
                self._policy.demand(f"cap:{name}", f"the capability {name}")
        return found

    def _security(self, where: str, value: Any) -> list[str]:
        found = texts(where, value)
        for option in found:
            if not _SECURITY.fullmatch(option):
                self._policy.demand(f"security-opt:{option}", f"the security option {option}")
        return found

    def _sysctls(self, where: str, value: Any) -> dict[str, str]:
        found = mapping(where, value)
        for key in found:
            if not _SYSCTL.fullmatch(key):
                self._policy.demand(f"sysctl:{key}", f"the kernel parameter {key}")
        return found

    def _storage(self, where: str, value: Any) -> dict[str, str]:
        found = mapping(where, value)
        if self._policy.own and found.keys() - {"size"}:
            raise malformed(f"{where} has another option than size")
        return found

    def _log(self, where: str, value: Any) -> Json:
        found = fields(where, value, {"Type": text, "Config": mapping}, self._policy.unknown)
        # Options alone are for the engine's default driver, which is checked in `references`.
        if found.get("Type"):
            demand_log_driver(found["Type"], self._policy)
        return found

    def _runtime(self, where: str, value: Any) -> str:
        name = text(where, value)
        if name not in self._runtimes:
            self._policy.demand(f"runtime:{name}", f"the runtime {name}")
        return name

    def _annotations(self, where: str, value: Any) -> dict[str, str]:
        found = mapping(where, value)
        if found:
            self._policy.demand("annotations", f"annotations ({where})")
        return found

    def _unmasked(self, where: str, value: Any) -> Any:
        # An empty list is not nothing here: it leaves no path masked.
        if value is not None:
            self._policy.demand("unmasked-paths", f"a list of one's own in {where}")
            texts(where, value)
        return value

    def _cgroup_parent(self, where: str, value: Any) -> str:
        found = text(where, value)
        if found:
            self._policy.demand("cgroup-parent", f"a cgroup parent ({where})")
        return found

    def _devices(self, where: str, value: Any) -> list[Json]:
        known = each(text, "PathOnHost PathInContainer CgroupPermissions")
        found = [
            fields(f"{where}[{number}]", device, known, self._policy.unknown)
            for number, device in enumerate(objects(where, value))
        ]
        for device in found:
            path = device.get("PathOnHost", "")
            self._policy.demand(f"device:{path}", f"the host's device {path}")
        return found

    def _device_rules(self, where: str, value: Any) -> Any:
        if value:
            self._policy.demand("device-rules", f"access to devices by rules ({where})")
        return value


def _volumes(where: str, value: Any) -> Json:
    """Check the paths that get a volume without a name."""
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(item in (None, {}) for item in value.values()):
        raise malformed(f"{where} is not an object of empty objects")
    return value


def demand_log_driver(driver: str, policy: Policy) -> None:
    """Refuse a logging driver that may write to sockets and files of the host.

    Raises:
        Refusal: the driver is one of these, and is not allowed.
    """
    if driver not in _LOG_DRIVERS:
        policy.demand(f"log-driver:{driver}", f"the logging driver {driver}")


def joined(mode: str) -> str:
    """The container whose namespace a mode joins; empty if it joins none."""
    return mode[len(_JOINS) :] if mode.startswith(_JOINS) else ""
