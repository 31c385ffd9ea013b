"""What the doctor makes of a kernel's own files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from pytest_dind.backends.probe import IPTABLES, LOOK, sections
from pytest_dind.doctor import kernel
from pytest_dind.doctor.kernel import HERE, THERE, Flavour, Kernel, Presence

_FULL = {
    "/proc/sys/kernel/osrelease": "6.8.0-87-generic",
    "/proc/sys/user/max_user_namespaces": "96365",
    "/proc/filesystems": "nodev\tsysfs\nnodev\ttmpfs\n\text4\nnodev\toverlay\nnodev\tfuse",
    "/proc/net/ip_tables_names": "nat\nfilter",
    "/dev/fuse": "",
    IPTABLES: "iptables v1.8.10 (nf_tables)",
}


def _judged(changes: Mapping[str, str], modules: str | None = None, where: str = HERE) -> Kernel:
    return kernel.judge(where, {**_FULL, **changes}, modules)


def test_usual_kernel() -> None:
    """A kernel that has everything."""
    assert _judged({}) == Kernel(
        where=HERE,
        release="6.8.0-87-generic",
        user_namespaces=True,
        unprivileged_user_namespaces=True,
        overlay="present",
        fuse="present",
        fuse_device=True,
        iptables="nft",
        legacy_tables=("nat", "filter"),
        selinux="",
        apparmor=False,
    )


def test_nothing_known() -> None:
    """Where nothing can be read (macOS), nothing is claimed."""
    assert kernel.judge(HERE, {}) == Kernel(
        where=HERE,
        release="",
        user_namespaces=None,
        unprivileged_user_namespaces=None,
        overlay="unknown",
        fuse="unknown",
        fuse_device=False,
        iptables="unknown",
        legacy_tables=None,
        selinux="",
        apparmor=False,
    )


@pytest.mark.parametrize(
    ("changes", "some", "unprivileged"),
    [
        ({"/proc/sys/user/max_user_namespaces": "0"}, False, False),
        ({"/proc/sys/kernel/unprivileged_userns_clone": "0"}, True, False),
        ({"/proc/sys/kernel/unprivileged_userns_clone": "1"}, True, True),
        ({"/proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1"}, True, False),
        ({"/proc/sys/kernel/apparmor_restrict_unprivileged_userns": "0"}, True, True),
    ],
)
def test_user_namespaces(changes: dict[str, str], some: bool, unprivileged: bool) -> None:
    """The three switches of user namespaces: the limit, Debian's own, Ubuntu's by AppArmor."""
    found = _judged(changes)

    assert (found.user_namespaces, found.unprivileged_user_namespaces) == (some, unprivileged)


@pytest.mark.parametrize(
    ("modules", "expected"),
    [
        ("kernel/fs/overlayfs/overlay.ko.zst: \nkernel/fs/fuse/fuse.ko:", "loadable"),
        ("kernel/fs/ext4/ext4.ko:", "missing"),
        (None, "unknown"),
    ],
)
def test_modules(modules: str | None, expected: Presence) -> None:
    """A file system that the kernel does not list may be a module, if modules can be looked up."""
    found = _judged({"/proc/filesystems": "nodev\ttmpfs\n\text4\n\tfuseblk"}, modules)

    assert (found.overlay, found.fuse) == (expected, expected)


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("iptables v1.8.10 (nf_tables)", "nft"),
        ("iptables v1.8.9 (legacy)", "legacy"),
        ("iptables v1.6.1", "legacy"),
        ("sh: iptables: not found", "unknown"),
        ("", "unknown"),
    ],
)
def test_iptables(version: str, expected: Flavour) -> None:
    """The flavour is read off the program's own words."""
    assert _judged({IPTABLES: version}).iptables == expected


@pytest.mark.parametrize(("file", "expected"), [("1", "enforcing"), ("0", "permissive")])
def test_selinux(file: str, expected: str) -> None:
    """Whether SELinux enforces its policy."""
    assert _judged({"/sys/fs/selinux/enforce": file}).selinux == expected


@pytest.mark.parametrize(("file", "expected"), [("Y", True), ("N", False)])
def test_apparmor(file: str, expected: bool) -> None:
    """Whether AppArmor is enabled."""
    assert _judged({"/sys/module/apparmor/parameters/enabled": file}).apparmor == expected


def test_kernel_seen_in_a_container() -> None:
    """Of the engine's machine nothing is claimed that no container can see: its own iptables."""
    found = _judged({}, where=THERE)

    assert (found.iptables, found.legacy_tables) == ("unknown", None)
    assert (found.overlay, found.user_namespaces) == ("present", True)


def test_sections() -> None:
    """What the look in a container wrote is taken apart by what it looked at."""
    output = "=== mount\na tmpfs was mounted\n=== df\na\nb\n=== /dev/fuse\n\n"

    assert sections(output) == {"mount": "a tmpfs was mounted", "df": "a\nb", "/dev/fuse": ""}
    assert sections("") == {}


def test_look_reads_the_files() -> None:
    """The look in a container covers each file that is read on this machine."""
    assert not [name for name in _FULL if name != IPTABLES and name not in LOOK[-1]]


def test_this_machine() -> None:
    """This machine's kernel is named, and looking at it changes nothing and fails nowhere."""
    found = kernel.here()
    release = Path("/proc/sys/kernel/osrelease")

    assert found.where == HERE
    assert found.release == (release.read_text().strip() if release.exists() else "")


def test_no_iptables(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without the iptables program is no error."""
    monkeypatch.setattr("shutil.which", lambda name, path=None: None)

    assert kernel.here().iptables == "unknown"
