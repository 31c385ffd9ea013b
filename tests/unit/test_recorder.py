"""The recorder: whose a container is, and what is known of it."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pytest_dind.lifetime.labels import BY
from pytest_dind.lifetime.layout import Home
from pytest_dind.recorder.recorder import Recorder, Seen, Sharing
from pytest_dind.recorder.timeline import WIDER, Timeline

from ..support import Answer, FakeEngine, until

_numbers = itertools.count(1)


def _event(action: str, id_: str = "c1", at: Any = None, **attributes: str) -> Any:
    nano = int((time.time() if at is None else at) * 1e9) + next(_numbers)
    actor = {"ID": id_, "Attributes": {"name": id_, "image": "some", **attributes}}
    return {"Type": "container", "Action": action, "Actor": actor, "timeNano": nano}


def _record(home: Path, host: str = "unix:///nonexistent") -> Any:
    class Record:
        certificates = ""

    record = Record()
    record.home, record.host = Home(home), host  # type: ignore[attr-defined]
    return cast(Any, record)


def _recorder(tmp_path: Path, sharing: Sharing | None = None) -> tuple[Recorder, Timeline]:
    timeline = Timeline("t::one", 0)
    return Recorder(_record(tmp_path), timeline, sharing or Sharing(), 20), timeline


def _containers(recorder: Recorder) -> dict[str, Seen]:
    return {seen.name: seen for seen in recorder.since(0)[0]}


def _take(recorder: Recorder, *events: Any) -> None:
    for event in events:
        recorder._take(event, time.time())


def test_makers(tmp_path: Path) -> None:
    """A container is that of the test in which it was made, or of the fixture of a wider scope."""
    timeline = Timeline("", 0)
    timeline.begin_test("t::one")
    recorder = Recorder(_record(tmp_path), timeline, Sharing(), 20)
    _take(recorder, _event("create", "of-one"))
    timeline.count_wider(1)
    _take(recorder, _event("create", "of-fixture"))
    timeline.count_wider(-1)
    _take(recorder, _event("create", "of-one-too"), _event("create", "older", at=1.0))
    timeline.begin_test("t::two")
    _take(recorder, _event("create", "of-two"))

    assert {name: seen.maker for name, seen in _containers(recorder).items()} == {
        "of-one": "t::one",
        "of-fixture": WIDER,
        "of-one-too": "t::one",
        "older": None,
        "of-two": "t::two",
    }


def test_event_that_comes_late(tmp_path: Path) -> None:
    """It counts when it happened, not when it comes, also by a clock that is another."""
    recorder, timeline = _recorder(tmp_path)
    an_hour = 3600
    _take(recorder, _event("create", "first", at=time.time() - an_hour))
    late = _event("create", "late", at=time.time() - an_hour)
    until(lambda: time.time() * 1e9 > late["timeNano"] + an_hour * 1e9 + 5e6, 10, "time passes")
    timeline.begin_test("t::two")
    _take(recorder, late)

    assert _containers(recorder)["late"].maker == "t::one"


def test_course_of_a_container(tmp_path: Path) -> None:
    """Its start, its end, its exit code and its removal are known; a test may forget it then."""
    recorder, timeline = _recorder(tmp_path)
    _take(recorder, _event("create"), _event("start"), _event("oom"))
    seen = _containers(recorder)["c1"]
    assert (seen.ended, seen.exit_code, seen.is_oom, seen.is_gone) == (None, None, True, False)
    _take(recorder, _event("die", exitCode="137"), _event("destroy"))
    assert (seen.exit_code, seen.is_gone) == (137, True)
    assert seen.ended is not None
    told = [happening.text for happening in recorder.since(0)[1]]
    assert told[0] == "container c1: create, image some"
    assert told[3] == "container c1: die, exit code 137"

    timeline.begin_test("t::two")
    assert not seen.lived_since(timeline.began)
    until(lambda: seen.is_read, 10, "its log is read")
    recorder.turn()
    assert _containers(recorder) == {}


def test_log_of_a_new_container(tmp_path: Path) -> None:
    """It is followed from the creation on, and no more when it goes without a start."""
    recorder, _ = _recorder(tmp_path)
    _take(recorder, _event("create", "one"), _event("create", "two"), _event("start", "one"))
    one, two = (_containers(recorder)[name].log for name in ("one", "two"))
    assert one is not None
    assert two is not None
    assert (one.waits, two.waits) == (False, True)
    _take(recorder, _event("destroy", "two"))
    two.thread.join(10)
    assert not two.thread.is_alive()


def test_log_on_the_machines_own_engine(tmp_path: Path) -> None:
    """There nobody is attached to before it starts: to Podman that would be part of a start."""
    recorder, _ = _recorder(tmp_path, Sharing(required={"of": "run"}))
    _take(recorder, _event("create", of="run"))
    assert _containers(recorder)["c1"].log is None
    _take(recorder, _event("start"))
    log = _containers(recorder)["c1"].log
    assert log is not None
    assert not log.waits


def test_news(tmp_path: Path) -> None:
    """Each thing is news once, and again when more has happened to it; at last all is told."""
    recorder, _ = _recorder(tmp_path)
    _take(recorder, _event("create", "one"), _event("create", "two"))
    assert [seen.name for seen in recorder.turn().containers] == ["one", "two"]
    _take(recorder, _event("die", "two", exitCode="0"))
    news = recorder.turn()
    assert [seen.name for seen in news.containers] == ["two"]
    assert [one.text for one in news.happenings] == ["container two: die, exit code 0"]
    assert recorder.turn() == ([], [], [])
    assert [seen.name for seen in recorder.turn(last=True).containers] == ["one", "two"]


def test_news_of_what_is_gone(tmp_path: Path) -> None:
    """A container that is gone is told with its whole log, and so not before that is read."""
    recorder, _ = _recorder(tmp_path)
    _take(recorder, _event("create"), _event("start"))
    seen = _containers(recorder)["c1"]
    reads = threading.Event()
    seen.log = cast(Any, SimpleNamespace(thread=threading.Thread(target=reads.wait, daemon=True)))
    seen.log.thread.start()
    recorder.turn()
    seen.is_gone, seen.is_told = True, False
    assert recorder.turn().containers == []
    reads.set()
    seen.log.thread.join()
    assert recorder.turn().containers == [seen]
    assert _containers(recorder) == {}


def test_networks_of_a_shared_daemon(tmp_path: Path) -> None:
    """Whose a network is tells its label, which is asked for once; images have none."""
    labels = {"mine": {BY: "me t::one"}, "of-another": {BY: "you t::one"}, "unlabelled": None}
    asked: list[str] = []

    def network(name: str) -> Answer:
        asked.append(name)
        return Answer(body={"Labels": labels[name]})

    answers = {f"GET /networks/{name}": partial(network, name) for name in labels}
    with FakeEngine(tmp_path / "s", answers) as engine:
        recorder = Recorder(
            _record(tmp_path, engine.host),
            Timeline("t::two", 0),
            Sharing(is_shared=True, maker="me"),
            20,
        )
        for action in ("create", "destroy"):
            _take(recorder, *({**_event(action, name), "Type": "network"} for name in labels))
        _take(recorder, {**_event("tag", "image"), "Type": "image"})
        told = recorder.turn().happenings

    assert [(one.name, one.action, one.maker, one.is_known) for one in told] == [
        ("mine", "create", "t::one", True),
        ("unlabelled", "create", "t::two", False),
        ("mine", "destroy", "t::one", True),
        ("unlabelled", "destroy", "t::two", False),
        ("image", "tag", "t::two", False),
    ]
    assert sorted(asked) == sorted(labels)


def test_known_event(tmp_path: Path) -> None:
    """What a new stream repeats is taken once."""
    recorder, _ = _recorder(tmp_path)
    event = _event("create")
    _take(recorder, event, event)
    assert len(recorder.since(0)[1]) == 1


def test_labels_of_a_shared_daemon(tmp_path: Path) -> None:
    """By the label a container is this process's, another's, or perhaps this one's."""
    recorder, timeline = _recorder(tmp_path, Sharing(is_shared=True, maker="me"))
    timeline.begin_test("t::two")
    _take(
        recorder,
        _event("create", "mine", **{BY: "me t::one"}),
        _event("create", "of-fixture", **{BY: "me "}),
        _event("create", "of-another", **{BY: "you t::one"}),
        _event("create", "unlabelled"),
    )
    assert {name: (one.maker, one.is_known) for name, one in _containers(recorder).items()} == {
        "mine": ("t::one", True),
        "of-fixture": (WIDER, True),
        "unlabelled": ("t::two", False),
    }


