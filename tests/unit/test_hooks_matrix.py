"""Several images in one run: names, what a marker may say, room for a daemon, and the table."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pytest_dind import DindError, Settings, SettingsError
from pytest_dind.daemon.handle import Daemon
from pytest_dind.engine import meminfo
from pytest_dind.hooks import matrix
from pytest_dind.settings import MAIN


@pytest.mark.parametrize(
    ("images", "names"),
    [
        (["docker:26-dind", "docker:28-dind"], ["docker-26", "docker-28"]),
        (["docker:dind", "docker"], ["docker-dind", "docker"]),
        (["r:5000/a/engine:1.2", "r:5000/engine"], ["engine-1.2", "engine"]),
        ([f"docker@sha256:{'0123456789abcdef' * 4}"], ["docker-0123456789ab"]),
        ([f"docker:28-dind@sha256:{'0' * 64}"], ["docker-28"]),
        # Those that are the same stay whole, the others short.
        (["docker:28-dind", "a/docker:28", "docker:29"], ["docker:28-dind", "a/docker:28"]),
    ],
)
def test_short_names(images: list[str], names: list[str]) -> None:
    """The last part of the repository and the tag without `-dind`, where that is unique."""
    assert matrix.short_names(images)[: len(names)] == names


@pytest.mark.parametrize(
    "image",
    ["docker:28-dind", "x/" + "a" * 80, "r:5000/a_b.c:1.2_RC", "a__b", f"d@sha256:{'a' * 64}"],
)
@pytest.mark.parametrize("reuse", ["", "a", "Name_of-22-letters_max"])
def test_names_of_daemons(image: str, reuse: str) -> None:
    """Each image's daemon has a name of its own that is short and valid, for reuse too."""
    settings = Settings(mode="dind", image="other", reuse=reuse)
    found, name = matrix.of(settings, image, "other")

    assert found.image == image
    assert re.fullmatch(r"[a-z0-9][a-z0-9-]{0,21}", name)
    # It was validated as it was set; another image has another one.
    assert bool(found.reuse) == bool(reuse)
    assert found.reuse != reuse or not reuse
    other, other_name = matrix.of(settings, f"z{image}", "other")
    assert other_name != name
    assert other.reuse != found.reuse or not reuse


def test_main_daemon() -> None:
    """The first image of the options has the daemon that tests without parameter have."""
    settings = Settings(mode="dind", image="a:1", reuse="mine")
    assert matrix.of(settings, "a:1", "a:1") == (settings, MAIN)
    # A dind_config of the suite's own that has another image: its daemon is another one.
    assert matrix.of(settings, "b:1", "b:1")[1] != MAIN
    assert matrix.of(settings, "a:1", "b:1")[1] != MAIN


def test_socket() -> None:
    """The outer engine is of one version: the error says how to skip or to run the test."""
    with pytest.raises(SettingsError) as caught:
        matrix.of(Settings(mode="socket"), "docker:28-dind", "docker:dind")
    assert str(caught.value) == (
        "Tests can't run on the image 'docker:28-dind' in mode socket.\n"
        "Evidence:\n"
        "  There they use the outer engine itself, which is of one version.\n"
        "To fix this, either:\n"
        "  - Choose another mode: --dind-mode=auto.\n"
        "  - Have the tests skipped in this mode: @pytest.mark.requires_isolation."
    )


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((), "one image or more"),
        ((["a", "b"],), "['a', 'b'] is not a text"),
        (("a", 28), "28 is not a text"),
        (("a", ""), "--dind-image: '' is not a valid value"),
    ],
)
def test_bad_markers(arguments: tuple[Any, ...], text: str) -> None:
    """What is no image is told."""
    assert text in matrix.problem(pytest.mark.dind_images.with_args(*arguments).mark)


def test_good_marker() -> None:
    """One image is enough."""
    assert matrix.problem(pytest.mark.dind_images.with_args("docker:28-dind").mark) == ""


@pytest.mark.parametrize(
    ("said", "short"),
    [
        ("MemTotal: 9 kB\nMemAvailable:  307199 kB\n", True),
        ("MemTotal: 9 kB\nMemAvailable:  307200 kB\n", False),
        ("", False),
        (DindError("Gone.", evidence="seen", remedy=["none"]), False),
        (subprocess.TimeoutExpired("cat", 10), False),
    ],
)
def test_room(said: str | Exception, short: bool) -> None:
    """Memory is short below what a daemon needs; what isn't known holds up no daemon."""

    def execute(command: list[str], **options: object) -> SimpleNamespace:
        assert command == ["cat", "/proc/meminfo"]
        if isinstance(said, Exception):
            raise said
        return SimpleNamespace(stdout=said)

    record = SimpleNamespace(is_unshared=True)
    daemon = cast("Daemon", SimpleNamespace(exec=execute, record=record))
    assert matrix.is_short_of_memory(daemon) is short


