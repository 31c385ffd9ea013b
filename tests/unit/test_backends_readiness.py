"""The wait for a daemon: who comes first, and what is said of it."""

from __future__ import annotations

import socket
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pytest_dind import (
    DaemonExited,
    DaemonUnhealthy,
    DindWarning,
    EngineUnavailable,
    ImageUnavailable,
    ModeUnavailable,
    StartTimeout,
)
from pytest_dind.backends import readiness
from pytest_dind.engine import http, versions
from pytest_dind.lifetime import layout
from pytest_dind.lifetime.files import Directory

from ..support import PING, Answer, FakeEngine

_SUBJECT = "The daemon 'main' (mode dind, image some:tag)"
_LONG = 30.0
"""A deadline that no test waits for."""


def _wait(
    home: Path,
    *,
    timeout: float = _LONG,
    spent: float = 0,
    gone: Callable[[], bool] = lambda: False,
) -> str:
    watched = readiness.Watched(_SUBJECT, Directory(home), _pings(home), gone)
    return readiness.wait_until_ready(watched, timeout=timeout, spent=spent)


def _pings(home: Path) -> Callable[[float], str | None]:
    return lambda seconds: http.ping(f"unix://{home / 'docker.sock'}", timeout=seconds)


def test_answer_of_the_one_before(short_path: Path) -> None:
    """What answered before the awaited daemon counted may have ended: it is asked again."""
    answers = iter(["1.40", "1.40", None, "1.51", "1.51"])
    counts = iter([False, True, True])
    watched = readiness.Watched(
        _SUBJECT,
        Directory(short_path),
        lambda seconds: next(answers),
        lambda: False,
        counts=lambda: next(counts),
    )

    assert readiness.wait_until_ready(watched, timeout=60) == "1.51"


@pytest.fixture
def home(short_path: Path) -> Path:
    """A daemon's home, with a log as its container's first process begins it."""
    (short_path / layout.LOG).touch()
    return short_path


def test_good_ping_first(home: Path) -> None:
    """A daemon that answers is ready; the wait gives its API version."""
    with FakeEngine(home / "docker.sock", {}):
        assert _wait(home) == "1.51"


def test_ping_that_becomes_good(home: Path) -> None:
    """A daemon that listens but does not serve yet is waited for."""
    early: Iterator[Answer] = iter([Answer(503, "starting"), Answer(503, "starting")])
    with FakeEngine(home / "docker.sock", {"GET /_ping": lambda: next(early, PING)}):
        assert _wait(home) == "1.51"
    assert next(early, None) is None


def test_good_ping_beats_an_exit(home: Path) -> None:
    """A daemon that answers is ready, whatever an earlier one left in the home."""
    (home / layout.EXIT).write_text("1\n")
    with FakeEngine(home / "docker.sock", {}):
        assert _wait(home) == "1.51"


def test_exit_first(home: Path) -> None:
    """A daemon that ended is reported at once, with its exit code and its last 20 log lines."""
    (home / layout.EXIT).write_text("3\n")
    (home / layout.LOG).write_text("".join(f"line {number}\n" for number in range(30)))
    began = time.monotonic()
    with pytest.raises(DaemonExited) as caught:
        _wait(home)

    assert time.monotonic() - began < _LONG / 2
    lines = str(caught.value).splitlines()
    assert lines[0] == f"{_SUBJECT} ended with exit code 3 before it was ready."
    assert [line.strip() for line in lines[2:22]] == [f"line {number}" for number in range(10, 30)]
    assert lines[22] == "To fix this, either:"
    assert "a --dind-arg that dockerd refuses is a usual cause" in lines[23]
    assert "docker run --rm --privileged IMAGE dockerd" in lines[24]


def test_exit_with_a_page_of_options(home: Path) -> None:
    """What dockerd says before it prints all its options is the evidence, not the options."""
    (home / layout.EXIT).write_text("1\n")
    said = "iptables v1.8.11\nStatus: unknown flag: --nonsense\nSee 'dockerd --help'.\n"
    options = "".join(f"      --option{number}\n" for number in range(200))
    (home / layout.LOG).write_text(f"{said}\nUsage:\tdockerd [OPTIONS]\n{options}, Code: 125\n")
    with pytest.raises(DaemonExited) as caught:
        _wait(home)

    assert "  iptables v1.8.11\n  Status: unknown flag: --nonsense\n" in str(caught.value)
    assert "--option" not in str(caught.value)


def test_exit_without_a_word(home: Path) -> None:
    """A container that is gone without an exit code ends the wait too."""
    with pytest.raises(DaemonExited) as caught:
        _wait(home, gone=lambda: True)

    assert "ended without an exit code before it was ready." in str(caught.value)
    assert "The daemon has logged nothing." in str(caught.value)


@pytest.mark.parametrize("code", [0, 2])
def test_exit_between_two_looks(home: Path, code: int) -> None:
    """A container that goes just after its exit code was looked for still has that code."""

    def gone() -> bool:
        (home / layout.EXIT).write_text(f"{code}\n")
        return True

    with pytest.raises(DaemonExited, match=f"ended with exit code {code} before"):
        _wait(home, gone=gone)


def test_deadline_first(home: Path) -> None:
    """A daemon that neither answers nor ends is a time-out, with what it logged last."""
    (home / layout.LOG).write_text("still at it\n")
    with pytest.raises(StartTimeout) as caught:
        _wait(home, timeout=0.05)

    assert str(caught.value) == (
        f"{_SUBJECT} was not ready after 0.05 s.\n"
        "Evidence:\n"
        "  still at it\n"
        "To fix this, either:\n"
        "  - Give it longer: --dind-timeout SECONDS.\n"
        "  - Look for what holds it up in the log lines above."
    )