def test_labels_of_the_machines_engine(tmp_path: Path) -> None:
    """On the machine's own engine only what has the run's labels is the run's."""
    recorder, _ = _recorder(tmp_path, Sharing(required={"home": "here"}))
    _take(recorder, _event("create", "mine", home="here"), _event("create", "foreign"))
    _take(recorder, _event("die", "foreign", exitCode="1"))
    assert [*_containers(recorder)] == ["mine"]
    assert len(recorder.since(0)[1]) == 1


class _Daemon:
    """A daemon whose events break off once, and which has a container that no event told of."""

    def __init__(self, path: Path) -> None:
        self.breaks = threading.Event()
        self.ends = threading.Event()
        self.streams = 0
        listed = [
            {"Id": "new", "Names": ["/new"], "Image": "some", "State": "exited", "Created": 2},
            {"Id": "kept", "Names": ["/kept"], "Image": "some", "State": "exited", "Created": 1},
        ]
        self.engine = FakeEngine(
            path,
            {
                "GET /events": lambda: Answer(body=self._events()),
                "GET /containers/json": Answer(body=listed),
            },
        )

    def _events(self) -> Iterator[str]:
        self.streams += 1
        if self.streams == 1:
            for name in ("kept", "lost"):
                for action in ("create", "start"):
                    yield json.dumps(_event(action, name)) + "\n"
            self.breaks.wait(60)
        else:
            yield json.dumps(_event("create", "after")) + "\n"
            self.ends.wait(60)


