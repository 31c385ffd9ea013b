"""What stands in the way of mode sysbox, by what a probe container saw or the engine said."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from pytest_dind import ImageUnavailable
from pytest_dind.backends import registry, sysbox
from pytest_dind.backends.probe import LEASE_SEEN, ProbeResult
from pytest_dind.backends.registry import Obstacle
from pytest_dind.engine import tls as certificates

# As a container under Sysbox 0.7 writes it; shortened.
_UID_MAP = "         0     100000      65536\n"
_DOCKER = "Docker version 28.5.2, build 89c5e8f\n"
_MOUNTS = (
    "614 588 0:52 / / rw,relatime - overlay overlay rw,lowerdir=/x\n"
    "640 620 0:58 /proc/sys /proc/sys rw,nosuid,nodev,relatime - fuse sysboxfs rw,user_id=0\n"
)
_SEEN = _UID_MAP + _DOCKER + _MOUNTS


def _why_not(sight: ProbeResult | str, runtimes: Any = None, path: str = "sysbox-runc") -> Obstacle:
    """The obstacle that `why_not` finds; what was seen is given as text, or as the whole sight."""
    found = _look(sight, runtimes, path)
    assert found is not None
    return found


def _look(
    sight: ProbeResult | str, runtimes: Any = None, path: str = "sysbox-runc"
) -> Obstacle | None:
    engine = Mock()
    engine.client.info.return_value = {
        "Runtimes": {"runc": {}, "sysbox-runc": {"path": path}} if runtimes is None else runtimes
    }
    seen = ProbeResult(sight, ran=True) if isinstance(sight, str) else sight
    return sysbox.check(engine, Mock(return_value=seen))


def test_sysbox() -> None:
    """A user namespace, and files that sysbox-fs emulates: it is Sysbox, and it works."""
    assert _look(_SEEN) is None


@pytest.mark.parametrize("runtimes", [{"runc": {}, "io.containerd.runc.v2": {}}, {}, None])
def test_not_registered(runtimes: dict[str, Any] | None) -> None:
    """Where the runtime isn't registered no container is made; the others are named."""
    engine, probe = Mock(), Mock()
    engine.client.info.return_value = {"Runtimes": runtimes}
    found = sysbox.check(engine, probe)

    assert found is not None
    assert found.cause == "the runtime sysbox-runc is not registered"
    assert found.evidence == f"The engine's runtimes: {', '.join(sorted(runtimes or {}))}."
    assert not probe.called
    assert len(engine.client.mock_calls) == 1, "one question"


def test_three_ways_on() -> None:
    """Where Sysbox isn't, there are three ways on: install it, `auto`, and `dind`."""
    install, auto, dind = _why_not("", runtimes={}).remedy

    assert "https://github.com/nestybox/sysbox" in install
    assert "--dind-mode auto" in auto
    assert "--dind-mode dind" in dind


def test_container() -> None:
    """The container is one under the runtime and no more: no privilege, no namespace of the host's.

    It is the mode's own host configuration.
    """
    probe = Mock(return_value=ProbeResult(_SEEN, ran=True))
    engine = Mock()
    engine.client.info.return_value = {"Runtimes": {"sysbox-runc": {}}}
    sysbox.check(engine, probe)

    (how,) = (call.kwargs for call in probe.call_args_list)
    assert how == {"runtime": "sysbox-runc", "shares": not engine.unshared}
    backend = sysbox.make(engine)
    assert backend._mode.host_config == {"runtime": "sysbox-runc"}
    assert backend._mode.user_namespace


def test_daemon_is_judged_as_the_probe_is() -> None:
    """A daemon's own container shows as well whether it is Sysbox that runs it."""
    judge = sysbox.make(Mock())._mode.judge

    assert judge is not None
    assert judge(_UID_MAP + _MOUNTS) is None
    found = judge("         0          0 4294967295\n" + _MOUNTS)
    assert found is not None
    assert found.cause == "what is registered as sysbox-runc is not Sysbox"


