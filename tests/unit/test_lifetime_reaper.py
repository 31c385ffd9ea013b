"""The reaper, as the program that it is: what it removes, when, and what it leaves."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_dind.lifetime import layout, reaper
from pytest_dind.lifetime.lease import Lease

from ..support import Answer, FakeEngine, Reply, until

pytestmark = pytest.mark.skipif(not Path("/proc").exists(), reason="looks at processes in /proc")

_SECONDS = 10


@pytest.fixture
def run(short_path: Path) -> Path:
    """Where a run's directory is to be."""
    return short_path / "run"


@pytest.fixture
def engine(short_path: Path) -> Iterator[list[str]]:
    """An engine that notes which containers it removes; it knows those of the homes a and b."""
    removed: list[str] = []

    def remove(name: str) -> Answer:
        removed.append(name)
        return Answer(204)

    known = {
        f"DELETE /containers/pytest-dind-run-{home}": lambda home=home: remove(home)
        for home in ("a", "b")
    }
    with FakeEngine(short_path / "e.sock", known):
        yield removed


def _made(run: Path, short_path: Path, *homes: str) -> None:
    for home in homes:
        (run / home).mkdir()
        (run / home / layout.ENGINE).write_text(f"unix://{short_path / 'e.sock'}")
        (run / home / layout.STATE).touch()


def _begin(run: Path) -> Lease:
    """A run as its first process begins it."""
    with reaper.watching(run) as process:
        run.mkdir()
        lease = Lease(run / layout.LEASE)
    assert process.wait(_SECONDS) == 0
    return lease


def _reapers(run: Path) -> list[int]:
    """The reapers that wait for a run."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.fsencode(run) in (path / "cmdline").read_bytes().split(b"\0"):
                found.append(int(path.name))
    return found


def _readers(run: Path) -> list[int]:
    """The reapers that have opened the run's lease."""
    lease = run / layout.LEASE
    return [
        pid
        for pid in _reapers(run)
        if any(link.readlink() == lease for link in Path(f"/proc/{pid}/fd").iterdir())
    ]


def _gone(run: Path) -> bool:
    return not run.exists() and not _reapers(run)


def test_last_user_lets_go(run: Path, short_path: Path, engine: list[str]) -> None:
    """With the last user the containers go, then the directory, then the reaper itself."""
    first = _begin(run)
    second = Lease(run / layout.LEASE)
    _made(run, short_path, "a", "b")
    first.release()
    assert _reapers(run)
    assert not engine
    second.release()

    until(lambda: _gone(run), _SECONDS, "run and reaper are gone")
    assert sorted(engine) == ["a", "b"]


def test_kept(run: Path, short_path: Path, engine: list[str]) -> None:
    """What is kept stays with its directory, and the reaper goes."""
    lease = _begin(run)
    _made(run, short_path, "a", "b")
    (run / "a" / layout.KEPT).touch()
    lease.release()

    until(lambda: not _reapers(run), _SECONDS, "the reaper is gone")
    assert engine == ["b"]
    assert {path.name for path in run.iterdir() if path.is_dir()} == {"a"}
    assert (run / layout.LEASE).exists()


def test_starter_that_dies_first(run: Path) -> None:
    """A run whose starter dies before it has a lease leaves no directory."""
    source = (
        "import os, sys; from pathlib import Path; from pytest_dind.lifetime import reaper\n"
        "run = Path(sys.argv[1])\n"
        "with reaper.watching(run): run.mkdir(); os.kill(os.getpid(), 9)"
    )
    ended = subprocess.run([sys.executable, "-c", source, str(run)], check=False)
    assert ended.returncode == -signal.SIGKILL
    until(lambda: _gone(run), _SECONDS, "run and reaper are gone")


def test_start_that_fails(run: Path) -> None:
    """A run that can't be made ends its reaper, and leaves no directory."""
    with pytest.raises(FileExistsError), reaper.watching(run):
        _mkdir_twice(run)
    until(lambda: _gone(run), _SECONDS, "run and reaper are gone")


def _mkdir_twice(run: Path) -> None:
    run.mkdir()
    run.mkdir()


def test_container_that_comes_late(run: Path, short_path: Path) -> None:
    """A container that the engine makes after its starter's end is removed when it is there."""
    asked: list[int] = []

    def remove() -> Answer:
        asked.append(1)
        return Answer(204 if len(asked) == 5 else 404)

    with FakeEngine(short_path / "e.sock", {"DELETE /containers/pytest-dind-run-a": remove}):
        lease = _begin(run)
        _made(run, short_path, "a")
        (run / "a" / layout.STATE).unlink()
        lease.release()
        until(lambda: len(asked) >= 5, _SECONDS, "it is removed")
        assert not run.exists()
        until(lambda: _gone(run), _SECONDS, "run and reaper are gone")
    # The last is to be sure.
    assert len(asked) == 6


