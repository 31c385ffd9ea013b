"""What the outer engine says of itself, and what a container shows of it."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..engine.engine import Engine, answering


@dataclass(frozen=True)
class Outer:
    """The outer engine.

    Attributes:
        host: Its URL.
        product: What it calls itself, where that isn't Docker's own name.
        version: Its version.
        api_min: The oldest API version it speaks.
        api_max: The newest API version it speaks.
        os: The operating system it runs on.
        kernel: The release of the kernel it runs on.
        local: Whether it is provably on this very machine, outside of any container.
        storage_driver: Its storage driver.
        backing_filesystem: What that lies on.
        cgroup_version: 1 or 2.
        cgroup_driver: Who makes its control groups.
        rootless: Whether it runs as a user.
        userns_remap: Whether root in its containers is a user outside.
        security: What confines its containers.
        runtimes: What is registered, which proves nothing.
        default_runtime: The one that a container gets.
        root_dir: Where its data are.
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


@dataclass(frozen=True)
class Space:
    """What the file system with the engine's data has, in bytes."""

    free: int
    total: int


def ask(engine: Engine) -> Outer:
    """What the outer engine is.

    Raises:
        EngineUnavailable: it can't be reached, or doesn't answer.
    """
    with answering(engine):
        return describe(engine.url, engine.client.version(), engine.client.info())


def describe(host: str, version: Mapping[str, Any], info: Mapping[str, Any]) -> Outer:
    """What the answers `version` and `info` of an engine's API mean."""
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
    """The name in a security option: `name=seccomp,profile=default`, or bare, as it once was."""
    fields = dict(field.partition("=")[::2] for field in text.split(","))
    return fields.get("name") or text.partition(",")[0]


def _is_local(host: str, info: Mapping[str, Any]) -> bool:
    """Whether the engine's paths are this process's: not in a VM, nor outside of a container."""
    return (
        host.startswith("unix://")
        and info.get("Name") == socket.gethostname()
        and info.get("KernelVersion") == os.uname().release
    )


def space(outer: Outer, df: str) -> Space | None:
    """The room for the engine's data: looked up where it is here, else by a container's `df -Pk`.

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