@pytest.mark.parametrize("short", [True, False])
def test_room_on_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, short: bool) -> None:
    """A daemon of this machine need not be asked."""
    path = tmp_path / "meminfo"
    path.write_text(f"MemAvailable:  {307200 - short} kB\n")
    monkeypatch.setattr(meminfo, "PATH", path)
    daemon = cast("Daemon", SimpleNamespace(record=SimpleNamespace(is_unshared=False)))
    assert matrix.is_short_of_memory(daemon) is short


def _reports(*engines: tuple[str, ...]) -> list[SimpleNamespace]:
    return [SimpleNamespace(dind_engine=(*engine, "test_it")[:3]) for engine in engines]


def test_table() -> None:
    """A row an image, those of the options first; errors count as failed."""
    old, new, odd = ("d:26", "26.1.5"), ("d:28", ""), ("a", "")
    stats: dict[str, list[Any]] = {
        "passed": [*_reports(new, ("d:28", "28.5.2"), old), SimpleNamespace()],
        "failed": _reports(old),
        "error": _reports(old),
        "skipped": _reports(odd),
        "deselected": [object()],
    }
    assert matrix.tables(stats, ["d:28", "d:26", "unused"], verbose=False)[:4] == [
        "dind: engine  Docker  passed  failed  skipped",
        "dind: d:28    28.5.2       2       0        0",
        "dind: d:26    26.1.5       1       2        0",
        "dind: a       ?            0       0        1",
    ]
    assert matrix.tables({"xpassed": _reports(new)}, [], verbose=False) == [
        "dind: engine  Docker  passed  failed  skipped  xpassed",
        "dind: d:28    ?            0       0        0        1",
    ]


def test_table_of_tests() -> None:
    """A row a test: those that failed on one engine and not on all; of a verbose run each one."""
    stats = {
        "passed": _reports(
            ("d:26", "26", "t.py::a"), ("d:28", "28", "t.py::a"),
            ("d:28", "28", "t.py::b"), ("d:28", "28", "t.py::clean_up[1]"),
            ("d:26", "26", "t.py::only"),
        ),
        "failed": _reports(("d:26", "26", "t.py::b"), ("d:26", "26", "t.py::all")),
        # The second is a test that passed, and whose fixture failed at its end.
        "error": _reports(("d:28", "28", "t.py::all"), ("d:28", "28", "t.py::clean_up[1]")),
        "skipped": _reports(("d:26", "26", "t.py::clean_up[1]")),
    }  # fmt: skip
    images = ["d:26", "d:28"]
    assert matrix.tables(stats, images, verbose=False)[3:] == [
        "dind: failed on some     d:26     d:28",
        "dind: t.py::b            failed   passed",
        "dind: t.py::clean_up[1]  skipped  failed",
    ]
    assert matrix.tables(stats, images, verbose=True)[3:] == [
        "dind: test               d:26     d:28",
        "dind: t.py::a            passed   passed",
        "dind: t.py::all          failed   failed",
        "dind: t.py::b            failed   passed",
        "dind: t.py::clean_up[1]  skipped  failed",
        "dind: t.py::only         passed   -",
    ]
    many = [(f"t.py::{i:02}", image) for i in range(22) for image in images]
    failed = _reports(*((image, "", test) for test, image in many if image == "d:26"))
    passed = _reports(*((image, "", test) for test, image in many if image == "d:28"))
    lines = matrix.tables({"failed": failed, "passed": passed}, images, verbose=False)
    assert lines[-2:] == [
        "dind: t.py::19        failed  passed",
        "dind: and 2 more, which -v shows",
    ]


@pytest.mark.parametrize(
    ("nodeid", "expected"),
    [
        ("t.py::test_it[docker-26]", "t.py::test_it"),
        ("t.py::test_it[docker-26-1]", "t.py::test_it[1]"),
        ("t.py::test_it[a-docker-26-1]", "t.py::test_it[a-1]"),
        ("t.py::test_it[a-docker-26]", "t.py::test_it[a]"),
        ("t.py::test_it", "t.py::test_it"),
    ],
)
@pytest.mark.parametrize("marked", [False, True])
def test_names_of_tests(nodeid: str, expected: str, marked: bool) -> None:
    """A test's id without the image's short name is the same on each engine."""
    images = ["docker:26-dind", "docker:28-dind"]
    mark = pytest.mark.dind_images.with_args(*images).mark if marked else None
    item = cast("pytest.Item", SimpleNamespace(nodeid=nodeid, get_closest_marker=lambda _: mark))
    found = matrix.without_image(item, images[0], ["docker:dind"] if marked else images)
    assert found == expected


def test_no_table() -> None:
    """A run on one image has none."""
    assert matrix.tables({"passed": [SimpleNamespace()]}, ["d:28"], verbose=True) == []