@pytest.mark.parametrize("answers", [[204, 204, 404], [404, 204, 204, 204, 404]])
def test_container_that_stays_by_half(run: Path, short_path: Path, answers: list[int]) -> None:
    """Podman 4 removes half of a container that it is making; it is asked until all is gone."""
    left = list(answers)
    asked = {"DELETE /containers/pytest-dind-run-a": lambda: Answer(left.pop(0))}
    with FakeEngine(short_path / "e.sock", asked):
        lease = _begin(run)
        _made(run, short_path, "a")
        (run / "a" / layout.STATE).unlink()
        lease.release()
        until(lambda: not left, _SECONDS, "it is gone by the engine's own word")
        until(lambda: _gone(run), _SECONDS, "run and reaper are gone")


def test_daemon_on_podman(run: Path, short_path: Path) -> None:
    """Podman would wait ten seconds for a container's end, and so it is killed before it goes."""
    asked: list[str] = []

    def noted(what: str) -> Answer:
        asked.append(what)
        return Answer(204)

    name = "/containers/pytest-dind-run-a"
    known: dict[str, Reply] = {
        "GET /libpod/_ping": Answer(),
        f"POST {name}/kill": lambda: noted("kill"),
        f"DELETE {name}": lambda: noted("remove"),
    }
    with FakeEngine(short_path / "e.sock", known):
        lease = _begin(run)
        _made(run, short_path, "a")
        lease.release()
        until(lambda: _gone(run), _SECONDS, "run and reaper are gone")
    assert asked == ["kill", "remove"]


def test_daemon_that_has_ended_is_not_waited_for(run: Path, short_path: Path) -> None:
    """A daemon that was ready and is gone, as most are by then, is asked for only once."""
    asked: list[int] = []

    def remove() -> Answer:
        asked.append(1)
        return Answer(404)

    with FakeEngine(short_path / "e.sock", {"DELETE /containers/pytest-dind-run-a": remove}):
        lease = _begin(run)
        _made(run, short_path, "a")
        lease.release()
        until(lambda: _gone(run), _SECONDS, "run and reaper are gone")
    assert asked == [1]


@contextlib.contextmanager
def _lock(run: Path) -> Iterator[None]:
    with (run.parent / layout.LOCK).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def test_next_user_is_faster(run: Path, short_path: Path, engine: list[str]) -> None:
    """A lease that is taken up again before the reaper has the lock stays, with all behind it."""
    lease = _begin(run)
    _made(run, short_path, "a")
    with _lock(run):
        lease.release()
        until(lambda: _waits_for_a_lock(run), _SECONDS, "the reaper waits for the lock")
        lease = Lease(run / layout.LEASE)
    until(lambda: not _waits_for_a_lock(run), _SECONDS, "the reaper has the lock")
    with _lock(run):
        assert run.exists()
    assert not engine
    assert _reapers(run)

    lease.release()
    until(lambda: _gone(run), _SECONDS, "run and reaper are gone")


def test_removal_that_was_killed(run: Path, short_path: Path) -> None:
    """A directory whose lease is gone already goes too: who was removing it has been killed."""
    lease = _begin(run)
    _made(run, short_path)
    until(lambda: len(_readers(run)) == 1, _SECONDS, "the reaper waits for the lease's end")
    (run / layout.LEASE).unlink()

    lease.release()
    until(lambda: _gone(run), _SECONDS, "run and reaper are gone")


def test_run_that_others_made_anew(run: Path, short_path: Path, engine: list[str]) -> None:
    """Two reapers of one directory never take what a third process has made in its place."""
    lease = _begin(run)
    with reaper.watching(run) as process:
        pass
    process.wait(_SECONDS)
    until(lambda: len(_readers(run)) == 2, _SECONDS, "two reapers wait for the lease's end")
    with _lock(run):
        lease.release()
        (run / layout.LEASE).unlink()
        again = Lease(run / layout.LEASE)
        _made(run, short_path, "a")
    until(lambda: not _reapers(run), _SECONDS, "both reapers are gone")

    assert run.exists()
    assert not engine
    again.release()


def test_lock_that_was_removed(run: Path, short_path: Path) -> None:
    """A lock file that its holder removes, as some versions of filelock do, is still one lock."""
    lease = _begin(run)
    path = run.parent / layout.LOCK
    with path.open("a") as old, path.open("a"):
        fcntl.flock(old, fcntl.LOCK_EX)
        lease.release()
        until(lambda: _waits_for_a_lock(run), _SECONDS, "the reaper waits for the lock")
        path.unlink()
        with path.open("a") as new:
            fcntl.flock(new, fcntl.LOCK_EX)
            fcntl.flock(old, fcntl.LOCK_UN)
            until(lambda: _waits_for_a_lock(run), _SECONDS, "it waits for the new one")
            assert run.exists()
    until(lambda: _gone(run), _SECONDS, "run and reaper are gone")


def _waits_for_a_lock(run: Path) -> bool:
    """Whether the reaper is asleep in flock(2)."""
    (pid,) = _reapers(run)
    waiting = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    return any(words[1] == "->" and int(words[5]) == pid for words in waiting)


