"""The report of a run: its journal, its data, and the texts in its page."""

from __future__ import annotations

import json
import os
import re
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pytest

from pytest_dind import DindError, SettingsError
from pytest_dind.engine import credentials
from pytest_dind.hooks import reporting
from pytest_dind.report import document, journal, page
from pytest_dind.report.journal import Journal

from .. import schema
from ..browser import runs


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A report that has begun."""
    return journal.begin(str(tmp_path / "report.html"))


@pytest.mark.parametrize("cut_short", [False, True])
def test_schema(tmp_path: Path, cut_short: bool) -> None:
    """The data are as the schema says; those written beside the page are the page's."""
    path = runs.small(tmp_path / "report.html", cut_short=cut_short)
    found = document.read(path)

    schema.check(found)
    assert len(found["tests"]) == 9 + cut_short
    assert ("end" in found["run"]) is not cut_short
    if not cut_short:
        assert json.loads(path.with_name("report.html.json").read_text()) == found


def test_schema_of_clusters(tmp_path: Path) -> None:
    """A run with clusters is as the schema says, too."""
    schema.check(document.read(runs.clusters(tmp_path / "report.html")))


def test_schema_is_checked(tmp_path: Path) -> None:
    """The check of the schema finds what does not fit it."""
    found = document.read(runs.small(tmp_path / "report.html"))
    found["tests"][0] |= {"outcome": "good", "start": "soon", "colour": "red"}
    del found["containers"][0]["name"]

    assert len(schema.mistakes(found, schema.schema())) == 4


def test_later_facts_count(path: Path) -> None:
    """Entries of several processes on one thing are put together; the last value counts."""
    first, second = Journal(path, 10.0), Journal(path, 10.0)
    first.put("containers", "abc", name="web", daemon="d", started=first.at(11.5), exit_code=None)
    second.put("containers", "abc", exit_code=3, name="web-2")
    first.put("containers", "def", name="db", daemon="d")

    assert document.read(path)["containers"] == [
        {"id": "abc", "name": "web-2", "daemon": "d", "started": 1.5, "exit_code": 3},
        {"id": "def", "name": "db", "daemon": "d"},
    ]


def test_processes_beside_one_another(path: Path) -> None:
    """Entries that several write at the same time don't mix, however long they are."""

    def write(number: int) -> None:
        made = Journal(path, 0)
        for one in range(50):
            made.put(
                "containers", f"{number}-{one}", name="x", daemon="d", log=str(number) * 30_000
            )
        made.close()

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    found = document.read(path)
    assert len(found["containers"]) == 200
    assert not found["gaps"]


@pytest.mark.parametrize(
    "text", [runs.HOSTILE, "\ud800 half a pair", "\0\x1b[31m\r\n", "<!-- <script>"]
)
def test_texts_stay_texts(path: Path, text: str) -> None:
    """No text ends the element that the data are in, nor changes on its way."""
    before = path.read_text().count("<")
    made = Journal(path, 0)
    made.put("tests", text, nodeid=text, worker="main", outcome="passed", message=text)

    assert path.read_text().count("<") == before
    assert document.read(path)["tests"][0]["message"] == text
    made.finish()
    assert document.read(path)["tests"][0]["nodeid"] == text


def test_page_has_one_place_for_data() -> None:
    """The page up to its data opens the element that they are in once, at its end."""
    assert page.head().count(page.OPENING) == 1
    assert page.head().endswith(f"{page.OPENING}\n")
    assert "http" not in page.head().replace('http-equiv="Content', "")


def test_long_texts(path: Path) -> None:
    """Of a long text there is the end."""
    Journal(path, 0).put("containers", "a", name="x", daemon="d", log="a" * 100_000 + "the end")

    log = document.read(path)["containers"][0]["log"]
    assert log.endswith("the end")
    assert log.startswith("[34471 characters left out]")
    assert len(log) < journal.MOST_TEXT + 100


def test_cut_in_an_entry(path: Path) -> None:
    """An entry that was cut short costs itself alone, and is told of."""
    made = Journal(path, 0)
    made.put("tests", "a", nodeid="a", worker="main", outcome="passed")
    os.write(made._file, b'\n["tests","b",{"nodeid":"b\xc3')
    made.put("tests", "c", nodeid="c", worker="main", outcome="passed")

    found = document.read(path)
    assert [one["id"] for one in found["tests"]] == ["a", "c"]
    assert [one["text"] for one in found["gaps"]] == ["1 entries of this report were cut short"]
    schema.check(found)


def test_full_disk() -> None:
    """What can't be written is told of in the end, and fails no test."""
    made = Journal(Path("/dev/full"), 0)
    made.put("tests", "a", nodeid="a")

    assert "No space left on device" in made.error


def test_remade(tmp_path: Path) -> None:
    """A page made of the data has the same data."""
    found = document.read(runs.small(tmp_path / "report.html"))
    document.write_page(tmp_path / "again.html", found)

    assert document.read(tmp_path / "again.html") == found


