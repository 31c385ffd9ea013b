"""The sweep: what is provably left behind goes, and nothing else."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from docker.errors import NotFound

from conftest import NESTED_IMAGE
from pytest_dind import __main__ as command
from pytest_dind.engine.engine import Engine
from pytest_dind.lifetime import directories, labels, layout
from pytest_dind.lifetime.layout import LEASE
from pytest_dind.lifetime.lease import Lease
from pytest_dind.runs import sweep
from pytest_dind.runs.sweep import IN_USE, KEPT, STALE, UNKNOWN

from .projects import Project

Make = Callable[..., str]


@pytest.fixture
def base(room: Path) -> Path:
    """The directory of all runs, with none in it."""
    path = room / f"pytest-dind-{os.getuid()}"
    path.mkdir(mode=0o700)
    return path


@pytest.fixture
def gone() -> str:
    """What a label says of a process that is gone."""
    machine, _, started = labels.process().rsplit(" ", 2)
    with subprocess.Popen(["true"]) as ended:
        pass
    return f"{machine} {ended.pid} {started}"


@pytest.fixture
def make(engine: Engine, base: Path, gone: str) -> Iterator[Make]:
    """Make containers as runs leave them; each is gone in the end."""
    made: list[str] = []

    def make(run: str, *, running: bool = False, **changed: str) -> str:
        """Make the container of a run that is gone, but for the labels that are changed."""
        home = base / run / "main"
        ours = labels.make(run, mode="dind", keep="never", home=home)
        ours |= {labels.PROCESS: gone}
        ours |= {f"pytest-dind.{name}": value for name, value in changed.items()}
        name = f"pytest-dind-{os.path.basename(base.parent)}-{run}-main"  # noqa: PTH119
        container = engine.client.api.create_container(
            NESTED_IMAGE, ["sleep", "600"], name=name, labels=ours
        )
        made.append(container["Id"])
        if running:
            engine.client.api.start(container["Id"])
        return str(container["Id"])

    yield make
    for container in made:
        with contextlib.suppress(NotFound):
            engine.client.api.remove_container(container, force=True, v=True)


def _use(engine: Engine, base: Path) -> Mapping[str, str]:
    """What is told of the use of this base's containers, by the run in their name."""
    mine = f"pytest-dind-{base.parent.name}-"
    return {
        entry.name.removeprefix(mine).removesuffix("-main"): entry.use
        for entry in sweep.entries(engine, base)
        if entry.name.startswith(mine)
    }


def _is_there(engine: Engine, container: str) -> bool:
    return bool(engine.client.api.containers(all=True, filters={"id": container}))


@pytest.mark.parametrize("running", [False, True])
@pytest.mark.parametrize("with_home", [False, True])
def test_left_behind(
    engine: Engine, base: Path, make: Make, running: bool, with_home: bool
) -> None:
    """A container whose users are gone goes, started or not, with its directory."""
    container = make("left", running=running)
    if with_home:
        (base / "left" / "main").mkdir(parents=True)
        os.mkfifo(base / "left" / LEASE)
    assert _use(engine, base) == {"left": STALE}
    sweep.sweep(base, engine)

    assert not _is_there(engine, container)
    assert not [path for path in base.glob("*") if path.is_dir()]


def test_process_id_that_was_used_again(engine: Engine, base: Path, make: Make) -> None:
    """That another process has the id now does not save what its namesake left."""
    started = labels.process().rpartition(" ")
    make("reused", process=f"{started[0]} {int(started[2]) - 1}")

    assert _use(engine, base) == {"reused": STALE}


def test_what_nothing_is_proved_of(engine: Engine, base: Path, make: Make, room: Path) -> None:
    """What may be another's, or may still be used, stays: each for a cause of its own."""
    boot, _, rest = labels.process().partition("/")
    unknown = {
        "other-user": {"owner": f"{labels.owner()}-not"},
        "other-host": {"owner": f"elsewhere,{labels.owner().partition(',')[2]}"},
        "other-temp": {"home": str(room / "elsewhere" / "x" / "main")},
        "other-boot": {"process": f"{boot[::-1]}/{rest}"},
        "other-namespace": {"process": f"{boot}/pid:[1] 1 1"},
        "living": {"process": labels.process()},
        "no-process": {"process": ""},
        "no-number": {"process": f"{boot}/{rest.partition(' ')[0]} x 1"},
        "no-home": {"home": ""},
    }
    for run, changed in unknown.items():
        make(run, **changed)
    assert _use(engine, base) == dict.fromkeys(unknown, UNKNOWN)
    sweep.sweep(base, engine)

    assert _use(engine, base) == dict.fromkeys(unknown, UNKNOWN)