@pytest.mark.parametrize(("version", "shows"), [("0.6.7", False), ("0.7.0", True), ("", True)])
def test_what_a_daemon_shows(program: Callable[[str], str], version: str, shows: bool) -> None:
    """The daemon's start is the proof, unless it doesn't show that nothing works in it."""
    engine = Mock()
    path = program(_says(version)) if version else "/nonexistent"
    engine.client.info.return_value = {"Runtimes": {"sysbox-runc": {"path": path}}}

    assert sysbox.proved_by_start(engine) is shows


def test_runtime_that_is_missing_shows_nothing() -> None:
    """Where the runtime isn't registered, no daemon needs to be started to know."""
    engine = Mock()
    engine.client.info.return_value = {"Runtimes": {"runc": {}}}

    assert not sysbox.proved_by_start(engine)


def test_plain_runc() -> None:
    """A container whose root is the host's is none of Sysbox's, whatever it mounts."""
    found = _why_not("         0          0 4294967295\n" + _DOCKER + _MOUNTS)

    assert found.cause == "what is registered as sysbox-runc is not Sysbox"
    assert found.evidence == ("In its container root is the host's root (uid_map: 0 0 4294967295).")
    assert "daemon.json" in found.remedy[0]


def test_user_namespace_alone() -> None:
    """A user namespace without sysbox-fs is userns-remap's with runc, or a Sysbox half down."""
    found = _why_not(_UID_MAP + _DOCKER + _MOUNTS.replace("sysboxfs", "proc"))

    assert found.cause == "what is registered as sysbox-runc is not Sysbox, or sysbox-fs is down"
    assert "no sysboxfs mounts" in found.evidence
    assert "systemctl restart sysbox" in found.remedy[0]


@pytest.mark.parametrize("seen", ["", "\n", "hello\n", "0 0", "a b c\n"])
def test_container_that_writes_something_else(seen: str) -> None:
    """A runtime that runs something else, or nothing, is not relied on; what it wrote is shown."""
    found = _why_not(seen)

    assert found.cause == "a container under sysbox-runc does not do what it is told"
    assert found.evidence == (f"It wrote: {seen.strip()}" if seen.strip() else "It wrote nothing.")


@pytest.mark.parametrize("which", ["getuid", "getgid"])
@pytest.mark.parametrize(("id_", "works"), [(0, True), (65535, True), (65536, False)])
def test_ids_beyond_what_is_mapped(
    monkeypatch: pytest.MonkeyPatch, which: str, id_: int, works: bool
) -> None:
    """A user whose files a container can't have, as a directory service's, is told why."""
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    monkeypatch.setattr(os, "getgid", lambda: 1000)
    monkeypatch.setattr(os, which, lambda: id_)
    found = _look(_SEEN)

    assert (found is None) is works
    if found is not None:
        assert found.cause == "sysbox-runc gives its containers no access to what this user owns"
        assert "It maps ids below 65536; this user has uid " in found.evidence
        assert "65536" in found.evidence.partition(";")[2]
        assert "below 65536" in found.remedy[0]
        assert not [way for way in found.remedy if "Install" in way]


def test_hangs() -> None:
    """A container that hangs is told as one."""
    found = _why_not(ProbeResult("timed out", ran=False, hangs=True))

    assert found.cause == "a container under sysbox-runc hangs"
    assert found.evidence == "timed out"


