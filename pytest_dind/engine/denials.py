"""Denials by SELinux and AppArmor, recognised in the texts of engines, runtimes and kernels."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

SELINUX = "SELinux"
APPARMOR = "AppArmor"
EITHER = "SELinux or AppArmor"


@dataclass(frozen=True)
class Denial:
    """A denial by a security module.

    Attributes:
        module: One of the constants of this module.
        cause: The cause, as a sentence without its full stop.
        line: The line it was recognised by.
        remedy: The remedies, as alternatives.
    """

    module: str
    cause: str
    line: str
    remedy: tuple[str, ...]


OPTIONS = {
    SELINUX: (
        "See what was denied, on the engine's machine: sudo ausearch -m AVC -ts recent.",
        "Do without labels: --security-opt label=disable for a container of your own, "
        '"selinux-enabled": false in daemon.json for the whole engine.',
        "Keep the labels, with a policy that allows it: update the package container-selinux, or "
        "make a module of the denials (audit2allow -M) and load it (semodule -i).",
    ),
    APPARMOR: (
        "See what was denied, on the engine's machine: sudo dmesg | grep DENIED.",
        "Do without a profile: --security-opt apparmor=unconfined for a container of your own.",
        "Keep a profile, one that allows it: change what the denial names, and load it "
        "(sudo apparmor_parser -r FILE).",
    ),
}
"""The remedies for a denial by each."""
OPTIONS[EITHER] = (
    "See which it is, on the engine's machine: sudo dmesg | grep -i denied.",
    "SELinux: --security-opt label=disable, or a policy that allows it.",
    "AppArmor: --security-opt apparmor=unconfined, or a profile that allows it.",
)

# The texts, most telling first; each with where it was recorded. An attribute below /proc/…/attr
# is how a runtime tells the kernel which label or profile a process gets. "permission denied"
# (EACCES) is a security module's word to root; a lack of capabilities says "operation not
# permitted" (EPERM), in Go's texts at least.
_TEXTS: tuple[tuple[str, str, str, tuple[str, ...]], ...] = (
    (
        # containerd/containerd#12484, moby/moby#51405, opencontainers/runc#4968
        r"open sysctl [\w.]+ file: reopen fd \d+: permission denied",
        APPARMOR,
        "An AppArmor profile around the engine, such as LXC's, denies runc its sysctls",
        (
            "Update what the engine runs in: lxc-pve 6.0.5-2, Incus 6.19, or later.",
            "Take the profile off the LXC container: lxc.apparmor.profile = unconfined.",
        ),
    ),
    (
        # IceWhaleTech/CasaOS#76, nestybox/sysbox#662, moby/moby#36952, canonical/lxd#3723
        r"docker-default (profile could not be loaded|AppArmor profile was loaded: open)"
        r"|apparmor_parser: Unable to replace",
        APPARMOR,
        "The engine may not load its AppArmor profile, as in a container",
        ("Tell a daemon in a container that it is in one: ENV container=docker in its image.",),
    ),
    (
        # opencontainers/runc#3831, kubernetes/minikube#15919, moby/moby#9059
        r"apparmor (failed to apply )?profile\b.*: no such file or directory",
        APPARMOR,
        "An AppArmor profile that a container asks for is not loaded",
        ("Load the profile (sudo apparmor_parser -r FILE), or restart the engine, which does it.",),
    ),
    (
        # docker/for-linux#1129 (permission denied), docker/for-linux#1199 (invalid argument)
        r"apparmor failed to apply profile|attr/apparmor/exec",
        APPARMOR,
        "AppArmor does not let the engine give containers their profile",
        (),
    ),
    (
        # google/nsjail#236, moby/moby#16911: the kernel's log
        r'apparmor="DENIED".* operation="(mount|umount|pivotroot)"',
        APPARMOR,
        "AppArmor denied a mount",
        (),
    ),
    (
        # docker/for-linux#1129: the kernel's log
        r'apparmor="DENIED"',
        APPARMOR,
        "AppArmor denied what the daemon needs",
        (),
    ),
    (
        # opencontainers/runc#2024, and moby/moby#39109, containerd/containerd#5864
        r"set process label|attr/keycreate",
        SELINUX,
        "SELinux does not let the engine give containers their label",
        (),
    ),
    (
        # moby/moby#39109, opencontainers/runc#4068, ansible/ansible-container#494
        r"\bavc:\s+denied\b",
        SELINUX,
        "SELinux denied what the daemon needs",
        (),
    ),
    (
        # containers/crun#909, where it was SELinux; crun says the same with AppArmor
        r"/proc/(thread-self|self(/task/\d+)?)/attr/\w+.*(permission denied|invalid argument)",
        EITHER,
        "SELinux or AppArmor does not let the engine give containers their label or profile",
        (),
    ),
    (
        # moby/moby#40904 (dockerd); opencontainers/runc#3686, containers/podman#15009 (runc)
        r"failed to mount \w+: permission denied|mount .*flags: 0x\w+.*: permission denied",
        EITHER,
        "A mount was denied, as SELinux, AppArmor, or LXC around the engine do it",
        (),
    ),
    (
        # linuxserver/docker-kasm#43 (util-linux), moby/moby#16931 (busybox). That securityfs can't
        # be mounted is harmless: under Sysbox it never can (nestybox/sysbox#237).
        r"^mount: (?!.*/sys/kernel/security)(?!.*\s+Could not mount /sys/kernel/security)"
        r"[^\n]*permission denied",
        EITHER,
        "A mount was denied, as SELinux, AppArmor, or LXC around the engine do it",
        (),
    ),
)


def recognized(text: str) -> Denial | None:
    """The first known denial that a text tells of; None where it tells of none."""
    for pattern, module, cause, remedy in _TEXTS:
        match = re.search(pattern, text, re.IGNORECASE | re.MULTILINE)
        if match:
            start = text.rfind("\n", 0, match.start()) + 1
            line = text[start:].partition("\n")[0].strip()
            return Denial(module, cause, line, remedy + OPTIONS[module])
    return None


def enforces_selinux() -> bool:
    """Whether SELinux enforces its policy on this machine."""
    try:
        return Path("/sys/fs/selinux/enforce").read_text().strip() == "1"
    except OSError:
        return False
