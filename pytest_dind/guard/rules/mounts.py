"""The rules for binds, mounts and volumes, which could show the host to a container."""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..http.refusal import forbidden, malformed
from .body import Json, anything, each, fields, flag, mapping, text, texts
from .names import is_object
from .policy import Policy, absolute

# Prunes of volumes select by it. Engines from 23.0 to 27.3 don't set it on volumes of mounts
# (moby #48748).
_ANONYMOUS = "com.docker.volume.anonymous"
_LOCAL = ("", "local")
_PRIVATE = ("", "private", "rprivate", "slave", "rslave")
_MODES = {
    *("ro", "rw", "z", "Z", "nocopy", "consistent", "cached", "delegated", "default"),
    *("private", "rprivate", "slave", "rslave", "shared", "rshared"),
}
_RELABEL = {"z", "Z"}
_FLAGS = {"ro", "rw", "nosuid", "suid", "nodev", "dev", "noexec", "exec", "noatime", "relatime"}
_TMPFS = re.compile(r"(size|mode|uid|gid|nr_inodes|nr_blocks)=[0-9]+[kKmMgG%]?")


@dataclass
class Wanted:
    """The mounts of a container, as they are passed on.

    Attributes:
        binds: In the older form: named volumes, volumes without a name, and host paths to relabel.
        mounts: In the newer form.
        named: The volumes with a name, each with the body that creates it.
    """

    binds: list[str] = field(default_factory=list)
    mounts: list[Json] = field(default_factory=list)
    named: dict[str, Json] = field(default_factory=dict)


def with_anonymous(
    host: Json, declared: Iterable[str], inherited: Iterable[str], labels: Mapping[str, str]
) -> Json:
    """Turn the volumes without a name in a container's host settings into mounts with labels.

    The engine would make these volumes by itself, without labels; all else is as it does it.

    Args:
        host: The settings; mistakes in them stay, for the engine to report.
        declared: The places for which the container, or its image, declares such volumes.
        inherited: The places that volumes of other containers take in it (VolumesFrom).
        labels: The labels.
    """
    binds, mounts = list(map(str, host.get("Binds") or [])), list(host.get("Mounts") or [])
    taken = {
        *(_clean(str(mount.get("Target"))) for mount in mounts),
        *(_clean(bind.split(":")[1]) for bind in binds if ":" in bind),
        *map(_clean, host.get("Tmpfs") or {}),
    }
    bare = [bind for bind in binds if bind.startswith("/") and ":" not in bind]
    places = Counter(map(_clean, bare))
    # Two mounts in one place are an error, which the engine reports.
    moved = {bind for bind in bare if places[_clean(bind)] == 1 and _clean(bind) not in taken}
    # The container's own mounts win over those of VolumesFrom, and these over declared volumes.
    taken |= {*places, *map(_clean, inherited)}
    targets = {*map(_clean, moved), *({*map(_clean, declared)} - taken)}
    # The driver of the older form; the engine does not use it for mounts.
    driver = str(host.get("VolumeDriver") or "")
    options: Json = {"Labels": {**labels, _ANONYMOUS: ""}}
    if driver:
        options["DriverConfig"] = {"Name": driver}
    mounts += [
        {"Type": "volume", "Target": target, "VolumeOptions": options} for target in sorted(targets)
    ]
    return {**host, "Binds": [bind for bind in binds if bind not in moved], "Mounts": mounts}


def _clean(path: str) -> str:
    """Normalise a path in a container, so that paths can be compared."""
    return posixpath.normpath("/" + path.lstrip("/"))


def read(host: Json, policy: Policy, labels: dict[str, str]) -> Wanted:
    """Check the mounts of a container's host settings, and take them out of the settings.

    Raises:
        Refusal: a mount is not allowed.
    """
    wanted = Wanted()
    driver = text("HostConfig.VolumeDriver", host.get("VolumeDriver"))
    _demand_driver(driver, policy)
    for bind in texts("HostConfig.Binds", host.pop("Binds", None)):
        _read_bind(bind, policy, driver, wanted)
    for number, mount in enumerate(host.pop("Mounts", None) or []):
        _read_mount(f"HostConfig.Mounts[{number}]", mount, policy, labels, wanted)
    return wanted


def _read_bind(bind: str, policy: Policy, driver: str, wanted: Wanted) -> None:
    """Check an entry of Binds: SOURCE:TARGET[:MODES], or TARGET for a volume without a name."""
    parts = bind.split(":")
    if not 1 <= len(parts) <= 3 or not all(parts[:2]):
        raise malformed(f"HostConfig.Binds has {bind!r}, which is not SOURCE:TARGET[:MODES]")
    if len(parts) == 1:
        wanted.binds.append(bind)
        return
    source, target = parts[:2]
    modes = set(filter(None, parts[2].split(","))) if len(parts) == 3 else set()
    if not modes <= _MODES:
        raise malformed(f"HostConfig.Binds has {bind!r}, whose modes are not known")
    propagation = next(iter(modes & {*_PRIVATE, "shared", "rshared"}), "")
    _demand_propagation(propagation, policy)
    if not source.startswith("/"):
        _demand_name(source)
        wanted.named.setdefault(source, {"Driver": driver or "local"})
        wanted.binds.append(bind)
        return
    real = policy.bind(source, writes="ro" not in modes)
    if modes & _RELABEL:
        wanted.binds.append(":".join([real, *parts[1:]]))
        return
    # In the newer form a missing path is an error; in the older one, the engine creates it.
    wanted.mounts.append(
        {
            "Type": "bind",
            "Source": real,
            "Target": target,
            "ReadOnly": "ro" in modes,
            "BindOptions": {"Propagation": propagation or "rprivate"},
        }
    )