@pytest.mark.parametrize(
    "content", ["", "[]", "<html>", '{"version": 2}', '{"version": 1}', "\0"], ids=repr
)
def test_no_report(tmp_path: Path, content: str) -> None:
    """What is no report is an error that says what is one."""
    (tmp_path / "other.json").write_text(content)
    with pytest.raises(DindError, match=r"other\.json' can't be read as a report"):
        document.read(tmp_path / "other.json")
    with pytest.raises(DindError, match="can't be read as a report"):
        document.read(tmp_path / "missing.html")


@pytest.mark.parametrize(
    "given", ["/dev/null", "/proc/report.html", ".", "a\0b", "file/report.html"]
)
def test_unwritable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    """A path that can't be written is an error; what is no file is left as it is."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match=r"--dind-report: .* can't be written"):
        journal.begin(given)

    assert not Path("/dev/null").is_file()


def test_earlier_data_go(tmp_path: Path) -> None:
    """The data of an earlier run are not beside the page of one that is killed."""
    path = runs.small(tmp_path / "deep" / "report.html")
    assert journal.data_path(path).exists()
    journal.begin(str(path))

    assert not journal.data_path(path).exists()
    assert document.read(path)["tests"] == []


@dataclass
class _Seen:
    """A container, as a recorder has it."""

    id: str = "c0ffee"
    name: str = "web"
    image: str = "nginx"
    maker: str | None = "test_a.py::test_it"
    is_known: bool = True
    made: float = 1.0
    started: float | None = 2.0
    ended: float | None = None
    exit_code: int | None = None
    is_oom: bool = False
    is_gone: bool = False


def test_handed_over(pytestconfig: pytest.Config, path: Path) -> None:
    """What a recorder hands over is in the data; what it knows later is added."""
    made = reporting.Report(pytestconfig, Journal(path, 1.0), "gw1")
    seen = _Seen()
    made.container("d", seen)
    seen.ended, seen.exit_code, seen.is_gone = 4.0, 137, True
    made.container("d", seen, log="last words", health="no answer")
    made.gap("d", 3.0, 3.5, "the daemon was restarted")
    made.left("test_a.py::test_it", ["volume data", "container web (nginx, exited)"])

    found = document.read(path)
    schema.check(found)
    assert found["containers"] == [
        {
            "id": "c0ffee",
            "name": "web",
            "image": "nginx",
            "daemon": "d",
            "worker": "gw1",
            "test": "test_a.py::test_it",
            "created": 0,
            "started": 1,
            "ended": 3,
            "exit_code": 137,
            "oom": False,
            "removed": True,
            "log": "last words",
            "health": "no answer",
        }
    ]
    assert [(one["kind"], one["name"]) for one in found["leaks"]] == [
        ("volume", "data"),
        ("container", "web"),
    ]


class _Happening(NamedTuple):
    """An event, as a recorder has it."""

    at: float
    maker: str | None
    text: str
    kind: str
    thing: str
    name: str
    action: str
    is_known: bool = True

    @property
    def id(self) -> str:
        return f"{self.at} {self.thing} {self.action}"


def _happening(at: float, maker: str | None, text: str, thing: str = "") -> _Happening:
    kind, _, rest = text.partition(" ")
    name, _, action = rest.rpartition(": ")
    return _Happening(at, maker, text, kind, thing or name, name, action)


class _Gap(NamedTuple):
    """A time without events, as a recorder has it."""

    since: float
    until: float


def test_recorded(pytestconfig: pytest.Config, path: Path) -> None:
    """All that a recorder has is taken at once; to take it again adds nothing."""
    made = reporting.Report(pytestconfig, Journal(path, 0.0), "main")
    happenings = [
        _happening(1.0, "t", "image busybox:1: pull"),
        _happening(2.0, "t", "network net: create"),
        _happening(3.0, None, "network net: destroy"),
        _happening(3.5, "", "volume data: create"),
        _happening(4.0, "t", "image busybox:1: delete"),
        _happening(5.0, "t", "container web: die, exit code 1"),
    ]
    for _ in range(2):
        made.take(
            "d",
            ([_Seen()], happenings, [_Gap(6.0, 7.0)]),
            log=lambda seen: f"log of {seen.name}",
            health=lambda seen: "",
        )

    found = document.read(path)
    schema.check(found)
    assert [one["log"] for one in found["containers"]] == ["log of web"]
    assert [one["text"] for one in found["events"]] == [one.text for one in happenings]
    assert [(one["name"], one["action"], one["end"]) for one in found["images"]] == [
        ("busybox:1", "pulled", 1.0)
    ]
    (network,), (volume,) = found["networks"], found["volumes"]
    assert (network["start"], network["end"], network["test"]) == (2.0, 3.0, "t")
    assert (volume["start"], volume["test"], "end" in volume) == (3.5, "", False)
    assert [(one["start"], one["end"]) for one in found["gaps"]] == [(6.0, 7.0)]


def test_names_that_come_again(pytestconfig: pytest.Config, path: Path) -> None:
    """A network of each test is one of its own, though all have one name."""
    made = reporting.Report(pytestconfig, Journal(path, 0.0), "main")
    happenings = [
        _happening(1.0, "a", "network net: create", "1"),
        _happening(2.0, "a", "network net: destroy", "1"),
        _happening(3.0, "b", "network net: create", "2"),
        _happening(4.0, "b", "network net: destroy", "2"),
    ]
    for one in happenings:
        made.take("d", ([], [one], []), log=str, health=str)

    assert [
        (one["name"], one["test"], one["start"], one["end"])
        for one in document.read(path)["networks"]
    ] == [("net", "a", 1.0, 2.0), ("net", "b", 3.0, 4.0)]


def test_told_by_several_processes(pytestconfig: pytest.Config, path: Path) -> None:
    """What each worker saw in a daemon that they share is there once; nobody knows who made it."""
    for worker, at in (("gw0", 2.0), ("gw1", 2.01)):
        made = reporting.Report(pytestconfig, Journal(path, 0.0), worker)
        test = f"test_of_{worker}"
        pulled = _happening(1.0, test, "image busybox: pull")._replace(is_known=False)
        network = _happening(1.0, test, "network net: create")._replace(is_known=False)
        seen = _Seen(maker=test, is_known=False)
        gaps = [_Gap(at, at + 1), _Gap(8.0 + at, 9.0 + at)]
        made.take("d", ([seen], [pulled, network], gaps), log=lambda one: "its log", health=str)

    found = document.read(path)
    schema.check(found)
    for kind in ("containers", "images", "networks"):
        (one,) = found[kind]
        assert not {"test", "worker"} & one.keys()
    assert len(found["events"]) == 2
    assert [(one["start"], one["end"]) for one in found["gaps"]] == [(2.0, 3.01), (10.0, 11.01)]


def test_secrets(pytestconfig: pytest.Config, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No text of a report has what a daemon was given as a secret, as it is or quoted."""
    monkeypatch.setattr(credentials, "secrets", lambda: ["of-the-registry"])
    made = reporting.Report(pytestconfig, Journal(path, 0.0), "main")
    made.hide(["tok3n"])
    for secret in ("tok3n", "of-the-registry"):
        seen = _Seen(id=secret[:3], name=f"web-{secret}", image=f"r/{secret}")
        made.container("d", seen, log=f"log {secret}", health=f"no {secret}")
        volume = _happening(1.0, "t", f"volume v-{secret}: create")
        made.take("d", ([], [volume], []), log=str, health=str)
        made.left("t", [f"volume v-{secret}"])
        report = pytest.TestReport(
            "t", ("t", 1, "t"), {}, "failed", f"assert '{secret}'", "call", duration=0
        )
        made.pytest_runtest_logstart("t")
        made.pytest_runtest_logreport(report)

    assert not re.search("tok3n|of-the-registry", path.read_text())
    found = document.read(path)
    assert found["tests"][0]["message"] == "assert '***'"
    assert found["containers"][0]["log"] == "log ***"


