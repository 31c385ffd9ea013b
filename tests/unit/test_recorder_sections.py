"""The texts of a report's sections on a daemon."""

from __future__ import annotations

import time
from datetime import datetime, timezone
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pytest_dind.recorder.recorder import Gap, Happening, Seen
from pytest_dind.recorder.sections import Report, Section
from pytest_dind.recorder.text import Secrets

_TEST = "t.py::test_it"
_BEGAN = 1_000_000.0


class _Recorder:
    """A recorder of a daemon with these containers."""

    record = SimpleNamespace(mode="dind")

    def __init__(self, *seen: Seen, gaps: Any = (), details: Any = None, log: bytes = b"") -> None:
        self.seen = list(seen)
        self.gaps = gaps
        self.details = details or {}
        self.log = log
        self.is_there = True

    def since(self, at: float) -> Any:
        """What was there, and an event for each."""
        happenings = [Happening(at, one.maker, f"container {one.name}") for one in self.seen]
        return self.seen, happenings, self.gaps

    def serves(self) -> bool:
        """It answers."""
        return self.is_there

    def ended(self, *, asks: bool) -> float | None:
        """When it ended."""
        return None if self.is_there else _BEGAN + 2.5

    def local(self, at: float) -> float:
        """The clocks are the same."""
        return at

    def inspect(self, container: str) -> Any:
        """Its details."""
        return self.details.get(container, {})

    def get(self, target: str) -> bytes:
        """Its log."""
        return self.log


def _seen(name: str = "web", maker: str | None = _TEST, **facts: Any) -> Seen:
    known = facts.pop("is_known", True)
    return Seen(name, name, "some:1", maker, known, _BEGAN + 1, **facts)


def _report(recorder: _Recorder, *secrets: str, lines: int = 2, **awaited: str) -> list[Section]:
    report = Report(
        "main", cast(Any, recorder), _TEST, _BEGAN, lines, Secrets(secrets), awaited=awaited
    )
    return report.sections("", lambda: "")


def _stamp(at: float) -> str:
    return datetime.fromtimestamp(at, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f") + "000Z"


def _details(**state: Any) -> Any:
    return {"State": {"Status": "running", **state}}


def test_log_of_the_daemon() -> None:
    """It begins with the test, without what each container's end brings, and is masked."""
    log = "".join(
        f"{line}\n"
        for line in [
            f'time="{_stamp(_BEGAN - 1)}" level=error msg="of an earlier test"',
            "without a time, too",
            f'time="{_stamp(_BEGAN + 1)}" level=info msg="ignoring event" container=1',
            f'time="{_stamp(_BEGAN + 1)}" level=warning msg="with s3cret"',
            "  and more",
        ]
    )
    report = Report("main", cast(Any, _Recorder()), _TEST, _BEGAN, 20, Secrets(["s3cret"]), {})
    ((title, text),) = report.sections(log, lambda: "")

    assert title == "dind log of daemon 'main' since the test began"
    assert text == f'time="{_stamp(_BEGAN + 1)}" level=warning msg="with ***"\n  and more\n'


def test_nodes_of_a_cluster() -> None:
    """A node that runs has no section: of the cluster others tell; one that has ended has one."""
    recorder = _Recorder(
        _seen("server", is_node=True, started=_BEGAN + 1),
        _seen("agent1", is_node=True, started=_BEGAN + 1, ended=_BEGAN + 2, exit_code=137),
        _seen("web", started=_BEGAN + 1),
    )
    titles = [title for title, _ in _report(recorder)]
    assert [title for title in titles if "'server'" in title] == []
    assert [title.split("'")[1] for title in titles if "container" in title] == ["agent1", "web"]


def test_container_that_is_there() -> None:
    """Its state, where it is reached, its health checks, its log, and what it was waited for."""
    details = _details(
        Health={
            "Status": "unhealthy",
            "Log": [{"ExitCode": code, "Output": f"check {code}\n"} for code in range(5)],
        }
    )
    details["NetworkSettings"] = {
        "Networks": {"front": {}, "back": {}},
        "Ports": {
            "80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "32768"}],
            "81/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8081"}],
            "82/tcp": None,
        },
    }
    details["Mounts"] = [
        {"Type": "bind", "Source": "/here", "Destination": "/there"},
        {"Type": "volume", "Source": "/var/lib/docker/volumes/v", "Destination": "/data"},
    ]
    recorder = _Recorder(
        _seen(started=_BEGAN + 1), details={"web": details}, log=b"one\ntwo\nthe s3cret\n"
    )
    title, text = _report(recorder, "s3cret", web="is healthy")[0]

    assert title == "dind log of container 'web' (some:1), running, unhealthy"
    assert text.splitlines() == [
        "Made by the test. It is running, unhealthy.",
        "It was waited for until it is healthy, in vain.",
        "Networks: front, back.",
        "Port 80/tcp is published on 127.0.0.1:32768, on the loopback of the daemon's own "
        "container alone.",
        "Port 81/tcp is published on 0.0.0.0:8081.",
        "/there is /here as the daemon sees it.",
        *(f"Health check, exit code {code}: check {code}" for code in (2, 3, 4)),
        "Its last log lines:",
        "two",
        "the ***",
    ]


