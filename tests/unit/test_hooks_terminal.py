"""What the summary says of daemons."""

from __future__ import annotations

import dataclasses
import os
import threading
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_dind.backends.protocol import Record
from pytest_dind.engine.steps import MEANWHILE, Going
from pytest_dind.hooks import live
from pytest_dind.hooks.terminal import Progress, Told, shortened, summary, unread_apis
from pytest_dind.lifetime import layout
from pytest_dind.lifetime.layout import Home


def _record(id_: str, **more: Any) -> Record:
    home = Home(Path("/h/0123abcd/main"))
    fields: dict[str, Any] = dict.fromkeys(["host", "address"], "") | {"api_version": "1.51"}
    return Record(
        mode="dind", home=home, id=id_, published=(), version="1", driver="overlay2",
        user_namespace=False, seconds=0.5, **{**fields, **more},
    )  # fmt: skip


def _config(manager: object, verbosity: int = 0) -> Any:
    return SimpleNamespace(option=SimpleNamespace(verbose=verbosity), pluginmanager=manager)


def test_daemons_that_took_equally_long() -> None:
    """What is said of a daemon is told by its id, whoever says it, and however alike they are."""
    one, two = summary([], [_record("a"), _record("b")], [])

    assert one != two
    assert (
        one[1] == two[1] == ("dind: daemon 'main' ready in 0.50 s (mode dind, Docker 1, overlay2)")
    )
    assert summary([], [_record("a")], []) == [one]


def test_pull_is_told_apart() -> None:
    """What was pulled for a daemon is told beside its start, and only where something was."""
    told = summary([], [_record("a", pulled=71.5)], [])

    assert told == [
        (
            "a",
            "dind: daemon 'main' pulled in 71.50 s, ready in 0.50 s "
            "(mode dind, Docker 1, overlay2)",
        )
    ]


def test_newer_apis() -> None:
    """An engine or daemon whose API is newer than the plugin knows is told of, no other is."""
    outer = {"unix:///old": "1.41", "unix:///new": "1.99"}
    used = [_record("a", api_version="1.51"), _record("b", api_version="1.98")]

    assert unread_apis(outer, used) == [
        (
            "",
            "dind: the outer engine at unix:///new: API 1.99 is newer than the newest that is "
            "known, 1.57",
        ),
        ("b", "dind: daemon 'main': API 1.98 is newer than the newest that is known, 1.57"),
    ]


def test_lines_of_another_thread() -> None:
    """A line of another thread waits for the next of the main thread, or for the summary."""
    printed: list[str] = []
    plugins = {"terminalreporter": SimpleNamespace(write_line=printed.append, isatty=False)}
    manager = SimpleNamespace(get_plugin=plugins.get, hasplugin=plugins.__contains__)
    config = _config(manager)
    progress = Progress(config)

    def from_another_thread(text: str) -> None:
        thread = threading.Thread(target=progress, args=[text])
        thread.start()
        thread.join()

    from_another_thread("one")
    assert printed == []
    progress("two")
    assert printed == ["dind: one", "dind: two"]
    from_another_thread("three")
    assert progress.pending() == ["dind: three"]
    assert progress.pending() == []
    assert printed == ["dind: one", "dind: two"]


_KEPT = "dind: kept a\n  export A=b\n  rm a"


def _ready(number: int) -> list[Told]:
    return [(f"{one}", f"dind: daemon {one}") for one in range(number)]