def test_clusters(pytestconfig: pytest.Config, path: Path) -> None:
    """A cluster ends with the last of its daemons; its nodes are those that it had last."""
    made = reporting.Report(pytestconfig, Journal(path, 1.0), "gw1")
    nodes = [{"name": "n1", "role": "manager"}, {"name": "n2", "role": "worker"}]
    made.cluster("a", kind="swarm", name="swarm1", daemons=["a", "b"], nodes=nodes)
    made.cluster_ready("a", 2.0, 4.5)
    for name in ("a", "b"):
        made.journal.put("daemons", name, name=name)
    made.daemon_ended("b", 5.0)
    made.cluster("a", nodes=nodes[:1])
    (before,) = document.read(path)["clusters"]
    assert "end" not in before
    made.daemon_ended("a", 7.0)

    found = document.read(path)
    schema.check(found)
    assert found["clusters"] == [
        {
            "id": "a",
            "kind": "swarm",
            "name": "swarm1",
            "worker": "gw1",
            "daemons": ["a", "b"],
            "nodes": [{"name": "n1", "role": "manager"}],
            "start": 1,
            "ready": 3.5,
            "end": 6,
        }
    ]


def test_namespaces(pytestconfig: pytest.Config, path: Path) -> None:
    """A namespace has its test, its time, and what its pods said when that failed."""
    made = reporting.Report(pytestconfig, Journal(path, 1.0), "main")
    made.hide(["s3cr3t"])
    made.namespace("c", "test-it-1", test="t::it", times=(2.0, None))
    made.namespace("c", "test-it-1", log="no s3cr3t")
    made.namespace("c", "test-it-1", times=(None, 5.0))

    found = document.read(path)
    schema.check(found)
    (one,) = found["namespaces"]
    assert (one["name"], one["cluster"], one["test"]) == ("test-it-1", "c", "t::it")
    assert (one["start"], one["end"], one["log"]) == (1, 4, "no ***")