def test_engine_that_does_not_answer(run: Path, short_path: Path) -> None:
    """Without its engine the directory goes all the same; the containers are the sweep's."""
    lease = _begin(run)
    _made(run, short_path, "a")
    lease.release()

    until(lambda: _gone(run), _SECONDS, "run and reaper are gone")


def test_needs_nothing_of_the_user(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of the user's environment changes what it runs."""
    monkeypatch.setenv("PYTHONPATH", str(run.parent))
    (run.parent / "socket.py").write_text("raise RuntimeError")
    lease = _begin(run)
    assert _reapers(run)
    lease.release()
    until(lambda: _gone(run), _SECONDS, "run and reaper are gone")


def test_paused_containers(short_path: Path) -> None:
    """Before a daemon goes, what is paused in it is thawed; where nobody answers, nothing is."""
    reaper.thaw(short_path)
    thawed: list[str] = []

    def thaw(name: str) -> Answer:
        thawed.append(name)
        return Answer(204)

    known: dict[str, Reply] = {
        "GET /containers/json": Answer(body=[{"Id": "one"}, {"Id": "two"}]),
        "POST /containers/one/unpause": lambda: thaw("one"),
        "POST /containers/two/unpause": lambda: thaw("two"),
    }
    with FakeEngine(short_path / layout.SOCKET, known):
        reaper.thaw(short_path)

    assert thawed == ["one", "two"]


def test_daemon_that_answers_nonsense(short_path: Path) -> None:
    """A daemon that can't say what is paused in it goes all the same."""
    with FakeEngine(short_path / layout.SOCKET, {"GET /containers/json": Answer(500, {"m": 1})}):
        reaper.thaw(short_path)


def test_two_engines(run: Path, short_path: Path, engine: list[str]) -> None:
    """A run with daemons on two engines leaves nothing on either: neither container nor network."""
    elsewhere: list[str] = []
    networks: list[str] = []

    def note(known: list[str], what: str) -> Answer:
        known.append(what)
        return Answer(204)

    other = {
        "DELETE /containers/pytest-dind-run-b": lambda: note(elsewhere, "b"),
        "DELETE /networks/pytest-dind-run": lambda: note(networks, "the second"),
    }
    first = {"DELETE /networks/pytest-dind-run": lambda: note(networks, "the first")}
    with FakeEngine(short_path / "o.sock", other), FakeEngine(short_path / "n.sock", first):
        lease = _begin(run)
        _made(run, short_path, "a", "b")
        (run / "b" / layout.ENGINE).write_text(f"unix://{short_path / 'o.sock'}")
        urls = [f"unix://{short_path / name}\n" for name in ("n.sock", "o.sock")]
        (run / layout.NETWORK).write_text("".join(urls))
        lease.release()
        until(lambda: _gone(run), _SECONDS, "run and reaper are gone")

    assert (engine, elsewhere, networks) == (["a"], ["b"], ["the first", "the second"])


def test_network_with_others(run: Path, short_path: Path) -> None:
    """A daemon of another run, whose reaper has not removed it yet, holds up no network."""
    target = "/networks/pytest-dind-run"
    inside = ["other"]
    removed: list[int] = []

    def remove() -> Answer:
        # The engine is not through with it at once.
        removed.append(403 if inside or len(removed) < 2 else 204)
        return Answer(removed[-1], {"message": "it has active endpoints"})

    def disconnect() -> Answer:
        inside.clear()
        return Answer(200)

    answers: dict[str, Reply] = {
        f"DELETE {target}": remove,
        f"GET {target}": lambda: Answer(body={"Containers": {one: {} for one in inside}}),
        f"POST {target}/disconnect": disconnect,
    }
    with FakeEngine(short_path / "e.sock", answers):
        lease = _begin(run)
        (run / layout.NETWORK).write_text(f"unix://{short_path / 'e.sock'}\n")
        lease.release()
        until(lambda: _gone(run), _SECONDS, "run and reaper are gone")

    assert removed == [403, 403, 204]


def test_network_of_kept_daemons(run: Path, short_path: Path) -> None:
    """The network stays with the last daemon that is kept, and goes after it."""
    asked: list[str] = []
    target = "DELETE /networks/pytest-dind-run"

    def remove() -> Answer:
        asked.append(target)
        return Answer(204)

    run.mkdir()
    with FakeEngine(short_path / "e.sock", {target: remove}):
        _made(run, short_path, "a", "b")
        (run / layout.NETWORK).write_text(f"unix://{short_path / 'e.sock'}\n")
        for home in ("a", "b"):
            (run / home / layout.KEPT).touch()
        (run / "a" / layout.KEPT).unlink()
        reaper.finish(run)
        assert not asked
        assert [path.name for path in run.iterdir() if path.is_dir()] == ["b"]

        (run / "b" / layout.KEPT).unlink()
        reaper.finish(run)
        assert asked == [target]
        assert not run.exists()