def test_container_that_is_gone() -> None:
    """What the recorder has kept of it: its exit code, its health checks and its log."""
    log: Any = SimpleNamespace(result=lambda seconds: (b"last words\n", False, ""))
    seen = _seen(
        started=_BEGAN + 1,
        ended=_BEGAN + 2,
        exit_code=137,
        is_oom=True,
        is_gone=True,
        health=[{"ExitCode": 1, "Output": "refused"}],
        log=log,
    )
    title, text = _report(_Recorder(seen))[0]

    state = "exited with code 137, killed for want of memory (OOM), removed"
    assert title == f"dind log of container 'web' (some:1), {state}"
    assert text.splitlines() == [
        f"Made by the test. It has {state}.",
        "Health check, exit code 1: refused",
        "Its last log lines:",
        "last words",
    ]


@pytest.mark.parametrize(
    ("is_gone", "told"),
    [(True, "Its log was gone before it could be read: no"), (False, "Its log can't be had: no")],
)
def test_log_that_can_not_be_had(*, is_gone: bool, told: str) -> None:
    """Why there is none is told: the daemon's words, and whether the container went with it."""
    log: Any = SimpleNamespace(result=lambda seconds: (b"", False, "no"))
    seen = _seen(started=_BEGAN + 1, ended=_BEGAN + 2, exit_code=0, is_gone=is_gone, log=log)
    assert _report(_Recorder(seen))[0][1].splitlines()[-1] == told


@pytest.mark.parametrize(
    ("state", "log", "told"),
    [
        ({"Status": "exited", "ExitCode": 0}, b"", "It has exited with code 0."),
        (
            {"Status": "exited", "ExitCode": 137, "OOMKilled": True},
            b"",
            "killed for want of memory",
        ),
        ({"Status": "created", "Error": "port is allocated"}, b"", "The engine says: port is"),
        ({"Health": {"Status": "starting"}}, b"", "It is running, not healthy yet."),
        ({}, b"", "It has written nothing."),
        ({}, b"\x01\0\0\0\0\0\0\x04\xff\0x\n", "\\xff\\x00x"),
    ],
)
def test_states(state: Any, log: bytes, told: str) -> None:
    """What the engine says of a container."""
    seen = _seen(started=_BEGAN + 1)
    recorder = _Recorder(seen, details={"web": _details(**state)}, log=log)
    assert told in _report(recorder)[0][1]


@pytest.mark.parametrize(
    ("maker", "is_known", "told"),
    [
        (_TEST, True, "Made by the test. "),
        ("", True, "Made by a fixture of a wider scope. "),
        (None, True, "Made before the first test. "),
        (_TEST, False, "Made by the test, or at that time by another process that uses the "),
    ],
)
def test_makers(maker: str | None, is_known: bool, told: str) -> None:
    """Whose a container is, as far as that is known."""
    seen = _seen(maker=maker, is_known=is_known)
    assert _report(_Recorder(seen))[0][1].startswith(told)