def test_labels_that_make_no_sense(engine: Engine, base: Path, make: Make) -> None:
    """A label that anybody could have written spoils nobody's list."""
    make("odd", created="yesterday")

    assert _use(engine, base) == {"odd": STALE}


def test_label_that_leads_out(
    engine: Engine, base: Path, make: Make, room: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A label that names a directory outside removes nothing there, whatever is asked for."""
    victim = room / "victim"
    (victim / "main").mkdir(parents=True)
    (victim / "main" / "precious").touch()
    forged = {
        "up": f"{base}/../victim",
        "up-and-down": f"{base}/x/../../victim/main",
        "plain": f"{victim}/main",
        "self": f"{base}/..",
        "dots": f"{base}/../..",
    }
    for run, home in forged.items():
        make(run, home=home)
    assert _use(engine, base) == dict.fromkeys(forged, UNKNOWN)
    sweep.sweep(base, engine)
    monkeypatch.setattr(directories, "base", lambda: base)
    names = [f"pytest-dind-{room.name}-{run}-main" for run in forged]
    assert command.main(["rm", "--all", f"--host={engine.url}"]) == 0
    assert command.main(["rm", *names, f"--host={engine.url}"]) == 0

    assert _use(engine, base) == {}
    assert (victim / "main" / "precious").exists()


def test_in_use_and_kept(engine: Engine, base: Path, make: Make) -> None:
    """What a run holds and what was kept on purpose stays, with its directory."""
    for run in ("held", "kept"):
        make(run)
        (base / run / "main").mkdir(parents=True)
    (base / "kept" / "main" / layout.KEPT).touch()
    lease = Lease(base / "held" / LEASE)
    # By its label alone, since a tmp cleaner took the directory.
    make("kept-once", running=True, keep="always")
    expected = {"held": IN_USE, "kept": KEPT, "kept-once": KEPT}
    assert _use(engine, base) == expected
    sweep.sweep(base, engine)

    assert _use(engine, base) == expected
    assert {path.name for path in base.iterdir() if path.is_dir()} == {"held", "kept"}
    lease.release()


def test_started_to_be_kept(engine: Engine, base: Path, make: Make) -> None:
    """A container that never ran is kept by nobody, even if the run meant to keep it."""
    make("cut-short", keep="always")

    assert _use(engine, base) == {"cut-short": STALE}


def test_kept_daemon_that_is_gone(engine: Engine, base: Path) -> None:
    """The directory of a kept daemon goes when somebody removed the daemon from its engine."""
    for run, url in [("here", engine.url), ("elsewhere", "unix:///other.sock")]:
        (base / run / "main").mkdir(parents=True)
        (base / run / "main" / layout.KEPT).touch()
        (base / run / "main" / layout.ENGINE).write_text(url)
    sweep.sweep(base, engine)

    assert {path.name for path in base.iterdir() if path.is_dir()} == {"elsewhere"}


def test_volumes(engine: Engine, base: Path, gone: str) -> None:
    """A data-root that lost its container goes; another user's stays."""
    ours = labels.make("left", mode="dind", keep="always", home=base / "left" / "main")
    ours |= {labels.PROCESS: gone}
    left = engine.client.volumes.create(labels=ours)
    others = engine.client.volumes.create(labels=ours | {labels.OWNER: "elsewhere,somebody"})
    try:
        sweep.sweep(base, engine)
        there = {volume.id for volume in engine.client.volumes.list()}
        assert left.id not in there
        assert others.id in there
    finally:
        others.remove()


def test_first_start_of_a_run(project: Project, engine: Engine, make: Make) -> None:
    """A run sweeps before it starts its daemon; a run without a daemon does not."""
    home = project.temp / f"pytest-dind-{os.getuid()}" / "left" / "main"
    container = make("left", home=str(home))
    project.write("def test_it(): pass")
    project.run()
    assert _is_there(engine, container)

    project.write("def test_it(dind_daemon): pass")
    project.run()
    assert not _is_there(engine, container)
