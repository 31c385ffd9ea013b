"""Which mode is in force, and what the processes of a run tell each other of it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from pytest_dind import DaemonExited, ModeUnavailable, Settings
from pytest_dind.backends import protocol, records, registry
from pytest_dind.backends.protocol import Record
from pytest_dind.backends.registry import Choice, Obstacle, choose
from pytest_dind.hooks import terminal
from pytest_dind.lifetime import layout
from pytest_dind.lifetime.layout import LEASE, STATE, Home
from pytest_dind.lifetime.lease import Lease
from pytest_dind.runs import modes
from pytest_dind.runs import run as run_module
from pytest_dind.runs import starter as starter_module
from pytest_dind.settings import AUTO, MODES

_DOWN = Obstacle("the services are down", "connection refused", ("Start them.", "Do without."))

_Judge = Callable[[str], "Obstacle | None"]


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> Callable[[_Judge], list[str]]:
    """Have modes judged by a function; gives the modes that were, as they are."""

    def replace(judge: _Judge) -> list[str]:
        asked: list[str] = []

        def check(mode: str, engine: object, probe: object) -> Obstacle | None:
            asked.append(mode)
            return judge(mode)

        monkeypatch.setattr(registry, "check", check)
        return asked

    return replace


Judged = Callable[[_Judge], "list[str]"]


def test_auto_takes_the_most_isolated(judged: Judged) -> None:
    """Where Sysbox works, `auto` takes it, and looks no further."""
    asked = judged(lambda mode: None)

    assert choose(AUTO, Mock(), Mock()) == Choice("sysbox", "a container proved that it works")
    assert asked == ["sysbox"]


def test_auto_says_what_it_would_have_taken(judged: Judged) -> None:
    """Where it doesn't, `auto` takes dind, because of what stands in Sysbox's way."""
    asked = judged(lambda mode: _DOWN if mode == "sysbox" else None)

    assert choose(AUTO, Mock(), Mock()) == Choice("dind", "the services are down")
    assert asked == ["sysbox", "dind"]


def test_auto_never_takes_socket(judged: Judged) -> None:
    """Where nothing else works, `auto` gives up, with each cause, instead of taking `socket`."""
    asked = judged(lambda mode: Obstacle(f"no {mode}", "", ()))
    choice = choose(AUTO, Mock(), Mock())

    assert "socket" not in asked
    assert choice.obstacle is not None
    assert choice.obstacle.evidence.splitlines() == [f"no {mode}" for mode in asked]
    assert "doctor" in choice.obstacle.remedy[0]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("obstacle", [None, _DOWN], ids=["works", "doesn't"])
def test_mode_that_is_asked_for(judged: Judged, mode: str, obstacle: Obstacle | None) -> None:
    """A mode by its name is judged alone: it, or its obstacle, and no reason is needed."""
    asked = judged(lambda mode: obstacle)

    assert choose(mode, Mock(), Mock()) == Choice(mode, "", obstacle)
    assert asked == [mode]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[run_module.Run]:
    """A run of this process, on no engine."""
    run = run_module.Run.join(tmp_path, print)
    yield run
    run.close()


def test_choice_is_made_once(judged: Judged, run: run_module.Run) -> None:
    """A run asks once for the same settings; what a daemon is told doesn't matter, its image does.

    Sysbox's own answer may depend on the image.
    """
    asked = judged(lambda mode: None)
    first = run.choice(Settings())

    assert run.choice(Settings()) is first
    assert run.choice(Settings(timeout=1, arg=("--debug",), require=("all",))) is first
    assert asked == ["sysbox"]
    run.choice(Settings(image="x"))
    run.choice(Settings(mode="dind"))
    run.choice(Settings(host="unix:///x"))
    assert asked == ["sysbox", "sysbox", "dind", "sysbox"]


def test_choice_is_shared(judged: Judged, run: run_module.Run, tmp_path: Path) -> None:
    """Another process of the run takes the answer over, an obstacle too, and asks nothing."""
    asked = judged(lambda mode: _DOWN if mode == "sysbox" else None)
    choice = run.choice(Settings())
    with pytest.raises(ModeUnavailable) as first:
        run.choice(Settings(mode="sysbox"))
    assert asked == ["sysbox", "dind", "sysbox"]

    other = run_module.Run.join(tmp_path, print)
    try:
        assert other.choice(Settings()) == choice
        with pytest.raises(ModeUnavailable) as second:
            other.choice(Settings(mode="sysbox"))
    finally:
        other.close()
    assert str(second.value) == str(first.value)
    assert asked == ["sysbox", "dind", "sysbox"]


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a daemon's start be the proof of mode sysbox."""
    monkeypatch.setattr(modes, "proved_by_start", lambda mode, engine: mode == "sysbox")