def test_other_tests_containers() -> None:
    """They have no section."""
    titles = [title for title, _ in _report(_Recorder(_seen(maker="t.py::test_other")))]
    assert titles == ["dind events of daemon 'main' since the test began"]


def test_many_containers() -> None:
    """Those that went wrong have sections; what is left out is told."""
    many = [_seen(f"c{number}", ended=_BEGAN, exit_code=int(number == 3)) for number in range(50)]
    sections = _report(_Recorder(*many))

    containers = [title for title, _ in sections if "container" in title]
    assert len(containers) == 12
    assert any("'c3'" in title for title in containers)
    assert "38 more containers have no section of their own.\n" in sections[-1][1]
    assert "10 earlier events are left out.\n" in sections[-1][1]
    assert sections[-1][1].endswith("container c49\n")


def test_gap() -> None:
    """Where the events broke off, the report says for how long."""
    began = time.mktime((2026, 1, 1, 12, 0, 0, 0, 0, -1))
    ((_, text),) = _report(_Recorder(gaps=[Gap(began, began + 1.5)]))
    assert text.startswith("The events broke off from 12:00:00.000 to 12:00:01.500, as when the ")


def test_no_lines() -> None:
    """With no lines of logs, the states are there."""
    seen = _seen(started=_BEGAN + 1)
    recorder = _Recorder(seen, details={"web": _details()}, log=b"one\n")
    assert _report(recorder, lines=0)[0][1] == "Made by the test. It is running.\n"


def test_why_it_failed() -> None:
    """A container that failed has its known cause; one that runs has none, whatever it wrote."""
    details = {
        "bad": {"State": {"Status": "exited", "ExitCode": 1}, "Path": "serve"},
        "good": {"State": {"Status": "running"}},
    }
    bad, good = _seen("bad", ended=_BEGAN + 3, exit_code=1), _seen("good", started=_BEGAN + 2)
    told = _report(_Recorder(bad, good, details=details, log=b"exec format error\n"))

    (of_bad, of_good, _) = (text for _, text in told)
    assert "It has exited with code 1.\nKnown cause: An image is for another platform" in of_bad
    assert "\nIt runs: serve\n" in of_bad
    assert "Known cause" not in of_good


def test_daemon_that_does_not_answer() -> None:
    """Its section says so, where it has logged nothing too."""
    recorder = _Recorder()
    recorder.is_there = False
    ((title, text),) = _report(recorder)
    assert title.startswith("dind log of daemon 'main'")
    assert text == "The daemon does not answer any more.\n"


@pytest.mark.parametrize("said", ["before", "since"])
def test_daemon_that_has_ended(said: str) -> None:
    """How it ended, when, and what it logged last: before the test, if nothing since."""
    recorder = _Recorder(_seen(started=_BEGAN + 1))
    recorder.is_there = False
    report = Report("main", cast(Any, recorder), _TEST, _BEGAN, 2, Secrets(["s3cret"]), {})
    at = _BEGAN + (-1 if said == "before" else 1)
    log = f'one\ntime="{_stamp(at)}" level=info msg="API of s3cret"\npanic: it is broken\n'
    ended = time.strftime("%H:%M:%S", time.localtime(_BEGAN + 2.5))
    (title, text), (container, _), _ = report.sections(log, lambda: "It left no exit code.")

    assert title == "dind log of daemon 'main' since the test began, which has ended"
    assert text.splitlines() == [
        f"The daemon ended at {ended}.500. It left no exit code.",
        *(["Its last log lines:"] if said == "before" else []),
        f'time="{_stamp(at)}" level=info msg="API of ***"',
        "panic: it is broken",
    ]
    assert container.endswith("(some:1), running, as far as is known")


def test_container_that_waits() -> None:
    """One that was never started is told as such, with what Compose waits for."""
    labels = {"com.docker.compose.depends_on": "db:service_healthy:false"}
    details = {"web": {"State": {"Status": "created"}, "Config": {"Labels": labels}}}
    (title, text), _ = _report(_Recorder(_seen(), details=details))
    assert title.endswith(", created, never started")
    assert "Compose starts it after db (service_healthy).\n" in text