@pytest.mark.parametrize(
    ("told", "lines"),
    [
        (_ready(5), [f"dind: daemon {one}" for one in range(5)]),
        (
            _ready(200),
            [*(f"dind: daemon {one}" for one in range(4)), "dind: and 196 more, -v tells all"],
        ),
        # A line of the run comes first, then what leads to a daemon that stays.
        (
            [("", "dind: auto"), *_ready(3), ("0", _KEPT), ("1", _KEPT)],
            ["dind: auto", *_KEPT.splitlines(), "dind: and 4 more, -v tells all"],
        ),
        ([*_ready(2), ("0", _KEPT)], ["dind: daemon 0", "dind: daemon 1", *_KEPT.splitlines()]),
    ],
    ids=["five", "many", "kept", "kept-one"],
)
def test_summary_of_five_lines(told: list[Told], lines: list[str]) -> None:
    """However many daemons there are, five lines are printed; a verbose run tells all."""
    assert shortened(told, verbose=False) == lines
    assert shortened(told, verbose=True) == [line for _, text in told for line in text.splitlines()]


def test_said_twice() -> None:
    """What two workers say of one daemon is one line, and counts as one."""
    assert shortened(_ready(5) * 2, verbose=False) == [f"dind: daemon {one}" for one in range(5)]


class _Screen:
    """A pytest of which the printed lines are seen."""

    def __init__(self, verbosity: int = 0, plugins: Mapping[str, object] | None = None) -> None:
        self.lines: list[str] = []
        reporter = SimpleNamespace(write_line=self.lines.append, isatty=False)
        plugins = {"terminalreporter": reporter, **(plugins or {})}
        manager = SimpleNamespace(get_plugin=plugins.get, hasplugin=plugins.__contains__)
        self.config = _config(manager, verbosity)


def test_start_in_another_thread() -> None:
    """While the main thread waits for another, what that tells is printed, and each once."""
    screen = _Screen()
    progress = Progress(screen.config)

    def tell() -> None:
        progress("pulled a")
        progress(Going("starting", is_waited_for=False))

    thread = threading.Thread(target=tell)
    thread.start()
    thread.join()
    assert screen.lines == []
    progress(MEANWHILE)
    progress(MEANWHILE)
    assert sorted(screen.lines) == ["dind: pulled a", "dind: starting"]
    assert progress.pending() == []


def test_quiet_run() -> None:
    """Under `-q -q` nothing is printed, and nothing is left for the summary."""
    screen = _Screen(verbosity=-2)
    progress = Progress(screen.config)
    for text in ("pulled a", Going("starting", 5), MEANWHILE):
        progress(text)

    assert screen.lines == progress.pending() == []
    assert not progress.is_live


class _Channel:
    """Both ends of a channel."""

    def __init__(self) -> None:
        self.setcallback: Any = lambda callback: setattr(self, "send", callback)
        self.send: Any = None


