"""The lease: the reader's end-of-file comes with the end of the last holder, and not before."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_dind.lifetime.lease import Lease, is_held


class _Reader:
    """The end that the daemon's container reads."""

    def __init__(self, path: Path) -> None:
        self.fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)

    def held(self) -> bool:
        """Whether anybody holds the other end."""
        try:
            return os.read(self.fd, 1) != b""
        except BlockingIOError:
            return True


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the FIFO is to be."""
    return tmp_path / "lease"


@pytest.fixture
def lease(path: Path) -> Iterator[Lease]:
    """A first holder."""
    lease = Lease(path)
    yield lease
    lease.release()


@pytest.fixture
def reader(lease: Lease, path: Path) -> Iterator[_Reader]:
    """The reader, there after the first holder."""
    reader = _Reader(path)
    yield reader
    os.close(reader.fd)


def test_fifo_is_private(lease: Lease, path: Path) -> None:
    """The lease is a FIFO that only its user may open."""
    assert lease.path == path
    assert stat.filemode(path.lstat().st_mode) == "prw-------"


def test_end_of_file_with_the_last_holder(lease: Lease, reader: _Reader, path: Path) -> None:
    """The reader sees the end when the last holder lets go, not when the first does."""
    second = Lease(path)
    lease.release()
    assert reader.held()

    second.release()
    assert not reader.held()


def test_release_twice(lease: Lease, reader: _Reader, path: Path) -> None:
    """Letting go twice closes nobody else's descriptor."""
    lease.release()
    other = Lease(path)
    lease.release()
    assert reader.held()

    other.release()
    assert not reader.held()


def test_holding_does_not_wait_for_a_reader(lease: Lease, path: Path) -> None:
    """A lease is taken at once, also while nobody reads."""
    lease.release()
    second = Lease(path)
    reader = _Reader(path)

    assert reader.held()
    second.release()
    os.close(reader.fd)


def test_is_held(lease: Lease, path: Path, tmp_path: Path) -> None:
    """Anybody can ask whether a lease is held; asking does not take it, nor make one."""
    assert is_held(path)
    assert is_held(path)
    lease.release()
    assert not is_held(path)
    assert not is_held(tmp_path / "missing")
    assert not (tmp_path / "missing").exists()


def test_started_program_is_no_holder(lease: Lease, reader: _Reader) -> None:
    """A program that a test starts does not inherit the lease, however it was started."""
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, close_fds=False):
        lease.release()
        assert not reader.held()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_forked_child_is_no_holder(lease: Lease, reader: _Reader) -> None:
    """A forked child (multiprocessing) neither keeps the daemon nor, ending, ends it."""
    to_child, to_parent = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        os.write(to_parent[1], b"x")
        os.read(to_child[0], 1)
        os._exit(0)
    try:
        os.read(to_parent[0], 1)
        assert reader.held()
        lease.release()
        assert not reader.held()
    finally:
        os.write(to_child[1], b"x")
        assert os.waitpid(child, 0) == (child, 0)
        for fd in (*to_child, *to_parent):
            os.close(fd)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_forked_child_does_not_end_it(lease: Lease, reader: _Reader) -> None:
    """A forked child that lets go and ends leaves the parent's hold as it is."""
    child = os.fork()
    if not child:
        lease.release()
        os._exit(0)

    assert os.waitpid(child, 0) == (child, 0)
    assert reader.held()


def test_killed_holder(lease: Lease, reader: _Reader, path: Path) -> None:
    """A holder that is killed, and can't say so, lets go all the same."""
    source = (
        "import sys; from pathlib import Path; from pytest_dind.lifetime.lease import Lease\n"
        "lease = Lease(Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", source, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        lease.release()
        assert reader.held()
        holder.kill()
    assert not reader.held()
