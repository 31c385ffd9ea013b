"""The tables that are made of the conformance suite's runs, and how an engine is described."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_dind.conformance import examination, table
from pytest_dind.conformance.examination import Examined, Outcome
from pytest_dind.engine.engine import Engine

from ..support import Answer, FakeEngine

_FOUND = (
    Examined("Docker 1", "dind", (Outcome("A runs", "passed"), Outcome("B runs", "passed"))),
    Examined(
        "Docker 1", "socket", (Outcome("A runs", "skipped"), Outcome("B runs", "failed", "a|b"))
    ),
)


def test_text() -> None:
    """A terminal gets a line for each test, a column for each mode, and the causes."""
    assert list(table.text(_FOUND)) == [
        "Docker 1",
        "          dind  socket",
        "A runs     yes       -",
        "B runs     yes      NO",
        "mode socket: B runs: a|b",
    ]


def test_markdown() -> None:
    """The documentation gets a row for each engine and mode; a cause of several is told once."""
    outcomes_of = {"A": "x", "B": "y", "C": "x"}
    some = tuple(Outcome(f"{name} runs", "failed", why) for name, why in outcomes_of.items())
    partly = Examined("Docker 3", "dind", (Outcome("D runs", "passed"), *some))
    all_failed = tuple(Outcome(f"{name} runs", "failed", "no engine") for name in "AB")
    assert list(table.markdown([*_FOUND, Examined("Podman 2", "dind", all_failed), partly]))[
        2:
    ] == [
        "| Docker 1 | dind | 2 of 2 |  |",
        "| Docker 1 | socket | 0 of 1 | B runs: a\\|b |",
        "| Podman 2 | dind | 0 of 2 | no engine |",
        "| Docker 3 | dind | 1 of 4 | A runs; C runs: x<br>B runs: y |",
    ]


def test_read() -> None:
    """What was written as JSON is read again."""
    assert tuple(map(Examined.read, examination.data(_FOUND))) == _FOUND


@pytest.mark.parametrize(
    ("version", "info", "is_podman", "described"),
    [
        (
            "26.1.5+dfsg1",
            {"SecurityOptions": ["name=rootless", "name=cgroupns"], "CgroupVersion": "2"},
            False,
            "Docker 26.1.5 (rootless, cgroup v2)",
        ),
        (
            "28.5.2",
            {
                "SecurityOptions": ["name=userns"],
                "DriverStatus": [["driver-type", "io.containerd.snapshotter.v1"]],
            },
            False,
            "Docker 28.5.2 (userns-remap, containerd store, cgroup v1)",
        ),
        ("5.4", {"CgroupVersion": "2"}, True, "Podman 5.4 (cgroup v2)"),
    ],
)
def test_description(
    short_path: Path, version: str, info: object, is_podman: bool, described: str
) -> None:
    """An engine's row says its product, its version, and what is special about it."""
    answers = {"GET /version": Answer(body={"Version": version}), "GET /info": Answer(body=info)}
    if is_podman:
        answers["GET /libpod/_ping"] = Answer()
    with FakeEngine(short_path / "e", answers) as fake:
        assert examination.describe(Engine(fake.host)) == described
