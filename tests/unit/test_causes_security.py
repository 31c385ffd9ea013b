"""Denials of SELinux and AppArmor, recognised in texts recorded where they happened."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_dind import DaemonExited, EngineUnavailable, ModeUnavailable, Settings, StartTimeout
from pytest_dind.backends import engine_errors, readiness
from pytest_dind.causes import cause_of, security
from pytest_dind.lifetime import layout
from pytest_dind.lifetime.files import Directory
from pytest_dind.lifetime.layout import Home

SELINUX, APPARMOR, EITHER = security.SELINUX, security.APPARMOR, security.EITHER

_RUNC = "OCI runtime create failed: container_linux.go:345: starting container process caused "

# The row, the module, a piece of the remedy, and the text; each with the thread it was recorded in.
_TEXTS = {
    "moby/moby#39109": (
        "selinux-label",
        SELINUX,
        "label=disable",
        _RUNC + '"process_linux.go:430: container init caused \\"write /proc/self/attr/keycreate: '
        'permission denied\\"": unknown.',
    ),
    "containerd/containerd#5864": (
        "selinux-label",
        SELINUX,
        "label=disable",
        "container_linux.go:380: starting container process caused: process_linux.go:545: "
        "container init caused: failed to set /proc/self/attr/keycreate on procfs: "
        "write /proc/self/attr/keycreate: invalid argument: unknown",
    ),
    "opencontainers/runc#2024": (
        "selinux-label",
        SELINUX,
        "label=disable",
        'container_linux.go:345: starting container process caused "set process label: '
        'write /proc/self/task/1/attr/exec: invalid argument"',
    ),
    "opencontainers/runc#4068": (
        "selinux",
        SELINUX,
        "audit2allow",
        "type=AVC msg=audit(10/12/2023 01:04:59.696:1547) : avc:  denied  { create } for  pid=1204 "
        "comm=runc:[2:INIT] scontext=unconfined_u:unconfined_r:unconfined_t:s0-s0:c0.c1023 "
        "tcontext=system_u:object_r:unlabeled_t:s0 tclass=key permissive=0",
    ),
    "ansible/ansible-container#494": (
        "selinux",
        SELINUX,
        "label=disable",
        'avc:  denied  { connectto } for  pid=7746 comm="nc" path="/run/docker.sock" '
        "scontext=system_u:system_r:container_t:s0:c317,c949 "
        "tcontext=system_u:system_r:container_runtime_t:s0 tclass=unix_stream_socket permissive=0",
    ),
    "docker/for-linux#1129": (
        "apparmor-apply",
        APPARMOR,
        "apparmor=unconfined",
        _RUNC + '"process_linux.go:449: container init caused \\"apply apparmor profile: apparmor '
        'failed to apply profile: write /proc/self/attr/exec: permission denied\\"": unknown.',
    ),
    "docker/for-linux#1129, the kernel's log": (
        "apparmor",
        APPARMOR,
        "apparmor_parser -r",
        '[65608.775072] audit: type=1400 audit(1602564380.386:31): apparmor="DENIED" '
        'operation="change_onexec" profile="/usr/bin/dockerd" pid=19306 comm="runc:[2:INIT]" '
        'target="docker-default"',
    ),
    "docker/for-linux#1199": (
        "apparmor-apply",
        APPARMOR,
        "apparmor=unconfined",
        "OCI runtime create failed: container_linux.go:367: starting container process caused: "
        "process_linux.go:495: container init caused: apply apparmor profile: apparmor failed to "
        "apply profile: write /proc/self/attr/exec: invalid argument: unknown.",
    ),
    "opencontainers/runc#3831": (
        "apparmor-missing",
        APPARMOR,
        "Load the profile",
        "apparmor failed to apply profile: write /proc/self/attr/apparmor/exec: "
        "no such file or directory",
    ),
    "moby/moby#9059": (
        "apparmor-missing",
        APPARMOR,
        "Load the profile",
        "Cannot start container 41398c949d5e: set apparmor profile docker-default: "
        "no such file or directory",
    ),
    "IceWhaleTech/CasaOS#76": (
        "apparmor-load",
        APPARMOR,
        "ENV container=docker",
        "Error response from daemon: AppArmor enabled on system but the docker-default profile "
        "could not be loaded: running `/sbin/apparmor_parser apparmor_parser -Kr "
        "/var/lib/docker/tmp/docker-default401788521` failed with output: apparmor_parser: Unable "
        'to replace "docker-default". Permission denied; attempted to load a profile while '
        "confined? error: exit status 243",
    ),
    "canonical/lxd#3723": (
        "apparmor-load",
        APPARMOR,
        "ENV container=docker",
        "docker: Error response from daemon: Could not check if docker-default AppArmor profile "
        "was loaded: open /sys/kernel/security/apparmor/profiles: permission denied.",
    ),
    "google/nsjail#236": (
        "apparmor-mount",
        APPARMOR,
        "apparmor=unconfined",
        '[266713.893126] audit: type=1400 audit(1722708589.057:470): apparmor="DENIED" '
        'operation="mount" class="mount" info="failed mntpnt match" error=-13 '
        'profile="unprivileged_userns" name="/" pid=2054704 comm="nsjail" flags="rw, rprivate"',
    ),
    "moby/moby#16911": (
        "apparmor-mount",
        APPARMOR,
        "apparmor=unconfined",
        'type=AVC msg=audit(1444521663.545:61650): apparmor="DENIED" operation="mount" '
        'info="failed srcname match" error=-13 profile="/usr/bin/docker" '
        'name="/.pivot_root465400889/" pid=1214931 comm="exe" flags="rw, rprivate"',
    ),
    "moby/moby#51405": (
        "apparmor-sysctl",
        APPARMOR,
        "lxc.apparmor.profile = unconfined",
        "failed to create task for container: failed to create shim task: OCI runtime create "
        "failed: runc create failed: unable to start container process: error during container "
        "init: open sysctl net.ipv4.ip_unprivileged_port_start file: reopen fd 8: permission "
        "denied: unknown",
    ),
    "containers/crun#909": (
        "label-or-profile",
        EITHER,
        "label=disable",
        "2022-04-20T11:54:10.000149062Z: write file `/proc/thread-self/attr/exec`: "
        "Invalid argument",
    ),
    "moby/moby#40904": (
        "mount-denied",
        EITHER,
        "apparmor=unconfined",
        'level=error msg="failed to mount overlay: permission denied" storage-driver=overlay2',
    ),
    "opencontainers/runc#3686": (
        "mount-denied",
        EITHER,
        "label=disable",
        "unable to start container process: error during container init: error mounting "
        '"/var/run/docker.sock" to rootfs at "/var/run/docker.sock": change mount propagation '
        "through procfd: mount /var/run/docker.sock (via /proc/self/fd/6), flags: 0x44000: "
        "permission denied: unknown",
    ),
    "linuxserver/docker-kasm#43": (
        "mount-denied-in-container",
        EITHER,
        "label=disable",
        "mount: /sys/kernel/security: permission denied.\nCould not mount /sys/kernel/security.\n"
        "AppArmor detection and --privileged mode might break.\nmount: /tmp: permission denied.",
    ),
    "moby/moby#16931": (
        "mount-denied-in-container",
        EITHER,
        "apparmor=unconfined",
        "mount: permission denied (are you root?)\nCould not mount /sys/kernel/security.\n"
        "AppArmor detection and -privileged mode might break.\n"
        "mount: permission denied (are you root?)",
    ),
}

# What reads alike and is none of theirs.
_INNOCENT = {
    "no capabilities": "unable to apply caps: operation not permitted",
    "file mode": 'exec: "scripts/wait-for-db.sh": permission denied: unknown',
    "userns-remap": "privileged mode is incompatible with user namespaces.  You must run the "
    "container in the host namespace when running privileged mode",
    "allowed": 'apparmor="ALLOWED" operation="mount" class="mount" profile="ntfs-3g"',
    "dockerd's flag": "failed to start daemon: invalid default address pool",
    "Sysbox, nestybox/sysbox#237": "mount: permission denied (are you root?)\n"
    "Could not mount /sys/kernel/security.\n"
    'AppArmor detection and --privileged mode might break.\nlevel=info msg="Starting up"',
    "Sysbox, util-linux": "mount: /sys/kernel/security: permission denied.\n"
    "       dmesg(1) may have more information after failed mount system call.\n"
    "Could not mount /sys/kernel/security.",
}

_HOME = Home(Path("/h/0123abcd/main"))


@pytest.mark.parametrize(("row", "module", "remedy", "text"), _TEXTS.values(), ids=_TEXTS)
def test_denials(row: str, module: str, remedy: str, text: str) -> None:
    """A recorded denial is recognised among other lines: its row, with the module's options."""
    denial = cause_of(f"level=info msg=before\n{text}\nafter")

    assert denial is not None
    assert denial.name == row
    assert module in denial.meaning or module == EITHER
    assert remedy in "\n".join(denial.remedy)
    assert set(security.OPTIONS[module]) <= set(denial.remedy)


