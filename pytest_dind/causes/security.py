"""Denials by SELinux and AppArmor, and what a user may do about each."""

from __future__ import annotations

from pathlib import Path

from .cause import CONTAINERD, FOR_LINUX, MOBY, RUNC, Cause

SELINUX = "SELinux"
APPARMOR = "AppArmor"
EITHER = "SELinux or AppArmor"

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

# Most telling first. An attribute below /proc/…/attr is how a runtime tells the kernel which label
# or profile a process gets. "permission denied" (EACCES) is a security module's word to root; a
# lack of capabilities says "operation not permitted" (EPERM), in Go's texts at least.
CAUSES = (
    Cause(
        "apparmor-sysctl",
        r"open sysctl [\w.]+ file: reopen fd \d+: permission denied",
        "An AppArmor profile around the engine, such as LXC's, denies runc its sysctls",
        (
            "Update what the engine runs in: lxc-pve 6.0.5-2, Incus 6.19, or later.",
            "Take the profile off the LXC container: lxc.apparmor.profile = unconfined.",
            *OPTIONS[APPARMOR],
        ),
        (f"{CONTAINERD}/issues/12484", f"{MOBY}/issues/51405", f"{RUNC}/issues/4968"),
    ),
    Cause(
        "apparmor-load",
        r"docker-default (profile could not be loaded|AppArmor profile was loaded: open)"
        r"|apparmor_parser: Unable to replace",
        "The engine may not load its AppArmor profile, as in a container",
        (
            "Tell a daemon in a container that it is in one: ENV container=docker in its image.",
            *OPTIONS[APPARMOR],
        ),
        (
            "https://github.com/IceWhaleTech/CasaOS/issues/76",
            "https://github.com/nestybox/sysbox/issues/662",
            f"{MOBY}/issues/36952",
            "https://github.com/canonical/lxd/issues/3723",
        ),
    ),
    Cause(
        "apparmor-missing",
        r"apparmor (failed to apply )?profile\b.*: no such file or directory",
        "An AppArmor profile that a container asks for is not loaded",
        (
            "Load the profile (sudo apparmor_parser -r FILE), or restart the engine, which does "
            "it.",
            *OPTIONS[APPARMOR],
        ),
        (
            f"{RUNC}/issues/3831",
            "https://github.com/kubernetes/minikube/issues/15919",
            f"{MOBY}/issues/9059",
        ),
    ),
    Cause(
        "apparmor-apply",
        r"apparmor failed to apply profile|attr/apparmor/exec",
        "AppArmor does not let the engine give containers their profile",
        OPTIONS[APPARMOR],
        # Permission denied, and invalid argument.
        (f"{FOR_LINUX}/issues/1129", f"{FOR_LINUX}/issues/1199"),
    ),
    Cause(
        "apparmor-mount",
        # The kernel's log.
        r'apparmor="DENIED".* operation="(mount|umount|pivotroot)"',
        "AppArmor denied a mount",
        OPTIONS[APPARMOR],
        ("https://github.com/google/nsjail/issues/236", f"{MOBY}/issues/16911"),
    ),
    Cause(
        "apparmor",
        r'apparmor="DENIED"',
        "AppArmor denied what the daemon needs",
        OPTIONS[APPARMOR],
        (f"{FOR_LINUX}/issues/1129",),
    ),
    Cause(
        "selinux-label",
        r"set process label|attr/keycreate",
        "SELinux does not let the engine give containers their label",
        OPTIONS[SELINUX],
        (f"{RUNC}/issues/2024", f"{MOBY}/issues/39109", f"{CONTAINERD}/issues/5864"),
    ),
    Cause(
        "selinux",
        r"\bavc:\s+denied\b",
        "SELinux denied what the daemon needs",
        OPTIONS[SELINUX],
        (
            f"{MOBY}/issues/39109",
            f"{RUNC}/issues/4068",
            "https://github.com/ansible/ansible-container/issues/494",
        ),
    ),
    Cause(
        "label-or-profile",
        r"/proc/(thread-self|self(/task/\d+)?)/attr/\w+.*(permission denied|invalid argument)",
        "SELinux or AppArmor does not let the engine give containers their label or profile",
        OPTIONS[EITHER],
        # There it was SELinux; crun says the same with AppArmor.
        ("https://github.com/containers/crun/issues/909",),
    ),
    Cause(
        "mount-denied",
        r"failed to mount \w+: permission denied|mount .*flags: 0x\w+.*: permission denied",
        "A mount was denied, as SELinux, AppArmor, or LXC around the engine do it",
        OPTIONS[EITHER],
        # dockerd, and runc.
        (
            f"{MOBY}/issues/40904",
            f"{RUNC}/issues/3686",
            "https://github.com/containers/podman/issues/15009",
        ),
    ),
    Cause(
        "mount-denied-in-container",
        # That securityfs can't be mounted is harmless: under Sysbox it never can
        # (nestybox/sysbox#237).
        r"^mount: (?!.*/sys/kernel/security)(?!.*\s+Could not mount /sys/kernel/security)"
        r"[^\n]*permission denied",
        "A mount was denied, as SELinux, AppArmor, or LXC around the engine do it",
        OPTIONS[EITHER],
        # util-linux, and busybox.
        ("https://github.com/linuxserver/docker-kasm/issues/43", f"{MOBY}/issues/16931"),
    ),
)


def enforces_selinux() -> bool:
    """Tell whether SELinux enforces its policy on this machine."""
    try:
        return Path("/sys/fs/selinux/enforce").read_text().strip() == "1"
    except OSError:
        return False