@pytest.mark.usefixtures("shown")
def test_daemon_is_the_proof(judged: Judged, run: run_module.Run, tmp_path: Path) -> None:
    """A mode that its daemon proves isn't tried before; what was proved is known to all."""
    asked = judged(lambda mode: None)

    tentative = run.choice(Settings(mode="sysbox"), proved=False)
    assert tentative == Choice("sysbox")
    assert run.choice(Settings(mode="sysbox"), proved=False) is tentative, (
        "the engine is asked once"
    )
    assert run.choice(Settings(mode="dind"), proved=False) == Choice("dind")
    assert asked == ["dind"]
    run.confirm(Settings(mode="sysbox"))
    other = run_module.Run.join(tmp_path, print)
    try:
        assert other.choice(Settings(mode="sysbox")) == Choice("sysbox")
    finally:
        other.close()
    assert asked == ["dind"]


@pytest.mark.usefixtures("shown")
def test_proof_to_the_contrary(judged: Judged, run: run_module.Run) -> None:
    """What is known to stand in the way is said, also to who would leave it to the daemon."""
    judged(lambda mode: _DOWN)
    with pytest.raises(ModeUnavailable):
        run.choice(Settings(mode="sysbox"))
    with pytest.raises(ModeUnavailable):
        run.choice(Settings(mode="sysbox"), proved=False)
    run.confirm(Settings(mode="sysbox"))
    with pytest.raises(ModeUnavailable):
        run.choice(Settings(mode="sysbox"), proved=False)