def test_workers_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a worker waits for is written by the process that has it, below what that has begun.

    A child that it forks keeps off the way there.
    """
    written: list[str] = []
    reporter = SimpleNamespace(write_line=written.append, isatty=True)
    plugins = {"terminalreporter": reporter, "dsession": object()}
    manager = SimpleNamespace(get_plugin=plugins.get, hasplugin=plugins.__contains__)
    config = _config(manager)
    terminal = SimpleNamespace(width_of_current_line=3, line=lambda: written.append(""))
    config.get_terminal_writer = lambda: terminal
    gateway = SimpleNamespace(id="gw0", newchannel=_Channel)
    node = SimpleNamespace(config=config, gateway=gateway, workerinput={})
    live.hear(node)
    nothing = SimpleNamespace(get_plugin={}.get, hasplugin={}.__contains__)
    worker = _config(nothing)
    worker.workerinput = node.workerinput
    progress = Progress(worker)
    progress(Going("starting", 2))
    progress("pulled a")
    monkeypatch.setattr(os, "getpid", lambda: -1)
    progress("pulled b")

    assert written == ["", "[gw0] dind: starting", "", "[gw0] dind: pulled a"]
    assert progress.pending() == []
    assert not progress.is_live


def test_process_that_has_workers() -> None:
    """What a thread tells is printed at once, if asked for: workers wait for it."""
    screen = _Screen(plugins={"dsession": object()})
    screen.config.get_terminal_writer = lambda: SimpleNamespace(width_of_current_line=0)
    progress = Progress(screen.config)
    for text, at_once in (("pulled a", True), ("pulled b", False)):
        thread = threading.Thread(target=partial(progress, at_once=at_once), args=[text])
        thread.start()
        thread.join()

    assert screen.lines == ["dind: pulled a"]
    assert progress.pending() == ["dind: pulled b"]


def test_rich_reporter() -> None:
    """Where pytest-rich reports, its console prints the lines, and nothing is written over."""
    printed: list[str] = []
    console = SimpleNamespace(out=lambda text, highlight: printed.append(text))
    plugins = {"rich-terminal-reporter": SimpleNamespace(console=console)}
    manager = SimpleNamespace(get_plugin=plugins.get, hasplugin=plugins.__contains__)
    config = _config(manager)
    progress = Progress(config)
    progress("pulled a")

    assert printed == ["dind: pulled a"]
    assert not progress.is_live


@pytest.mark.parametrize(
    ("isatty", "term", "workers", "expected"),
    [
        (True, "xterm", False, True),
        (False, "xterm", False, False),
        (True, "dumb", False, False),
        (True, "xterm", True, False),
    ],
)
def test_where_a_line_is_written_over(
    monkeypatch: pytest.MonkeyPatch, *, isatty: bool, term: str, workers: bool, expected: bool
) -> None:
    """That is on a terminal which can do it, and on which xdist does not do so itself."""
    monkeypatch.setenv("TERM", term)
    plugins: dict[str, Any] = {"terminalreporter": SimpleNamespace(isatty=isatty)}
    plugins |= {"dsession": object()} if workers else {}
    manager = SimpleNamespace(get_plugin=plugins.get, hasplugin=plugins.__contains__)
    config: Any = SimpleNamespace(pluginmanager=manager)

    assert live.fits(config) is expected


@pytest.mark.parametrize(
    ("text", "columns", "shown"),
    [
        ("dind: pulling a", 15, "dind: pulling a"),
        ("dind: pulling a", 14, "dind: pulli..."),
        ("dind: pulling a", 1, "dind: p..."),
        ("RUN \x1b[31mred\t1", 80, "RUN  [31mred 1"),
        ("\u6f22" * 10, 12, "\u6f22" * 4 + "..."),
    ],
)
def test_line_is_cut(text: str, columns: int, shown: str) -> None:
    """A line fits into the terminal, whatever a build writes."""
    assert live.cut(text, columns) == shown


def test_kept_cluster(tmp_path: Path) -> None:
    """Of a Kubernetes cluster that stays it is said how kubectl finds it."""
    record = dataclasses.replace(_record("1"), home=Home(tmp_path / "k8s"))
    record.home.path.mkdir()
    kubeconfig = record.home.path / layout.KUBECONFIG
    kubeconfig.touch()
    ((_, text),) = summary((), (), [record])

    name = record.home.label
    assert text.splitlines() == [
        f"dind: kept {name}, a Kubernetes cluster; to use it, and to remove it:",
        f"  export KUBECONFIG={kubeconfig}",
        f"  python -m pytest_dind rm {name}",
    ]


def test_kept_swarm(tmp_path: Path) -> None:
    """The nodes of a swarm are told of together, since they are used and removed together."""
    kept = []
    for name in ("main", "swarm1-node1", "swarm1-node2"):
        home = Home(tmp_path / "0123abcd" / name)
        home.path.mkdir(parents=True)
        if name != "main":
            (home.path / layout.CLUSTER).write_text('{"kind": "swarm"}')
        kept.append(dataclasses.replace(_record(name), home=home))
    main, (id_, nodes) = summary([], [], kept)
    label = "pytest-dind-0123abcd-swarm1-node"
    assert main[1].endswith("rm pytest-dind-0123abcd-main")
    assert id_ == "swarm1-node1"
    first, _, remove = nodes.splitlines()
    assert first == f"dind: kept {label}1 and 1 more, a swarm; to use it, and to remove it:"
    assert remove == f"  python -m pytest_dind rm {label}1 {label}2"
