"""The outer engine, as it describes itself and as a container shows it."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..backends import proxies, subnets, tls_connection
from ..engine import activation
from ..engine.engine import Engine, answering


@dataclass(frozen=True)
class Outer:
    """The outer engine.

    Attributes:
        host: The engine's URL.
        product: The engine's name for itself, where that isn't Docker's own name.
        version: The engine's version.
        api_min: The oldest API version that it speaks.
        api_max: The newest API version that it speaks.
        os: The operating system that it runs on.
        kernel: The release of the kernel that it runs on.
        local: Whether the engine is provably on this very machine, outside of any container.
        storage_driver: The storage driver.
        backing_filesystem: The file system below the storage driver.
        cgroup_version: The version of control groups: 1 or 2.
        cgroup_driver: The driver that makes control groups.
        rootless: Whether the engine runs as a user other than root.
        userns_remap: Whether root in the engine's containers is another user outside.
        security: The security modules that confine containers.
        runtimes: The runtimes that are registered, which does not prove that they work.
        default_runtime: The runtime of a container that asks for none.
        root_dir: The directory of the engine's data.
        proxies: The proxies that daemons go through, and those that they can't have, a line each.
    """

    host: str
    product: str
    version: str
    api_min: str
    api_max: str
    os: str
    kernel: str
    local: bool
    storage_driver: str
    backing_filesystem: str
    cgroup_version: int
    cgroup_driver: str
    rootless: bool
    userns_remap: bool
    security: tuple[str, ...]
    runtimes: tuple[str, ...]
    default_runtime: str
    root_dir: str
    proxies: tuple[str, ...] = ()


@dataclass(frozen=True)
class Space:
    """The room in the file system of the engine's data, in bytes."""

    free: int
    total: int


def ask(engine: Engine) -> Outer:
    """Ask the outer engine for its description.

    Raises:
        EngineUnavailable: it can't be reached, or doesn't answer.
    """
    with answering(engine):
        info = engine.client.info()
        found = describe(engine.url, engine.client.version(), info)
        networks = engine.client.api.networks()
        gateway = tls_connection.gateway(engine)
    return dataclasses.replace(found, proxies=proxied(info, networks, gateway))


def proxied(
    info: Mapping[str, Any], networks: Sequence[Mapping[str, Any]], gateway: str | None = None
) -> tuple[str, ...]:
    """Return the proxies that daemons get, without passwords, and those that are left out.

    Args:
        info: The engine's, as its API gives it.
        networks: The engine's networks, as its API lists them.
        gateway: As `subnets.nested` takes it.
    """
    lines: list[str] = []
    around = proxies.Surroundings(
        info=info,
        variables=activation.outside(),
        network=subnets.nested(networks, gateway=gateway),
        names=(),
    )
    used = around.proxies(lines.append)
    without = [f"{proxies.NO_PROXY}: {around.no_proxy()}, and the run's daemons"] if used else []
    return (*(f"{name}: {proxies.place(url)}" for name, url in used.items()), *without, *lines)


def describe(host: str, version: Mapping[str, Any], info: Mapping[str, Any]) -> Outer:
    """Return the engine that the answers `version` and `info` of its API describe."""
    options = [_option(text) for text in info.get("SecurityOptions") or []]
    status = dict(pair for pair in info.get("DriverStatus") or [] if len(pair) == 2)
    components = version.get("Components") or [{}]
    product = str(components[0].get("Name") or "")
    return Outer(
        host=host,
        product="" if product == "Engine" else product,
        version=str(info.get("ServerVersion") or version.get("Version") or ""),
        api_min=str(version.get("MinAPIVersion") or ""),
        api_max=str(version.get("ApiVersion") or ""),
        os=str(info.get("OperatingSystem") or ""),
        kernel=str(info.get("KernelVersion") or ""),
        local=_is_local(host, info),
        storage_driver=str(info.get("Driver") or ""),
        backing_filesystem=str(status.get("Backing Filesystem", "")),
        # Engines before 20.10 don't say, and know version 1 alone.
        cgroup_version=int(info.get("CgroupVersion") or 1),
        cgroup_driver=str(info.get("CgroupDriver") or ""),
        rootless="rootless" in options,
        userns_remap="userns" in options,
        security=tuple(name for name in options if name in ("seccomp", "apparmor", "selinux")),
        runtimes=tuple(sorted(info.get("Runtimes") or {})),
        default_runtime=str(info.get("DefaultRuntime") or ""),
        root_dir=str(info.get("DockerRootDir") or ""),
    )


def _option(text: str) -> str:
    """Return the name in a security option: `name=seccomp,profile=default`, or bare in old ones."""
    fields = dict(field.partition("=")[::2] for field in text.split(","))
    return fields.get("name") or text.partition(",")[0]


def _is_local(host: str, info: Mapping[str, Any]) -> bool:
    """Tell whether the engine's paths are this process's: neither is in a VM or a container."""
    return (
        host.startswith("unix://")
        and info.get("Name") == socket.gethostname()
        and info.get("KernelVersion") == os.uname().release
    )


def space(outer: Outer, df: str) -> Space | None:
    """Return the room for the engine's data: looked up here, or read from a container's `df -Pk`.

    A container's root file system lies where the engine's data are.
    """
    if outer.local:
        with contextlib.suppress(OSError):
            usage = shutil.disk_usage(outer.root_dir)
            return Space(usage.free, usage.total)
    fields = df.splitlines()[-1].split() if df else []
    if len(fields) == 6 and fields[1].isdigit() and fields[3].isdigit():
        return Space(int(fields[3]) * 1024, int(fields[1]) * 1024)
    return None