def test_deadline_with_an_empty_log(home: Path) -> None:
    """A daemon that logged nothing leaves no empty evidence."""
    with pytest.raises(StartTimeout, match=r"The daemon has logged nothing yet\."):
        _wait(home, timeout=0.05)


# Two seconds are enough only where nothing else is done.
@pytest.mark.alone
def test_deadline_counts_from_the_request(home: Path) -> None:
    """Time spent before the wait is part of the time-out; the text has the user's number."""
    began = time.monotonic()
    with pytest.raises(StartTimeout, match=r"was not ready after 5 s\."):
        _wait(home, timeout=5, spent=4.95)

    assert time.monotonic() - began < 2


# Two seconds are enough only where nothing else is done.
@pytest.mark.alone
def test_deadline_with_a_silent_socket(home: Path) -> None:
    """A daemon that accepts and does not answer, as dockerd does early, can't hold the deadline."""
    began = time.monotonic()
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(home / "docker.sock"))
        silent.listen()
        with pytest.raises(StartTimeout):
            _wait(home, timeout=0.2)

    assert time.monotonic() - began < 2


def test_home_not_shared(short_path: Path) -> None:
    """A container that ended and left no log did not see the directory of this process."""
    with pytest.raises(EngineUnavailable) as caught:
        _wait(short_path, gone=lambda: True)

    text = str(caught.value)
    assert f"{_SUBJECT} does not see the directory {short_path} of this process." in text
    assert "Its container ended before it could write there." in text
    assert "Run the tests on the engine's own machine." in text
    assert "mount the temp dir into it under the same path" in text


def test_no_dockerd(home: Path) -> None:
    """An image without dockerd is the image's fault, and told so."""
    (home / layout.EXIT).write_text("127\n")
    with pytest.raises(ImageUnavailable) as caught:
        _wait(home)

    assert str(caught.value) == (
        f"{_SUBJECT} cannot start: its image has no dockerd.\n"
        "Evidence:\n"
        "  No dockerd was found in the image's PATH.\n"
        "To fix this:\n"
        "  - Name a Docker-in-Docker image: --dind-image docker:dind."
    )


def test_no_control_groups(home: Path) -> None:
    """A container that may make no control groups is the engine's matter; the trial is shown."""
    (home / layout.LOG).write_text("mkdir: cannot create directory: Permission denied\n")
    (home / layout.EXIT).write_text("124\n")
    with pytest.raises(ModeUnavailable) as caught:
        _wait(home)

    assert str(caught.value) == (
        "Daemons can't be had: the engine gives its containers no control groups that they may "
        "divide, so no nested container could start.\n"
        "Evidence:\n"
        "  mkdir: cannot create directory: Permission denied\n"
        "To fix this, either:\n"
        "  - Where the engine runs without root, let it have control groups: cgroup v2, and "
        "delegation to its user, as by systemd "
        "(https://docs.docker.com/engine/security/rootless/).\n"
        "  - Use an engine that runs as root: --dind-host HOST.\n"
        "  - Use the engine itself: --dind-mode socket."
    )


@pytest.mark.parametrize(
    ("tail", "expected"), [(1, "b\n"), (2, "a\nb\n"), (None, "\N{REPLACEMENT CHARACTER}\na\nb\n")]
)
def test_log(home: Path, tail: int | None, expected: str) -> None:
    """The log is read from its end, whatever bytes are in it."""
    (home / layout.LOG).write_bytes(b"\xff\na\nb\n")

    assert readiness.log(Directory(home), tail) == expected


def test_log_and_exit_of_nothing(tmp_path: Path) -> None:
    """A home without log and exit code has an empty log and no exit code."""
    assert readiness.log(Directory(tmp_path)) == ""
    assert readiness.exit_code(Directory(tmp_path)) is None


@pytest.mark.parametrize("driver", ["vfs", "native"])
def test_copying_storage_driver(driver: str) -> None:
    """A storage driver that copies whole layers is a warning that names the remedies."""
    with pytest.warns(DindWarning) as caught:
        readiness.check(_SUBJECT, {"Driver": driver}, "1.51")

    text = str(caught[0].message)
    assert f"{_SUBJECT} uses the storage driver {driver}, which copies each layer whole" in text
    assert "Keep the engine's data on a file system that overlay works on (ext4, xfs)" in text
    assert "--dind-arg=--storage-driver=fuse-overlayfs" in text


@pytest.mark.parametrize("driver", ["overlay2", "overlayfs", "btrfs", "fuse-overlayfs"])
def test_good_storage_driver(driver: str) -> None:
    """A storage driver with copy-on-write is no matter for a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        readiness.check(_SUBJECT, {"Driver": driver}, "1.51")
    assert driver not in readiness._COPYING_DRIVERS


def test_old_api() -> None:
    """An API older than docker-py speaks is an error that names both versions."""
    with pytest.raises(DaemonUnhealthy) as caught:
        readiness.check(_SUBJECT, {"Driver": "overlay2"}, "1.9")

    assert str(caught.value) == (
        f"{_SUBJECT} speaks an API too old to work with.\n"
        "Evidence:\n"
        "  Its API version is 1.9; the oldest supported is 1.24.\n"
        "To fix this:\n"
        "  - Use a newer image: --dind-image docker:dind."
    )


def test_oldest_api_is_docker_pys() -> None:
    """The oldest API that passes is docker-py's own."""
    from docker.constants import MINIMUM_DOCKER_API_VERSION

    assert versions.dotted(versions.OLDEST_API) == MINIMUM_DOCKER_API_VERSION
    readiness.check(_SUBJECT, {"Driver": "overlay2"}, MINIMUM_DOCKER_API_VERSION)