def test_pull_for_a_look_into_a_container(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An image that is pulled to find out the mode was pulled for the first daemon that has it."""

    def choose(asked: str, engine: object, probe: registry.Probe) -> Choice:
        probe.pulled = 4
        return Choice("dind")

    def start(home: Home, *given: object) -> Record:
        known: dict[str, Any] = dict.fromkeys(Record.__dataclass_fields__, "")
        return Record(**{**known, "home": home, "id": home.name, "pulled": 1})

    monkeypatch.setattr(modes, "choose", choose)
    monkeypatch.setattr(starter_module, "backend", lambda mode, engine: Mock(start=start))
    engine = Mock(url="unix:///nowhere", elsewhere="")
    context: Any = Mock(directory=tmp_path, shared=tmp_path, root=tmp_path, progress=print)
    context.engine.return_value = engine
    found = modes.Modes(context)
    # Nothing to sweep: as if another start had done it.
    (tmp_path / "swept").touch()
    lease = Lease(tmp_path / LEASE)
    starter = starter_module.Starter(context, found)
    try:
        one = starter.start(Home(tmp_path / "one"), Settings(), pulled=2)
        two = starter.start(Home(tmp_path / "two"), Settings())
    finally:
        lease.release()

    assert (one.record.pulled, two.record.pulled) == (7, 1)
    assert records.read(one.record.home) is not None


def test_mode_that_is_not_available(judged: Judged, run: run_module.Run) -> None:
    """The error has the cause, what was seen, and every way on."""
    judged(lambda mode: _DOWN)
    with pytest.raises(ModeUnavailable) as caught:
        run.choice(Settings(mode="sysbox"))

    assert str(caught.value) == (
        "Mode sysbox is not available: the services are down.\n"
        "Evidence:\n"
        "  connection refused\n"
        "To fix this, either:\n"
        "  - Start them.\n"
        "  - Do without."
    )


def test_choices_that_failed_are_not_reported(judged: Judged, run: run_module.Run) -> None:
    """What a run reports at its end are modes in force; an obstacle was an error already."""
    judged(lambda mode: _DOWN if mode == "sysbox" else None)
    with pytest.raises(ModeUnavailable):
        run.choice(Settings(mode="sysbox"))
    run.choice(Settings())

    assert run.choices == [Choice("dind", "the services are down")]
    assert terminal.summary(run.choices, [], []) == [
        ("", "dind: auto: dind, because the services are down")
    ]


def test_report_of_a_mode_that_was_asked_for() -> None:
    """A mode by its name is told without a reason, and at the end not at all."""
    assert terminal.choice(Choice("dind")) == ["dind: mode dind"]
    assert terminal.summary([Choice("dind")], [], []) == []


def test_file_of_choices(tmp_path: Path) -> None:
    """Choices come back as they were written."""
    made = {"a": Choice("dind", "x"), "b": Choice("sysbox", obstacle=_DOWN)}
    modes.write(tmp_path, made)

    assert modes.read(tmp_path) == made


@pytest.mark.parametrize("content", [None, "", "{", '"x'])
def test_file_of_choices_that_cannot_be_read(tmp_path: Path, content: str | None) -> None:
    """Without a file, or with a broken one, nothing is known."""
    if content is not None:
        (tmp_path / layout.MODES).write_text(content)

    assert modes.read(tmp_path) == {}


def test_user_namespace_is_in_the_state(tmp_path: Path) -> None:
    """Whether a user namespace isolates a daemon is known to those who attach to it."""
    home = layout.Home(tmp_path / "main")
    home.path.mkdir()
    fields: dict[str, Any] = dict.fromkeys(
        ["id", "host", "address", "version", "api_version", "driver"], ""
    )
    record = protocol.Record(
        mode="sysbox", home=home, published=(), user_namespace=True, seconds=1, **fields
    )
    records.write(record, Settings())
    found = records.read(home)
    assert found is not None
    assert found[0].user_namespace

    written = json.loads((home.path / STATE).read_text())
    del written["record"]["user_namespace"]
    (home.path / STATE).write_text(json.dumps(written))
    assert records.read(home) is None, "the state of a version that didn't know"


def test_run_without_a_daemon(run: run_module.Run, tmp_path: Path) -> None:
    """A choice makes no daemon, and nothing but the file of choices and its locks."""
    run.choice(Settings(mode="dind"))

    assert run.records == []
    assert {path.suffix or path.name for path in tmp_path.iterdir()} == {".json", ".lock", LEASE}


def _remembers(monkeypatch: pytest.MonkeyPatch, works: list[bool]) -> list[bool]:
    """Have `auto` rely on an earlier run, unless it is to look anew; gives whether it was to."""
    looked: list[bool] = []

    def choose(asked: str, engine: object, probe: registry.Probe) -> Choice:
        looked.append(probe._memory is not None and probe._memory._anew)
        if not looked[-1]:
            probe.age = 600
            return Choice("sysbox", "a container proved that it works")
        return Choice("sysbox", "it works") if works.pop(0) else Choice("dind", "it is down")

    monkeypatch.setattr(modes, "choose", choose)
    return looked


@pytest.mark.parametrize("works", [True, False])
def test_proof_of_an_earlier_run(
    monkeypatch: pytest.MonkeyPatch, run: run_module.Run, tmp_path: Path, works: bool
) -> None:
    """It is told as that, holds for the run, and is looked into anew where a daemon fails."""
    looked = _remembers(monkeypatch, [works])
    choice = run.choice(Settings())
    assert choice == Choice(
        "sysbox", "a container proved that it works, 10 min ago", remembered=True
    )
    other = run_module.Run.join(tmp_path, print)
    try:
        assert other.choice(Settings()) == choice
        assert other._modes.obstacle(Settings()) is None
        assert other.choice(Settings()).mode == ("sysbox" if works else "dind")
        assert not other.choice(Settings()).remembered
        assert other._modes.obstacle(Settings()) is None
    finally:
        other.close()
    assert looked == [False, True]


def _starter(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, start: Callable[[str, Home], Record]
) -> starter_module.Starter:
    """A starter whose daemons a function starts, by mode and home."""

    def backend(mode: str, engine: object) -> Mock:
        return Mock(start=lambda home, *given: start(mode, home))

    monkeypatch.setattr(starter_module, "backend", backend)
    context: Any = Mock(directory=tmp_path, shared=tmp_path, root=tmp_path, progress=print)
    context.engine.return_value = Mock(url="unix:///nowhere", unshared="")
    (tmp_path / "swept").touch()
    return starter_module.Starter(context, modes.Modes(context))


@pytest.mark.parametrize("works", [True, False])
def test_daemon_of_a_mode_that_works_no_more(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, works: bool
) -> None:
    """Where what an earlier run proved holds no more, `auto` takes the next mode; else it fails."""
    _remembers(monkeypatch, [works])
    tried: list[str] = []

    def start(mode: str, home: Home) -> Record:
        tried.append(mode)
        if mode == "sysbox":
            raise DaemonExited("It ended.", evidence="x", remedy=["y"])
        known: dict[str, Any] = dict.fromkeys(Record.__dataclass_fields__, "")
        return Record(**{**known, "home": home, "id": "1", "pulled": 0, "mode": mode})

    starter = _starter(monkeypatch, tmp_path, start)
    lease = Lease(tmp_path / LEASE)
    try:
        with pytest.raises(DaemonExited) if works else contextlib.nullcontext():
            assert starter.start(Home(tmp_path / "one"), Settings()).mode == "dind"
    finally:
        lease.release()
    assert tried == (["sysbox"] if works else ["sysbox", "dind"])


@pytest.mark.parametrize(
    ("mode", "made_with", "image", "taken"),
    [
        ("sysbox", "sysbox", "i", True),
        ("sysbox", "auto", "i", True),
        ("dind", "auto", "i", True),
        ("dind", "dind", "i", False),
        ("sysbox", "auto", "other", False),
    ],
)
def test_mode_of_a_daemon_that_is_there(
    judged: Judged, tmp_path: Path, mode: str, made_with: str, image: str, taken: bool
) -> None:
    """A daemon that `auto` has made, or that proves the first mode, settles it without a look."""
    asked = judged(lambda mode: None)
    home = Home(tmp_path / "reuse-mine-01234567" / "main")
    home.path.mkdir(parents=True)
    known: dict[str, Any] = dict.fromkeys(Record.__dataclass_fields__, "")
    record = Record(**{**known, "home": home, "mode": mode, "published": ()})
    records.write(record, Settings(mode=made_with, image="i"))
    (tmp_path / "0123abcd").mkdir()
    run = run_module.Run.join(tmp_path / "0123abcd", print)
    try:
        choice = run.choice(Settings(reuse="mine", image=image))
        if taken:
            because = "the daemon reuse-mine-01234567 is there already"
            assert choice == Choice(mode, because, remembered=True)
            assert run.choice(Settings(image=image)).because != because
        assert asked == ["sysbox"]
    finally:
        run.close()
