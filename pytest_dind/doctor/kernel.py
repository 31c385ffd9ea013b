"""The features of a kernel that daemons need, by its own files: read here or in a container."""

from __future__ import annotations

import re
import shutil
import stat
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..backends.probe import FILES, IPTABLES

HERE = "this machine"
THERE = "the engine's machine"

Presence = Literal["present", "loadable", "missing", "unknown"]
Flavour = Literal["nft", "legacy", "unknown"]

_FUSE_DEVICE = "/dev/fuse"
_TABLES = "/proc/net/ip_tables_names"
_IPTABLES_SECONDS = 5
# The program is there for root; a user's PATH often lacks these.
_SBIN = "/usr/sbin:/sbin:/usr/local/sbin"


@dataclass(frozen=True)
class Kernel:
    """A kernel, as far as it matters to daemons in containers.

    Attributes:
        where: The machine that runs the kernel.
        release: The kernel's release; empty where it isn't Linux, or hides it.
        user_namespaces: Whether the kernel has user namespaces.
        unprivileged_user_namespaces: Whether users other than root may make them.
        overlay: Whether the kernel has overlayfs, which the usual storage driver needs.
        fuse: Whether the kernel has FUSE, for fuse-overlayfs and sysbox-fs.
        fuse_device: Whether `/dev/fuse` is there.
        iptables: Which kernel interface this machine's iptables program uses.
        legacy_tables: The tables of legacy iptables in use; None where this user may not know.
        selinux: "enforcing" or "permissive"; empty without SELinux.
        apparmor: Whether AppArmor is enabled.
    """

    where: str
    release: str
    user_namespaces: bool | None
    unprivileged_user_namespaces: bool | None
    overlay: Presence
    fuse: Presence
    fuse_device: bool
    iptables: Flavour
    legacy_tables: tuple[str, ...] | None
    selinux: str
    apparmor: bool


def judge(where: str, seen: Mapping[str, str], modules: str | None = None) -> Kernel:
    """Return the features of a kernel, by the contents of its files.

    Args:
        where: The machine that runs the kernel.
        seen: The contents of those of `FILES` that could be read, `/dev/fuse` (with anything) if
            it is there, and what `iptables --version` said.
        modules: The modules that could be loaded, as modules.dep lists them; None: not known.
    """
    limit = seen.get("/proc/sys/user/max_user_namespaces")
    may_users = seen.get("/proc/sys/kernel/unprivileged_userns_clone", "1") != "0"
    restricted = seen.get("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "0") != "0"
    available = None if limit is None else limit != "0"
    # A container sees the tables of its own network namespace, which has none.
    tables = seen.get(_TABLES) if where == HERE else None
    enforce = seen.get("/sys/fs/selinux/enforce")
    return Kernel(
        where=where,
        release=seen.get("/proc/sys/kernel/osrelease", ""),
        user_namespaces=available,
        unprivileged_user_namespaces=available and may_users and not restricted,
        overlay=_presence("overlay", seen, modules),
        fuse=_presence("fuse", seen, modules),
        fuse_device=_FUSE_DEVICE in seen,
        iptables=flavour(seen.get(IPTABLES, "")) if where == HERE else "unknown",
        legacy_tables=None if tables is None else tuple(tables.split()),
        selinux="" if enforce is None else "enforcing" if enforce == "1" else "permissive",
        apparmor=seen.get("/sys/module/apparmor/parameters/enabled") == "Y",
    )


def here() -> Kernel:
    """Return the features of this machine's kernel."""
    seen = {name: content for name in FILES if (content := _read(name)) is not None}
    try:
        if stat.S_ISCHR(Path(_FUSE_DEVICE).stat().st_mode):
            seen[_FUSE_DEVICE] = ""
    except OSError:
        pass
    if seen and not Path(_TABLES).exists():
        # The file comes with the legacy modules; where it is, only root may read it.
        seen[_TABLES] = ""
    seen[IPTABLES] = _iptables()
    directory = f"/lib/modules/{seen.get('/proc/sys/kernel/osrelease')}"
    lists = [_read(f"{directory}/modules.{kind}") for kind in ("dep", "builtin")]
    modules = None if lists == [None, None] else "\n".join(filter(None, lists))
    return judge(HERE, seen, modules)


def _presence(name: str, seen: Mapping[str, str], modules: str | None) -> Presence:
    known = seen.get("/proc/filesystems")
    if known is not None and name in known.split():
        return "present"
    if modules is not None:
        return "loadable" if re.search(rf"/{name}\.ko", modules) else "missing"
    return "unknown"


def flavour(version: str) -> Flavour:
    """Return the kernel interface that an iptables program uses, by what its `--version` says.

    Before 1.8 it named no flavour, and was legacy.
    """
    match = re.search(r"iptables v[\d.]+( \((?P<flavour>\w+)\))?", version)
    if match is None:
        return "unknown"
    return "nft" if match["flavour"] == "nf_tables" else "legacy"


def _iptables() -> str:
    program = shutil.which("iptables") or shutil.which("iptables", path=_SBIN)
    if program is None:
        return ""
    try:
        return subprocess.run(
            [program, "--version"],
            capture_output=True,
            text=True,
            timeout=_IPTABLES_SECONDS,
            check=False,
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


def _read(name: str) -> str | None:
    try:
        return Path(name).read_text(errors="replace").strip()
    except OSError:
        return None