def test_events_that_break_off(tmp_path: Path) -> None:
    """It goes on, knows for which time it knows nothing, and what there is then."""
    daemon = _Daemon(tmp_path / "s")
    with daemon.engine as engine:
        recorder = Recorder(_record(tmp_path, engine.host), Timeline("t", 0), Sharing(), 20)
        # Not by asking for the events once more, which this daemon can't.
        found: Callable[[], set[str]] = lambda: {*recorder._containers}  # noqa: E731
        recorder.start()
        until(lambda: found() == {"kept", "lost"}, 10, "the first events are read")
        daemon.breaks.set()
        until(lambda: "after" in found(), 10, "events are read again")
        recorder.close()
        daemon.ends.set()

    assert found() == {"kept", "lost", "new", "after"}
    assert [one.id for one in recorder._containers.values() if one.is_gone] == ["lost"]
    assert recorder._containers["kept"].ended is not None
    assert len(recorder._gaps) == 1


@pytest.mark.parametrize("behind", [0, 3600, -3600])
def test_events_before_the_stream(tmp_path: Path, behind: int) -> None:
    """What a stream begins with happened when it did, by whichever clock: before the test."""
    ends = threading.Event()

    def events() -> Iterator[str]:
        for name, age in (("old", 5), ("older", 9)):
            at = time.time() - behind - age
            yield json.dumps(_event("create", name, at=at)) + "\n"
        ends.wait(60)

    date = formatdate(time.time() - behind, usegmt=True)
    answer = Answer(body=events(), headers={"Date": date})
    with FakeEngine(tmp_path / "s", {"GET /events": answer}) as engine:
        recorder = Recorder(_record(tmp_path, engine.host), Timeline("t", 0), Sharing(), 20)
        recorder.start()
        until(lambda: len(recorder._containers) == 2, 10, "the events are read")
        recorder.close()
        ends.set()

    ages = {one.name: time.time() - one.made for one in recorder._containers.values()}
    assert 4 < ages["old"] < 8 < ages["older"] < 12
    assert [one.maker for one in recorder._containers.values()] == [None, None]


def test_daemon_that_is_gone(tmp_path: Path) -> None:
    """The thread ends where the daemon's directory is gone, and it is known when that was."""
    (tmp_path / "there").mkdir()
    recorder = Recorder(_record(tmp_path / "there"), Timeline("t", 0), Sharing(), 20)
    recorder.start()
    until(lambda: recorder._broke is not None, 10, "no event can be had")
    assert recorder.ended() is None
    assert recorder.ended(asks=True) == recorder._broke
    (tmp_path / "there").rmdir()
    recorder._thread.join(10)
    assert not recorder._thread.is_alive()
    assert recorder.ended() is not None