def test_each_row_has_a_text() -> None:
    """No row of denials is without a text that was recorded."""
    assert {row for row, *_ in _TEXTS.values()} == {cause.name for cause in security.CAUSES}


@pytest.mark.parametrize("text", _INNOCENT.values(), ids=_INNOCENT)
def test_no_denial(text: str) -> None:
    """What only reads like a denial is not taken for one."""
    assert cause_of(text) not in security.CAUSES


@pytest.mark.parametrize(("row", "module", "remedy", "text"), _TEXTS.values(), ids=_TEXTS)
def test_refused_container(row: str, module: str, remedy: str, text: str) -> None:
    """An engine that can't start the daemon's container for it: the error says so, with options."""
    error = engine_errors.refused(_HOME, Settings(image="i:t"), text)

    assert type(error) is ModeUnavailable
    assert str(error).startswith(
        "The outer engine cannot start the daemon 'main' (image i:t).\nEvidence:\n  Cause: "
    )
    assert remedy in str(error)


def _wait(home: Path, timeout: float = 5) -> str:
    watched = readiness.Watched("The daemon", Directory(home), lambda seconds: None, lambda: True)
    with pytest.raises((DaemonExited, StartTimeout, EngineUnavailable)) as caught:
        readiness.wait_until_ready(watched, timeout=timeout)
    return str(caught.value)