# What engines said, recorded: Docker 20.10 and 28.5 with Sysbox 0.7.
_SAID = [
    (
        "its services are down",
        "failed to create shim task: OCI runtime create failed: failed to register with "
        "sysbox-mgr: failed to invoke Register via grpc: rpc error: code = Unavailable desc = "
        'connection error: desc = "transport: Error while dialing: dial unix '
        '/run/sysbox/sysmgr.sock: connect: no such file or directory": unknown',
    ),
    (
        "its services are down",
        "failed to create shim task: OCI runtime create failed: failed to pre-register with "
        "sysbox-fs: failed to register container with sysbox-fs: rpc error: code = Unavailable "
        'desc = connection error: desc = "transport: Error while dialing: dial unix '
        '/run/sysbox/sysfs.sock: connect: connection refused": unknown',
    ),
    (
        "its program is missing",
        "failed to create shim task: OCI runtime create failed: unable to retrieve OCI runtime "
        "error (open /run/containerd/io.containerd.runtime.v2.task/moby/c0ffee/log.json: no such "
        "file or directory): fork/exec /opt/sysbox-runc: no such file or directory: unknown",
    ),
    (
        "its program is missing",
        "failed to create task for container: failed to create shim task: OCI runtime create "
        "failed: unable to retrieve OCI runtime error (open /run/containerd/x/log.json: no such "
        'file or directory): exec: "sysbox-runc": executable file not found in $PATH: unknown',
    ),
]


@pytest.mark.parametrize(("cause", "said"), _SAID)
def test_registered_but(cause: str, said: str) -> None:
    """What the engine says of a start that failed tells its causes apart; its words are kept."""
    found = _why_not(ProbeResult(said, ran=False))

    assert found.cause == f"sysbox-runc is registered, but {cause}"
    assert found.evidence == said
    assert len(found.remedy) == 4


@pytest.mark.parametrize(
    "said",
    [
        "failed to create shim task: OCI runtime create failed: container_linux.go:439: starting "
        'container process caused: exec: "sh": executable file not found in $PATH: unknown',
        "OCI runtime create failed: runc create failed: unable to start container process: error "
        "during container init: exec: stat sh: no such file or directory: unknown",
    ],
)
def test_image_without_a_shell(said: str) -> None:
    """That the image can't be looked into is the image's fault, not that of a missing program."""
    with pytest.raises(ImageUnavailable) as caught:
        _why_not(ProbeResult(said, ran=False))

    assert str(caught.value) == (
        "The daemon's image has no shell.\n"
        "Evidence:\n"
        f"  {said}\n"
        "To fix this:\n"
        "  - Name a Docker-in-Docker image: --dind-image docker:dind."
    )


@pytest.mark.parametrize("said", ["something new", ""])
def test_failure_that_nobody_foresaw(said: str) -> None:
    """Any other failure is told as the engine said it, with ways on all the same."""
    found = _why_not(ProbeResult(said, ran=False))

    assert found.cause == "sysbox-runc cannot run a container"
    assert found.evidence == said
    assert len(found.remedy) == 4


@pytest.fixture
def program(tmp_path: Path) -> Callable[[str], str]:
    """Make a runtime that says a version, or does something else; gives its path."""

    def make(script: str) -> str:
        path = tmp_path / "sysbox-runc"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return str(path)

    return make


def _says(version: str) -> str:
    # As Sysbox writes it, tabs included.
    return rf"printf 'sysbox-runc\n\tedition: \tCommunity Edition (CE)\n\tversion: \t{version}\n'"


@pytest.mark.parametrize(
    ("version", "docker", "works"),
    [
        ("0.6.7", "28.5.1", True),
        ("0.6.7", "28.5.2", False),
        ("0.6.7", "28.5.2+dfsg4", False),
        ("0.6.7", "29.0.0", False),
        ("0.7.0", "28.5.2", True),
        ("0.7.0", "30.1", True),
        ("0.10.0", "28.5.2", True),
        ("1.0", "28.5.2", True),
    ],
)
def test_too_old(program: Callable[[str], str], version: str, docker: str, works: bool) -> None:
    """Docker 28.5.2 and later need Sysbox 0.7.0: an older one works with an older image only."""
    seen = _SEEN.replace("28.5.2", docker)
    found = _look(seen, path=program(_says(version)))

    assert (found is None) is works
    if found is not None:
        assert found.cause == f"Sysbox {version} is too old for the daemon's Docker {docker}"
        assert found.evidence == "Docker 28.5.2 and later need Sysbox 0.7.0."
        assert found.remedy[0] == "Update Sysbox to 0.7.0 or later."
        assert "--dind-image docker:28.5.1-dind" in found.remedy[1]


