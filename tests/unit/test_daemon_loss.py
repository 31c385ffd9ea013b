"""A daemon that is gone: told apart from a busy one, and explained."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import threading
from pathlib import Path
from typing import Any, cast

import docker
import pytest
from docker.errors import NullResource

from pytest_dind import Daemon, DaemonLost
from pytest_dind.backends.protocol import Backend, Record
from pytest_dind.daemon.loss import lost, lost_behind
from pytest_dind.lifetime.files import Directory
from pytest_dind.lifetime.layout import Home

from ..support import FakeEngine


class _Backend:
    """A backend that knows how a daemon ended."""

    def __init__(self, code: int | None) -> None:
        self._code = code

    def stop(self, home: Home) -> None:
        """The container's first process is killed."""
        self._code = 137

    def files(self, record: Record) -> Directory:
        return Directory(record.home.path)

    def post_mortem(self, record: Record) -> int | None:
        return self._code


def _daemon(home: Path, code: int | None = None) -> Daemon:
    known: dict[str, Any] = dict.fromkeys(Record.__dataclass_fields__, "")
    record = Record(
        **{**known, "mode": "dind", "home": Home(home), "host": f"unix://{home / 'docker.sock'}"}
    )
    return Daemon(record, cast("Backend", _Backend(code)))


def _lost(daemon: Daemon, *, asks: bool = False) -> DaemonLost | None:
    return lost(daemon.record, daemon._backend, asks=asks)


def _behind(error: BaseException, *daemons: Daemon) -> DaemonLost | None:
    return lost_behind(error, [(daemon.record, daemon._backend) for daemon in daemons])


def _text(error: DaemonLost | None) -> str:
    assert error is not None
    return str(error)


def test_daemon_that_was_stopped(short_path: Path) -> None:
    """A daemon that the tests ended was not killed by anybody else."""
    found = _daemon(short_path)
    daemon = Daemon(dataclasses.replace(found.record, id="of-this-test"), found._backend)
    daemon.stop()
    text = _text(_lost(daemon))
    assert "The tests ended it: Daemon.stop()" in text
    assert "out-of-memory" not in text


def test_daemon_that_serves(short_path: Path) -> None:
    """A daemon that answers is not lost."""
    with FakeEngine(short_path / "docker.sock", {}):
        assert _lost(_daemon(short_path)) is None


def test_daemon_that_is_busy(short_path: Path) -> None:
    """A daemon that accepts and does not answer is busy, not lost."""
    with socket.socket(socket.AF_UNIX) as busy:
        busy.bind(str(short_path / "docker.sock"))
        busy.listen()
        assert _lost(_daemon(short_path)) is None
        assert _lost(_daemon(short_path), asks=True) is None


def test_daemon_that_is_being_killed(short_path: Path) -> None:
    """A daemon whose clients are cut off is lost, although the kernel still takes new ones."""
    with socket.socket(socket.AF_UNIX) as dying:
        dying.bind(str(short_path / "docker.sock"))
        dying.listen()
        assert _lost(_daemon(short_path)) is None

        def cut_off() -> None:
            for _ in range(2):
                dying.accept()[0].close()

        end = threading.Thread(target=cut_off)
        end.start()
        assert _lost(_daemon(short_path), asks=True) is not None
        end.join()


def test_daemon_that_was_killed(short_path: Path) -> None:
    """A daemon that the out-of-memory killer ended is told so, with the remedy first."""
    (short_path / "log").write_text("last words\n")

    assert _text(_lost(_daemon(short_path, 137))) == (
        f"The daemon {short_path.name!r} (mode dind) is gone; tests that need it fail.\n"
        "Evidence:\n"
        "  Exit code 137: it was killed (SIGKILL), most often by the out-of-memory killer.\n"
        "  last words\n"
        "To fix this, either:\n"
        "  - Give the machine more memory, or run fewer tests at once.\n"
        "  - Look in its last log lines for what ended it.\n"
        "  - A test that stops or kills the daemon needs a run of its own."
    )


@pytest.mark.parametrize(
    ("code", "ended"),
    [
        (1, "It ended with exit code 1."),
        (139, "It ended with exit code 139 (SIGSEGV)."),
        (None, "It left no exit code."),
    ],
)
def test_daemon_that_ended(short_path: Path, code: int | None, ended: str) -> None:
    """A daemon that ended otherwise has its exit code, where one is known."""
    text = _text(_lost(_daemon(short_path, code)))

    assert ended in text
    assert "more memory" not in text


def test_daemon_that_wrote_its_exit_code(short_path: Path) -> None:
    """A daemon that has written an exit code is lost, even while its socket still accepts."""
    (short_path / "exit").write_text("0\n")
    with FakeEngine(short_path / "docker.sock", {}):
        assert "It ended with exit code 0." in _text(_lost(_daemon(short_path, 0)))


def test_client_of_one_that_is_gone(short_path: Path) -> None:
    """A daemon that is gone gives no client, but says that it is gone."""
    with pytest.raises(DaemonLost, match="is gone"):
        _daemon(short_path).client()


def test_loss_behind_a_failed_call(short_path: Path) -> None:
    """A call that failed is the loss of the daemon that it went to, however it is wrapped."""
    for name in ("one", "two"):
        (short_path / name).mkdir()
    one, two = _daemon(short_path / "one"), _daemon(short_path / "two")

    def call(host: str) -> Exception:
        with contextlib.closing(docker.DockerClient(base_url=host, version="1.41")) as client:
            try:
                # It fails before it has a connection, which docker-py would leave open.
                api: Any = client.api
                api.inspect_image("")
            except NullResource as error:
                try:
                    raise RuntimeError("of the test's own") from error
                except RuntimeError as wrapped:
                    return wrapped
        raise AssertionError("it answered")

    found = _behind(call(two.host), one, two)
    assert "The daemon 'two'" in _text(found)
    assert _behind(call("unix:///elsewhere"), one, two) is None
    assert _behind(ValueError(), one, two) is None
    error = call("tcp://127.0.0.1:1")
    record = dataclasses.replace(two.record, host="tcp://127.0.0.1:1")
    assert _behind(error, one, dataclasses.replace(two, record=record)) is not None


def test_directory_that_was_removed(short_path: Path) -> None:
    """A daemon whose directory somebody removed is lost for that, which is said."""
    text = _text(_lost(_daemon(short_path / "gone")))

    assert f"Its directory {short_path / 'gone'}, by which it is reached, was removed" in text
    assert "Set TMPDIR to a directory that nobody clears while tests run." in text
    assert "exit code" not in text
    (short_path / "there").mkdir()
    assert "was removed" not in _text(_lost(_daemon(short_path / "there")))