def _read_mount(
    where: str, found: Any, policy: Policy, labels: dict[str, str], wanted: Wanted
) -> None:
    mount = fields(where, found, _MOUNT, policy.unknown)
    kind, source = mount.get("Type", ""), mount.get("Source", "")
    mount.setdefault("Target", "")
    if kind == "bind":
        options = fields(
            f"{where}.BindOptions", mount.get("BindOptions"), _BIND_OPTIONS, policy.unknown
        )
        _demand_propagation(options.get("Propagation", ""), policy)
        writes = not mount.get("ReadOnly")
        mount["Source"] = policy.bind(absolute(f"{where}.Source", source), writes=writes)
        if options.get("CreateMountpoint"):
            # The path is there; should the engine not see it, that is an error.
            options["CreateMountpoint"] = False
        mount["BindOptions"] = options
    elif kind == "volume":
        _read_volume(where, mount, policy, labels, wanted)
    elif kind not in ("tmpfs", "image") and policy.own:
        raise forbidden(f"{where}, a mount of type {kind!r},")
    wanted.mounts.append(mount)


def _read_volume(
    where: str, mount: Json, policy: Policy, labels: dict[str, str], wanted: Wanted
) -> None:
    """Check the driver of a mounted volume, and label it; a named one is noted to be created."""
    place = f"{where}.VolumeOptions"
    options = fields(place, mount.get("VolumeOptions"), _VOLUME_OPTIONS, policy.unknown)
    driver = fields(f"{place}.DriverConfig", options.get("DriverConfig"), _DRIVER, policy.unknown)
    driver["Options"] = driver_options(driver.get("Name", ""), driver.get("Options", {}), policy)
    options["Labels"] = {**options.get("Labels", {}), **labels}
    if "DriverConfig" in options:
        options["DriverConfig"] = driver
    mount["VolumeOptions"] = options
    source = mount.get("Source")
    if source:
        _demand_name(source)
        wanted.named[source] = {
            "Driver": driver.get("Name") or "local",
            "DriverOpts": driver["Options"],
            "Labels": options["Labels"],
        }


def driver_options(driver: str, options: dict[str, str], policy: Policy) -> dict[str, str]:
    """Check the options of a volume's driver.

    The driver `local` hands them to mount(2), as root on the host: a directory of the host can be
    bound with them, and a disk of the host mounted.

    Raises:
        Refusal: they would mount what is not allowed.
    """
    _demand_driver(driver, policy)
    if driver not in _LOCAL or not policy.own:
        return options
    unknown = options.keys() - {"type", "o", "device", "size"}
    if unknown:
        policy.demand("volume-options", f"the volume option {sorted(unknown)[0]}")
    device = options.get("device", "")
    flags = [flag for flag in options.get("o", "").split(",") if flag]
    if not (device or flags or options.get("type")):
        return options
    if {"bind", "rbind"}.intersection(flags):
        if device.startswith("/") and set(flags) <= {"bind", "rbind", *_FLAGS}:
            return {**options, "device": policy.bind(device, writes="ro" not in flags)}
    elif options.get("type") == "tmpfs" and device in ("", "tmpfs"):
        flags = [flag for flag in flags if not (flag in _FLAGS or _TMPFS.fullmatch(flag))]
        if not flags:
            return options
    policy.demand("volume-options", f"a volume with these mount options: {options}")
    return options


def _demand_driver(driver: str, policy: Policy) -> None:
    if driver not in _LOCAL:
        policy.demand(f"volume-driver:{driver}", f"the volume driver {driver}")


def _demand_propagation(mode: str, policy: Policy) -> None:
    if mode not in _PRIVATE:
        policy.demand(f"propagation:{mode}", f"the mount propagation {mode}")


def _demand_name(name: str) -> None:
    if not is_object(name):
        raise malformed(f"{name!r} is neither an absolute path nor a volume's name")


def volume(body: Json, policy: Policy) -> Json:
    """Check the body that creates a volume, but for its labels.

    Raises:
        Refusal: a field is not allowed.
    """
    known = {**each(text, "Name Driver"), **each(mapping, "DriverOpts Labels")}
    found = fields("", body, known, policy.unknown)
    if found.get("Name"):
        _demand_name(found["Name"])
    options = driver_options(found.get("Driver", ""), found.get("DriverOpts", {}), policy)
    return {**found, "DriverOpts": options}


_BIND_OPTIONS = {
    "Propagation": text,
    "NonRecursive": flag,
    "CreateMountpoint": flag,
    "ReadOnlyNonRecursive": flag,
    "ReadOnlyForceRecursive": flag,
}
_VOLUME_OPTIONS = {"NoCopy": flag, "Labels": mapping, "Subpath": text, "DriverConfig": anything}
_DRIVER = {"Name": text, "Options": mapping}
_MOUNT = {
    "Type": text,
    "Source": text,
    "Target": text,
    "ReadOnly": flag,
    "Consistency": text,
    "BindOptions": anything,
    "VolumeOptions": anything,
    "TmpfsOptions": anything,
    "ImageOptions": anything,
}