@pytest.mark.parametrize(("version", "asks"), [("0.6.7", True), ("0.7.0", False), ("", False)])
def test_docker_is_asked_only_where_it_matters(
    program: Callable[[str], str], version: str, asks: bool
) -> None:
    """The image's dockerd, which may be slow to answer, isn't run where any version will do."""
    engine, probe = Mock(), Mock(return_value=ProbeResult(_SEEN, ran=True))
    path = program(_says(version)) if version else "/nonexistent"
    engine.client.info.return_value = {"Runtimes": {"sysbox-runc": {"path": path}}}
    sysbox.check(engine, probe)
    ((command,), _) = probe.call_args

    assert ("dockerd" in command[-1]) is asks


def test_image_whose_docker_is_not_known(program: Callable[[str], str]) -> None:
    """An image whose dockerd says no version is not held to be any."""
    seen = _SEEN.replace(_DOCKER, "sh: dockerd: not found\n")

    assert _look(seen, path=program(_says("0.1.0"))) is None


def test_installed(program: Callable[[str], str]) -> None:
    """A runtime on this machine says which Sysbox it is of."""
    assert sysbox.installed(program(_says("0.6.7"))) == "0.6.7"
    assert sysbox.installed(program(_says("v0.7.0-rc1"))) == "0.7.0"


@pytest.mark.parametrize(
    "script", ["echo runc version 1.1.4", "exit 3", "kill -KILL $$", r"printf '\377'"]
)
def test_runtime_that_says_no_version(program: Callable[[str], str], script: str) -> None:
    """A runtime that doesn't say is not held to be any version."""
    assert sysbox.installed(program(script)) == ""


@pytest.mark.parametrize("path", ["", "sysbox-runc", "/nonexistent/sysbox-runc", "/tmp"])
def test_runtime_that_cannot_be_asked(path: str) -> None:
    """One that isn't on this machine, as a remote engine's, is not asked."""
    assert sysbox.installed(path) == ""


def test_runtime_in_a_directory_of_roots(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that this user may not even look at is not asked."""
    monkeypatch.setattr(subprocess, "run", Mock(side_effect=PermissionError(13, "denied")))

    def stat(self: Path, **how: Any) -> None:
        raise PermissionError(13, "denied")

    monkeypatch.setattr(Path, "stat", stat)
    assert sysbox.installed("/of/root/sysbox-runc") == ""


@pytest.mark.parametrize("elsewhere", ["", "its file system is not shared"])
@pytest.mark.parametrize("tls", [True, False])
@pytest.mark.parametrize("held", [True, False])
def test_one_answer(monkeypatch: pytest.MonkeyPatch, elsewhere: str, tls: bool, held: bool) -> None:
    """`auto` and the doctor say the same, also where containers don't see the directories.

    What works is remembered.
    """
    monkeypatch.setattr(certificates, "available", lambda: tls)
    seen = _SEEN + (f"{LEASE_SEEN}\n" if held else "")
    engine = Mock(unshared=elsewhere)
    engine.client.info.return_value = {"Runtimes": {"sysbox-runc": {}}}
    probe = Mock(return_value=ProbeResult(seen, ran=True, key="k"))
    found = registry.check("sysbox", engine, probe)

    assert registry.check_thoroughly("sysbox", engine, probe) == found
    assert (found is None) is (held or tls)
    assert probe.keep.called is (found is None)
    if found is not None:
        assert found.cause == "containers have no part in this process's directories"
    assert {call.kwargs["shares"] for call in probe.call_args_list} == {not elsewhere}


def test_nothing_else_is_remembered() -> None:
    """A container that shows what is no Sysbox is looked at again."""
    engine = Mock(unshared="")
    engine.client.info.return_value = {"Runtimes": {"sysbox-runc": {}}}
    probe = Mock(return_value=ProbeResult("0 0 4294967295\n", ran=True, key="k"))

    assert sysbox.check(engine, probe) is not None
    assert not probe.keep.called
