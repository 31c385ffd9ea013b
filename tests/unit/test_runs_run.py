"""Runs: begun, joined and ended, without an engine."""

from __future__ import annotations

import errno
import gc
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from pytest_dind import DaemonLost, Settings, SettingsError
from pytest_dind.backends import records
from pytest_dind.backends.protocol import Record
from pytest_dind.lifetime import directories
from pytest_dind.lifetime.files import Directory
from pytest_dind.lifetime.layout import LEASE, Home
from pytest_dind.lifetime.lease import is_held
from pytest_dind.runs import ending, starter
from pytest_dind.runs import run as run_module
from pytest_dind.runs.run import Run
from pytest_dind.settings import MAIN

from ..support import until


@pytest.fixture
def temp(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The temp dir in force."""
    monkeypatch.setattr(tempfile, "tempdir", str(short_path))
    return short_path


class Backend:
    """Starts daemons that are none, and says which are there."""

    def __init__(self) -> None:
        self.there: set[Path] = set()
        self.started: list[Path] = []
        self.fails: type[BaseException] | None = None
        self.connection = "shared"
        self.held = 0
        self.forwarded: list[Path] = []
        # Set: the engine answers no more.
        self.hangs = threading.Event()

    def start(self, home: Home, settings: Settings, *given: object) -> Record:
        """Start one."""
        self.there.add(home.path)
        self.started.append(home.path)
        assert is_held(home.path / LEASE)
        if self.fails is not None:
            raise self.fails
        known: dict[str, Any] = dict.fromkeys(Record.__dataclass_fields__, "")
        return Record(
            **known
            | {"mode": "dind", "home": home, "id": str(len(self.started)), "published": ()}
            | {"connection": self.connection}
            | {"host": f"unix://{home.path}/docker.sock", "seconds": 0.0, "pulled": 0.0}
            | {"user_namespace": False}
        )

    def hold(self, record: Record) -> None:
        """Hold one."""
        self.held += 1

    def forward(self, record: Record) -> None:
        """Forward its ports."""
        self.forwarded.append(record.home.path)

    def release(self) -> None:
        """Let go of all."""
        self.held = 0

    def files(self, record: Record) -> Directory:
        """Its files."""
        return Directory(record.home.path)

    def stop(self, home: Home) -> None:
        """Remove one."""
        if self.hangs.is_set():
            threading.Event().wait()
        self.there.discard(home.path)


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Backend:
    """The only backend there is."""
    made = Backend()
    monkeypatch.setattr(starter, "backend", lambda mode, engine: made)
    monkeypatch.setattr(starter, "sweep", lambda base, engine: None)
    for module in (run_module, starter):
        monkeypatch.setattr(module, "lost", lambda record, backend, **how: None)
    return made


@pytest.fixture
def run(temp: Path, backend: Backend) -> Iterator[Run]:
    """A run that this process began."""
    run = Run.begin(print)
    yield run
    run.close()


@pytest.fixture
def other(run: Run) -> Iterator[Run]:
    """The same run, as another process of it has it."""
    other = Run.join(run.path, print)
    yield other
    other.close()


SETTINGS = Settings(mode="dind", host="unix:///nonexistent.sock")


def test_first_who_asks_starts_it(run: Run, other: Run, backend: Backend) -> None:
    """Whoever asks first starts the daemon, the others attach; asked again, it is the same."""
    first = other.daemon(SETTINGS)

    assert run.daemon(SETTINGS) == first
    assert other.daemon(SETTINGS) == first
    assert backend.started == [run.path / MAIN]
    assert [record.id for record in run.records] == ["1"]


def test_begun_ends_it(temp: Path, backend: Backend) -> None:
    """Who joined leaves it; who began ends it, and the directory is gone then."""
    run = Run.begin(print)
    other = Run.join(run.path, print)
    other.daemon(SETTINGS)
    assert other.close() == []
    assert backend.there
    assert run.close() == []

    assert not backend.there
    assert not run.path.exists()


def test_forked_child_ends_nothing(run: Run, backend: Backend) -> None:
    """A forked child that closes its copy of the run ends nothing of the parent's."""
    run.daemon(SETTINGS)
    child = os.fork()
    if not child:
        run.close()
        os._exit(0)

    assert os.waitpid(child, 0) == (child, 0)
    assert run.path.exists()
    assert is_held(run.path / LEASE)


@pytest.mark.parametrize(
    ("keep", "failed", "stays"),
    [
        ("never", True, False),
        ("on-failure", False, False),
        ("on-failure", True, True),
        ("always", False, True),
    ],
)
def test_keep(temp: Path, backend: Backend, keep: str, failed: bool, stays: bool) -> None:
    """What stays is told of, marked, and let alone."""
    run = Run.begin(print)
    run.daemon(SETTINGS.replace(keep=keep))
    kept = run.close(failed=failed)

    assert [record.id for record in kept] == (["1"] if stays else [])
    assert bool(backend.there) == stays
    assert (run.path / MAIN / "kept").exists() == stays


@pytest.mark.parametrize("fails", [RuntimeError, KeyboardInterrupt])
def test_start_that_fails(run: Run, backend: Backend, fails: type[BaseException]) -> None:
    """A start that fails leaves nothing, and may be tried again."""
    backend.fails = fails
    with pytest.raises(fails):
        run.daemon(SETTINGS)
    assert not backend.there
    assert not (run.path / MAIN).exists()
    assert run.records == []

    backend.fails = None
    assert run.daemon(SETTINGS).id == "2"


def test_start_that_was_cut_short(run: Run, backend: Backend) -> None:
    """What a process that died while starting left there is removed, and the start made anew."""
    home = run.path / MAIN
    home.mkdir()
    (home / "exit").write_text("137\n")
    backend.there.add(home)
    run.daemon(SETTINGS)

    assert not (home / "exit").exists()
    assert backend.started == [home]


def test_other_settings(run: Run, other: Run) -> None:
    """A second process with other settings is told which; what does not shape it may differ."""
    other.daemon(SETTINGS)
    assert run.daemon(SETTINGS.replace(timeout=7, unavailable="skip")).id == "1"
    with pytest.raises(SettingsError, match="This run already has a daemon 'main', with other"):
        run.daemon(SETTINGS.replace(arg=["--debug"]))


def test_loss(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A loss is looked for until there is one, then told again without asking, each time anew."""
    run.daemon(SETTINGS)
    assert run.lost() is None
    asked = []

    def lost(record: Record, backend: object, *, asks: bool) -> DaemonLost:
        asked.append(record)
        return DaemonLost("Lost.", evidence="seen", remedy=["none"])

    monkeypatch.setattr(run_module, "lost", lost)
    first, second = run.lost(), run.lost()

    assert len(asked) == 1
    assert str(first) == str(second)
    # One that is raised again and again would gather all the tracebacks.
    assert first is not second


def test_loss_of_one_of_several(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A test is told of the loss of its daemon, not of another's."""
    first, second = run.daemon(SETTINGS), run.daemon(SETTINGS, "second")

    def lost(record: Record, backend: object, *, asks: bool) -> DaemonLost | None:
        gone = record == first.record
        return DaemonLost("Lost.", evidence="seen", remedy=["none"]) if gone else None

    monkeypatch.setattr(run_module, "lost", lost)
    assert run.lost(but=[first.id]) is None
    assert run.lost(but=[second.id]) is not None
    assert run.lost(but=[first.id]) is None


def test_several_daemons(run: Run, other: Run, backend: Backend) -> None:
    """Each name has a daemon of its own, for all processes of the run."""
    ids = [run.daemon(SETTINGS.replace(image=name), name).id for name in ("main", "b", "c")]

    assert len(set(ids)) == 3
    assert [other.daemon(SETTINGS.replace(image=name), name).id for name in ("c", "main")] == [
        ids[2],
        ids[0],
    ]
    assert [path.name for path in backend.started] == ["main", "b", "c"]


def test_end_of_one_of_several(run: Run, backend: Backend) -> None:
    """One that ends before the run is gone, and told of; who asks for it again gets a new one."""
    first, second = run.daemon(SETTINGS), run.daemon(SETTINGS, "second")
    run.end(first)

    assert backend.there == {second.record.home.path}
    assert not first.record.home.path.exists()
    assert (run.records, run.ended) == ([second.record], [first.record])
    assert run.daemon(SETTINGS).id not in (first.id, second.id)


def test_end_of_one_that_is_kept(run: Run, backend: Backend) -> None:
    """A daemon that may have to stay after the run is not ended before."""
    daemon = run.daemon(SETTINGS.replace(keep="on-failure"))
    run.end(daemon)

    assert backend.there == {daemon.record.home.path}
    assert (run.daemons, run.ended) == ([daemon], [])


def test_end_that_fails(
    run: Run, backend: Backend, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A daemon that the engine does not remove now stays the run's, and that is told."""
    daemon = run.daemon(SETTINGS)

    def stop(home: Home) -> NoReturn:
        raise RuntimeError("busy")

    with monkeypatch.context() as patched:
        patched.setattr(backend, "stop", stop)
        run.end(daemon)

    assert (run.daemons, run.ended) == ([daemon], [])
    assert f"{daemon.record.home.label} could not be ended: busy" in capsys.readouterr().out


def test_end_after_a_start_in_the_background(run: Run, backend: Backend) -> None:
    """One that was started in the background is not handed out again once it has ended."""
    run.start_in_background(SETTINGS)
    first = run.daemon(SETTINGS)
    run.end(first)

    assert run.daemon(SETTINGS).id != first.id
    assert len(backend.started) == 2


def test_corrupt_state(run: Run, other: Run, backend: Backend) -> None:
    """A state that can't be read, in a run, means a new daemon instead of a wait."""
    other.daemon(SETTINGS)
    (run.path / MAIN / "state.json").write_text("{")

    assert run.daemon(SETTINGS).id == "2"


def _refuses(*args: object, **kwargs: object) -> NoReturn:
    raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))


@pytest.mark.parametrize("call", ["mkfifo", "open"])
def test_no_fifos(temp: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """Where no FIFO can be made the run is an error that says where; no directory is left."""
    real = os.open
    if call == "mkfifo":
        monkeypatch.setattr(os, "mkfifo", _refuses)
    else:
        monkeypatch.setattr(
            os,
            "open",
            lambda path, *rest: _refuses() if str(path).endswith(LEASE) else real(path, *rest),
        )
    with pytest.raises(SettingsError) as caught:
        Run.begin(print)
    monkeypatch.undo()

    text = str(caught.value)
    assert "/lease, which daemons of this user need, cannot be written." in text
    assert "Operation not permitted" in text
    monkeypatch.setattr(tempfile, "tempdir", str(temp))
    base = directories.base()
    until(
        lambda: not [path for path in base.glob("*") if path.is_dir()], 10, "no directory is left"
    )


@pytest.mark.parametrize("call", ["os.link", "pathlib.Path.replace"])
def test_home_that_cannot_be_written(
    run: Run, backend: Backend, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """A home that can't take the lease or the state is an error, and nothing is left."""
    monkeypatch.setattr(call, _refuses)
    with pytest.raises(SettingsError, match="which daemons of this user need, cannot be written"):
        run.daemon(SETTINGS)

    assert not backend.there
    assert not (run.path / MAIN).exists()


def test_directory_that_a_cleaner_took(temp: Path, backend: Backend) -> None:
    """A run whose directory is gone can be joined by nobody, and ends all the same."""
    run = Run.begin(print)
    directories.remove(run.path)
    with pytest.raises(SettingsError, match="cannot be written"):
        Run.join(run.path, print)
    assert run.close() == []


def test_two_runs(temp: Path, backend: Backend) -> None:
    """Two runs of one process have nothing in common."""
    first, second = Run.begin(print), Run.begin(print)
    assert first.daemon(SETTINGS).id != second.daemon(SETTINGS).id
    first.close()
    assert records.read(Home(second.path / MAIN)) is not None
    second.close()
    assert not backend.there
    gc.collect()


def test_held_to_the_end_of_the_process(run: Run, other: Run, backend: Backend) -> None:
    """Who attaches to a daemon holds it, once; a process that leaves the run doesn't let go."""
    run.daemon(SETTINGS)
    other.daemon(SETTINGS)
    other.daemon(SETTINGS)
    assert backend.held == 1
    other.close()
    assert backend.held == 1
    run.close()
    assert backend.held == 0


def test_daemon_elsewhere_that_is_gone(
    run: Run, other: Run, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One on an engine elsewhere ended with who used it: who asks next has a new one."""
    backend.connection = "tls"
    first = run.daemon(SETTINGS)
    gone = DaemonLost("It is gone.", remedy=[])
    monkeypatch.setattr(
        starter, "lost", lambda record, backend: gone if record == first.record else None
    )

    assert other.daemon(SETTINGS) != first
    assert backend.started == [run.path / MAIN] * 2


@pytest.mark.parametrize(("failed", "kept"), [(True, True), (False, False)])
def test_kept_by_the_last_who_holds_it(
    run: Run, other: Run, backend: Backend, failed: bool, kept: bool
) -> None:
    """A worker whose test failed has a daemon elsewhere kept, since nobody else may hold it."""
    backend.connection = "gate"
    other.daemon(SETTINGS.replace(keep="on-failure"))
    other.close(failed=failed)

    assert (run.path / MAIN / "kept").exists() == kept


def test_swept_once(temp: Path, backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """What others left is looked for at the first start of a test run, in none of its others."""
    swept = []
    monkeypatch.setattr(starter, "sweep", lambda base, engine: swept.append(base))
    run = Run.begin(print)
    other = Run.begin(print, beside=run.path)
    other.daemon(SETTINGS)
    run.daemon(SETTINGS)
    other.close()
    run.close()
    assert swept == [directories.base()]

    next_one = Run.begin(print)
    next_one.daemon(SETTINGS)
    next_one.close()
    assert len(swept) == 2


def test_one_engine_by_many_names(run: Run, temp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts that lead to one socket are one engine; what a text meant first, it keeps meaning."""
    (temp / "link").symlink_to(temp / "s")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{temp}/s")
    found = {
        run.engine(Settings(host=on)) for on in ("", f"unix://{temp}/s", f"unix://{temp}/link")
    }
    monkeypatch.setenv("DOCKER_HOST", "unix:///elsewhere")

    assert {*found, run.engine(Settings())} == found
    assert len(found) == 1
    assert run.engine(Settings(host="unix:///elsewhere")) not in found


@pytest.mark.alone
def test_engine_that_answers_no_more(
    temp: Path, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end of several runs waits in all no longer than it may, and says what it has left."""
    monkeypatch.setattr(ending, "SECONDS", 1.0)
    said: list[str] = []
    run = Run.begin(said.append)
    other = Run.begin(said.append, beside=run.path, patience=run.patience)
    run.daemon(SETTINGS)
    run.start("more", SETTINGS)
    other.daemon(SETTINGS)
    backend.hangs.set()
    began = time.monotonic()
    other.close()
    run.close()

    # Three daemons, with one wait.
    assert time.monotonic() - began < 2.9
    label = f"pytest-dind-{other.path.name}-main"
    assert said[0] == (
        f"{label} is left to its lease, the reaper and the next run's sweep: "
        "the engine at unix:///nonexistent.sock does not answer"
    )
    assert [line.partition(" is left")[0] for line in said[1:]] == [
        f"pytest-dind-{run.path.name}-main",
        f"pytest-dind-{run.path.name}-more",
    ]
    assert not is_held(run.path / LEASE)


def test_kept_on_an_engine_that_answers_no_more(
    temp: Path, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is to stay is marked without the engine."""
    monkeypatch.setattr(ending, "SECONDS", 0.1)
    run = Run.begin(print)
    run.start("gone", SETTINGS)
    run.start("kept", SETTINGS.replace(keep="always"))
    backend.hangs.set()

    assert [record.home.name for record in run.close()] == ["kept"]


def test_start_under_way_on_an_engine_that_answers_no_more(
    temp: Path, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is a start waited for that can't be broken off."""
    monkeypatch.setattr(ending, "SECONDS", 1.0)
    under_way, test_is_over = threading.Event(), threading.Event()

    def start(*given: object) -> Record:
        backend.hangs.set()
        under_way.set()
        test_is_over.wait()
        raise AssertionError

    monkeypatch.setattr(backend, "start", start)
    run = Run.begin(print)
    run.start_in_background(SETTINGS)
    assert under_way.wait(10)
    began = time.monotonic()
    run.close()
    seconds = time.monotonic() - began
    # Tests after this one find no start under way.
    backend.hangs.clear()
    test_is_over.set()
    for thread in threading.enumerate():
        if thread.name == "pytest-dind":
            thread.join(10)

    assert seconds < 2.9
