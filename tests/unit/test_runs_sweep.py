"""The sweep's judgement on labels, without an engine."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_dind import __main__ as command
from pytest_dind.engine import own_container
from pytest_dind.engine.engine import Engine
from pytest_dind.lifetime import directories, labels
from pytest_dind.lifetime.layout import ENGINE, GUARD, KEPT, LEASE
from pytest_dind.lifetime.lease import Lease
from pytest_dind.runs import sweep as runs_sweep
from pytest_dind.runs.sweep import IN_USE, STALE, UNKNOWN, Entry, entries, sweep
from pytest_dind.runs.sweep import KEPT as KEPT_ON_PURPOSE

from ..support import Answer, FakeEngine, Reply

GONE = f"{labels.process().rpartition(' ')[0]} 1"
"""This process's id with another start time."""


@pytest.fixture
def base(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of all runs."""
    path = short_path / "base"
    path.mkdir(mode=0o700)
    monkeypatch.setattr(directories, "base", lambda: path)
    return path


def container(base: Path, run: str = "run", **changed: str) -> dict[str, Any]:
    """A container of a run whose process is gone, as the engine lists it."""
    ours = labels.make(run, mode="dind", keep="never", home=base / run / "main")
    ours |= {labels.PROCESS: GONE}
    ours |= {f"pytest-dind.{name}": value for name, value in changed.items()}
    return {
        "Id": "0" * 64,
        "Names": [f"/pytest-dind-{run}-main"],
        "Labels": ours,
        "State": "running",
    }


@contextlib.contextmanager
def listing(base: Path, *containers: Mapping[str, Any]) -> Iterator[tuple[Engine, list[str]]]:
    """An engine with these containers, and the paths of what it is told to remove."""
    removed: list[str] = []

    def remove(path: str) -> Answer:
        removed.append(path)
        return Answer(204)

    names = [item["Names"][0].lstrip("/") for item in containers if item["Names"]]
    answers = {f"DELETE /containers/{name}": lambda name=name: remove(name) for name in names} | {
        "GET /containers/json": Answer(body=list(containers)),
        "GET /volumes": Answer(body={"Volumes": None}),
        "GET /networks": Answer(body=[]),
        "GET /version": Answer(body={"ApiVersion": "1.41"}),
    }
    with (
        FakeEngine(base.parent / "e.sock", answers) as fake,
        contextlib.closing(Engine(fake.host)) as engine,
    ):
        yield engine, removed


def use(base: Path, **changed: str) -> str:
    """What is told of the use of a container with these labels."""
    with listing(base, container(base, **changed)) as (engine, _):
        (entry,) = entries(engine, base)
        return entry.use


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, STALE),
        ({"owner": "somewhere,somebody"}, UNKNOWN),
        ({"owner": ""}, UNKNOWN),
        ({"process": labels.process()}, UNKNOWN),
        ({"process": "other-boot/pid:[1] 1 1"}, UNKNOWN),
        ({"process": f"{labels.process().partition(' ')[0]} one 1"}, UNKNOWN),
        ({"process": ""}, UNKNOWN),
        ({"home": ""}, UNKNOWN),
        ({"home": "/"}, UNKNOWN),
        ({"home": "main"}, UNKNOWN),
        ({"home": "/elsewhere/run/main"}, UNKNOWN),
        ({"created": "yesterday"}, STALE),
    ],
)
def test_use(base: Path, changed: dict[str, str], expected: str) -> None:
    """Only what is this user's, of this temp dir, with a process that is gone, is stale."""
    assert use(base, **changed) == expected


@pytest.mark.parametrize(
    "home", ["../victim", "../..", "run/..", "..", "run/../../victim", "./../victim"]
)
def test_home_that_leads_out(base: Path, home: str) -> None:
    """A home that leads out of the directory of all runs proves nothing."""
    assert use(base, home=f"{base}/{home}") == UNKNOWN


def test_in_use(base: Path) -> None:
    """A run whose lease is held is in use, whatever became of the process that began it."""
    (base / "run" / "main").mkdir(parents=True)
    lease = Lease(base / "run" / LEASE)

    assert use(base) == IN_USE
    lease.release()
    assert use(base) == STALE


def test_without_a_name(base: Path) -> None:
    """A container that is being removed has no name any more, and is listed all the same."""
    with listing(base, container(base) | {"Names": None}) as (engine, _):
        (entry,) = entries(engine, base)

    assert entry.name == "0" * 64


def test_sweep(base: Path) -> None:
    """The stale goes with its directory, the rest stays; directories of unheld runs go too."""
    for run in ("left", "other", "only-a-directory"):
        (base / run / "main").mkdir(parents=True)
    lease = Lease(base / "other" / LEASE)
    listed = [
        container(base, "left"),
        container(base, "other"),
        container(base, "unknown", process=labels.process()),
    ]
    with listing(base, *listed) as (engine, removed):
        sweep(base, engine)

    assert removed == ["pytest-dind-left-main"]
    assert {path.name for path in base.iterdir() if path.is_dir()} == {"other"}
    lease.release()


def test_kept(base: Path) -> None:
    """A kept daemon stays while its engine lists it, and while that engine isn't asked."""
    for run in ("kept", "removed", "elsewhere"):
        (base / run / "main").mkdir(parents=True)
        (base / run / "main" / KEPT).touch()
        (base / run / "main" / ENGINE).write_text(f"unix://{base.parent / 'e.sock'}")
    (base / "elsewhere" / "main" / ENGINE).write_text("unix:///elsewhere.sock")
    with listing(base, container(base, "kept")) as (engine, removed):
        sweep(base, engine)

    assert removed == []
    assert {path.name for path in base.iterdir() if path.is_dir()} == {"kept", "elsewhere"}


def test_rm_of_a_forged_home(
    base: Path, short_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`rm NAME` removes a container with a forged label, and no directory that it names."""
    victim = short_path / "victim"
    victim.mkdir()
    forged = container(base, home=f"{base}/../victim")
    with listing(base, forged) as (engine, removed):
        assert command.main(["rm", "pytest-dind-run-main", "--host", engine.url]) == 0

    assert removed == ["pytest-dind-run-main"]
    assert capsys.readouterr().out == "pytest-dind-run-main\n"
    assert victim.is_dir()


def test_rm_all(base: Path) -> None:
    """`rm --all` takes what is kept or stale, not what a run uses nor what is another's."""
    (base / "kept" / "main").mkdir(parents=True)
    (base / "kept" / "main" / KEPT).touch()
    (base / "used").mkdir()
    lease = Lease(base / "used" / LEASE)
    listed = [
        container(base, "kept"),
        container(base, "used"),
        container(base, "left"),
        container(base, "unknown", owner="somewhere,somebody"),
    ]
    with listing(base, *listed) as (engine, removed):
        assert command.main(["rm", "--all", "--host", engine.url]) == 0

    assert removed == ["pytest-dind-kept-main", "pytest-dind-left-main"]
    assert {path.name for path in base.iterdir() if path.is_dir()} == {"used"}
    lease.release()


def test_ps(
    base: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`ps` lists all that carries the labels, with age, owner and use; `--json` for scripts."""
    listed = [
        container(base, "left", created="0", owner=labels.owner()),
        container(base, "unknown", owner="somewhere,somebody"),
    ]
    # No second passes between the second one's label and the look at it.
    made = labels.created(listed[1]["Labels"])
    monkeypatch.setattr(runs_sweep, "time", SimpleNamespace(time=lambda: made))
    with listing(base, *listed) as (engine, _):
        assert command.main(["ps", "--host", engine.url]) == 0
        table = capsys.readouterr().out.splitlines()
        assert command.main(["ps", "--json", "--host", engine.url]) == 0
        parsed = json.loads(capsys.readouterr().out)

    assert table[0].split() == ["NAME", "MODE", "AGE", "OWNER", "USE"]
    assert table[1].startswith("pytest-dind-left-main")
    assert " days " in table[1]
    assert table[1].endswith("stale")
    assert table[2].split() == [
        *("pytest-dind-unknown-main", "dind", "0", "seconds", "somewhere,somebody", "unknown")
    ]
    assert [item["use"] for item in parsed] == ["stale", "unknown"]
    assert parsed[0]["home"] == str(base / "left" / "main")


def test_ps_of_nothing(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where nothing is there is a head alone, or an empty list."""
    with listing(base) as (engine, _):
        assert command.main(["ps", "--host", engine.url]) == 0
        assert command.main(["ps", "--json", "--host", engine.url]) == 0

    assert capsys.readouterr().out.splitlines() == ["NAME   MODE   AGE   OWNER   USE", "[]"]


def test_leftover_that_cannot_be_removed(base: Path) -> None:
    """An engine that breaks a removal off, or refuses it, does not keep a run from starting."""
    asked: list[str] = []

    def refuse() -> Answer:
        asked.append("one")
        return Answer(500, {"message": "driver failed"})

    def broken_off() -> Answer:
        asked.append("two")
        raise ConnectionAbortedError

    one, two = container(base, "one"), container(base, "two")
    answers: dict[str, Reply] = {
        "GET /containers/json": Answer(body=[one, two]),
        "DELETE /containers/pytest-dind-one-main": refuse,
        "DELETE /containers/pytest-dind-two-main": broken_off,
        "GET /volumes": Answer(body={"Volumes": None}),
    }
    with (
        FakeEngine(base.parent / "e.sock", answers) as fake,
        contextlib.closing(Engine(fake.host)) as engine,
    ):
        sweep(base, engine)

    assert asked == ["one", "two"]


@pytest.mark.parametrize("status", [404, 409])
def test_rm_of_what_goes_by_itself(
    base: Path, capsys: pytest.CaptureFixture[str], status: int
) -> None:
    """`rm` of two, of which one is going just now, removes the other, and both are gone."""
    names = ["pytest-dind-one-main", "pytest-dind-two-main"]
    answers: dict[str, Reply] = {
        "GET /containers/json": Answer(body=[container(base, "one"), container(base, "two")]),
        f"DELETE /containers/{names[0]}": Answer(status, {"message": "not there, or going"}),
        f"DELETE /containers/{names[1]}": Answer(204),
        "GET /volumes": Answer(body={"Volumes": None}),
    }
    with FakeEngine(base.parent / "e.sock", answers) as fake:
        assert command.main(["rm", *names, "--host", fake.host]) == 0

    assert capsys.readouterr().out.split() == names


@pytest.mark.parametrize("arguments", [["ps"], ["rm", "x"], ["rm", "--stale"], ["cache", "ls"]])
def test_engine_that_fails(
    base: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    """An engine that answers with an error of its own is told of, without a traceback."""
    broken = Answer(500, {"message": "the engine is broken"})
    paths = ("containers/json", "volumes/pytest-dind-cache", "networks", "volumes")
    answers: dict[str, Reply] = {f"GET /{path}": broken for path in paths}
    with FakeEngine(base.parent / "e.sock", answers) as fake:
        code = command.main([*arguments, "--host", fake.host])

    said = capsys.readouterr().err
    # A sweep does what it can, and no more.
    assert code == (0 if "--stale" in arguments else 1)
    assert ("does not answer as it should" in said) is bool(code)
    assert ("the engine is broken" in said) is bool(code)


def test_ps_while_another_run_ends(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory that goes while it is looked into hides nothing of the others."""
    for run in ("ending", "guarded"):
        (base / run / "main").mkdir(parents=True)
        (base / run / "main" / GUARD).touch()
    usual = Path.iterdir

    def iterdir(path: Path) -> Iterator[Path]:
        found = sorted(usual(path))
        if path == base:
            shutil.rmtree(base / "ending")
        return iter(found)

    with listing(base) as (engine, _):
        (base / "guarded" / "main" / ENGINE).write_text(engine.url)
        monkeypatch.setattr(Path, "iterdir", iterdir)
        found = entries(engine, base)

    assert [entry.home for entry in found] == [base / "guarded" / "main"]


def _reused(base: Path, name: str, digest: str = "0123abcd", **changed: str) -> dict[str, Any]:
    """A daemon that is reused under a name, kept and with its lock file."""
    run = f"reuse-{name}-{digest}"
    home = base / run / "main"
    home.mkdir(parents=True)
    (home / KEPT).touch()
    (base / f"reuse-{name}.main.lock").touch()
    return container(base, run, **changed)


def test_rm_by_the_name_of_reuse(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`rm w` removes the daemon of `--dind-reuse=w`, with its directory and its lock file."""
    listed = _reused(base, "w"), _reused(base, "w-x")
    with listing(base, *listed) as (engine, removed):
        assert command.main(["rm", "w", "--host", engine.url]) == 0

    assert removed == ["pytest-dind-reuse-w-0123abcd-main"]
    assert capsys.readouterr().out == "pytest-dind-reuse-w-0123abcd-main\n"
    left = {path.name for path in base.iterdir()}
    assert left == {"reuse-w-x-0123abcd", "reuse-w-x.main.lock"}


def test_rm_of_a_daemon_and_its_cluster(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`rm w` removes the Kubernetes cluster, too, that is reused under that name."""
    cluster = _reused(base, "w", "4567cdef")
    name = "pytest-dind-reuse-w-4567cdef-k8s"
    home = base / "reuse-w-4567cdef" / "main"
    cluster["Names"] = [f"/{name}"]
    cluster["Labels"][labels.HOME] = str(home.rename(home.with_name("k8s")))
    with listing(base, _reused(base, "w"), cluster) as (engine, removed):
        assert command.main(["rm", "w", "--host", engine.url]) == 0

    assert removed == ["pytest-dind-reuse-w-0123abcd-main", name]
    assert capsys.readouterr().out.split() == removed


def test_rm_of_a_name_that_several_have(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where two daemons go by a name, none is removed, and both are told."""
    listed = _reused(base, "w"), _reused(base, "w", "4567cdef")
    with listing(base, *listed) as (engine, removed):
        assert command.main(["rm", "w", "--host", engine.url]) == 1

    assert not removed
    names = "pytest-dind-reuse-w-0123abcd-main, pytest-dind-reuse-w-4567cdef-main"
    assert f"'w' is several daemons; name one: {names}" in capsys.readouterr().err


def test_rm_of_a_reused_daemon_of_others(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Another user's daemon goes by the name alone that `ps` has, not by that of their reuse."""
    with listing(base, _reused(base, "w", owner="somewhere,somebody")) as (engine, removed):
        assert command.main(["rm", "w", "--host", engine.url]) == 1

    assert not removed
    assert "no daemon 'w'" in capsys.readouterr().err


def test_lock_of_a_daemon_that_is_taken_up(base: Path) -> None:
    """A lock file goes with the last daemon of its name, but not while somebody holds it."""
    for name in ("free", "held"):
        (base / f"reuse-{name}.main.lock").touch()
    with listing(base) as (engine, _), directories.locked(base, "reuse-held.main"):
        sweep(base, engine)
        left = {path.name for path in base.glob("reuse-*")}

    assert left == {"reuse-held.main.lock"}


_LIVING, _ENDED, _GONE = "1" * 64, "2" * 64, "3" * 64


@contextlib.contextmanager
def _containers_of_runs(
    base: Path, *listed: Mapping[str, Any]
) -> Iterator[tuple[Engine, list[str]]]:
    """An engine with what runs in containers have left, of which one lives."""
    gone: list[str] = []

    def remove(kind: str, name: str) -> Answer:
        gone.append(f"{kind} {name}")
        return Answer(204)

    def labelled(container: str) -> dict[str, str]:
        return labels.make("r", mode="", keep="never", home=Path("/other/r/m")) | {
            labels.OWNER: "other,root",
            labels.CONTAINER: container,
        }

    volumes = [{"Name": name, "Labels": labelled(name * 64)} for name in "123"]
    networks = [{"Id": name, "Labels": labelled(name * 64)} for name in "123"]
    states = {_LIVING: True, _ENDED: False}
    answers: dict[str, Reply] = {
        **{
            f"GET /containers/{name}/json": Answer(body={"Id": name, "State": {"Running": runs}})
            for name, runs in states.items()
        },
        **{
            f"DELETE /{kind}s/{name}": lambda kind=kind, name=name: remove(kind, name)  # type: ignore[misc]
            for kind, names in {
                "container": [item["Names"][0].lstrip("/") for item in listed],
                "volume": "123",
                "network": "123",
            }.items()
            for name in names
        },
        "GET /containers/json": Answer(body=list(listed)),
        "GET /volumes": Answer(body={"Volumes": volumes}),
        "GET /networks": Answer(body=networks),
        "GET /version": Answer(body={"ApiVersion": "1.41"}),
    }
    with (
        FakeEngine(base.parent / "e.sock", answers) as fake,
        contextlib.closing(Engine(fake.host)) as engine,
    ):
        yield engine, gone


def test_runs_in_containers(base: Path) -> None:
    """What a run has made in a container is left behind once that one has ended, whoever asks."""
    other = {"owner": "other,root", "home": "/other/run/main"}
    listed = [
        container(base, "living", **other, container=_LIVING),
        container(base, "busy", **other, container=_LIVING, keep="always"),
        container(base, "ended", **other, container=_ENDED),
        container(base, "gone", **other, container=_GONE),
        container(base, "kept", **other, container=_GONE, keep="always"),
        container(base, "forged", **other, container="../../volumes/x"),
    ]
    with _containers_of_runs(base, *listed) as (engine, removed):
        found = {entry.name.split("-")[2]: entry for entry in entries(engine, base, thorough=False)}
        sweep(base, engine)

    assert {name: entry.use for name, entry in found.items()} == {
        "living": UNKNOWN,
        "busy": UNKNOWN,
        "ended": STALE,
        "gone": STALE,
        "kept": KEPT_ON_PURPOSE,
        "forged": UNKNOWN,
    }
    assert not any(entry.local for entry in found.values())
    assert removed == [
        *("container pytest-dind-ended-main", "container pytest-dind-gone-main"),
        *("volume 2", "volume 3", "network 2", "network 3"),
    ]


def test_same_directory_in_another_container(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory of the same name is another's, unless somebody holds its lease."""
    (base / "run" / "main").mkdir(parents=True)
    (base / "run" / "main" / KEPT).touch()
    listed = container(base, container=_LIVING)
    with _containers_of_runs(base, listed) as (engine, _):
        assert [entry.use for entry in entries(engine, base, thorough=False)] == [UNKNOWN]
        lease = Lease(base / "run" / LEASE)
        assert [entry.use for entry in entries(engine, base, thorough=False)] == [IN_USE]
        lease.release()
    with _containers_of_runs(base, listed) as (engine, _):
        # Of this process's own container, it is judged by what is there.
        monkeypatch.setattr(own_container, "find", lambda engine: {"Id": _LIVING})
        assert [entry.use for entry in entries(engine, base, thorough=False)] == [KEPT_ON_PURPOSE]


def test_directory_of_an_ended_container(base: Path, short_path: Path) -> None:
    """`rm` removes what an ended container has left, and no directory here of that name."""
    victim = short_path / "other" / "run" / "main"
    victim.mkdir(parents=True)
    listed = container(base, owner="other,root", home=str(victim), container=_GONE)
    with _containers_of_runs(base, listed) as (engine, removed):
        assert command.main(["rm", "pytest-dind-run-main", "--host", engine.url]) == 0

    assert removed == ["container pytest-dind-run-main"]
    assert victim.is_dir()


@pytest.mark.parametrize(
    ("cluster", "spare", "told"),
    [
        ("kubernetes", False, "kept, Kubernetes cluster"),
        ("swarm", False, "kept, node of a swarm"),
        ("", True, "kept, spare"),
        ("", False, "kept"),
        ("another version's", False, "kept"),
    ],
)
def test_what_a_daemon_is_for(tmp_path: Path, cluster: str, spare: bool, told: str) -> None:
    """The command's table tells clusters, their nodes, and spares from other daemons."""
    known = ("name", "dind", "me", 1.0, KEPT_ON_PURPOSE, tmp_path)
    assert command._use(Entry(*known, cluster=cluster, spare=spare)) == told