def test_denied_daemon(tmp_path: Path) -> None:
    """A daemon that ended for it: the error says so, and has dockerd's advice after the options."""
    _, _, remedy, text = _TEXTS["moby/moby#40904"]
    (tmp_path / layout.LOG).write_text(f"{text}\nfailed to start daemon: driver not supported")
    (tmp_path / layout.EXIT).write_text("1")
    error = _wait(tmp_path)

    assert error.startswith(
        "The daemon ended with exit code 1 before it was ready.\n"
        "Evidence:\n"
        "  Cause: A mount was denied, as SELinux, "
    )
    assert error.index(remedy) < error.index("Mend what its last log lines say")


def test_denied_and_not_ready(tmp_path: Path) -> None:
    """A daemon that does not become ready for it: the error says so too."""
    _, _, remedy, text = _TEXTS["google/nsjail#236"]
    (tmp_path / layout.LOG).write_text(text)
    error = _wait(tmp_path, timeout=0.05)

    assert error.startswith(
        "The daemon was not ready after 0.05 s.\nEvidence:\n  Cause: AppArmor denied a mount.\n"
    )
    assert remedy in error


@pytest.mark.parametrize("enforces", [True, False])
def test_hidden_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, enforces: bool) -> None:
    """A container that can't see its directory may be a matter of labels, on a SELinux host."""
    monkeypatch.setattr(security, "enforces_selinux", lambda: enforces)
    (tmp_path / layout.EXIT).write_text("125")
    error = _wait(tmp_path)

    assert "does not see the directory" in error
    assert ("SELinux enforces its policy here" in error) == enforces
