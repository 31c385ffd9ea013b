"""Runs with and without workers that need no daemon ask no engine for anything."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def engine(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The socket of an engine, on which nobody has called yet."""
    monkeypatch.setenv("TMPDIR", str(short_path))
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(short_path / "engine.sock"))
        listening.listen()
        listening.setblocking(False)
        yield listening


@pytest.mark.parametrize("workers", [[], ["-n2"]])
@pytest.mark.parametrize(
    "options",
    [
        ["--collect-only"],
        ["--setup-plan"],
        ["-k", "nothing"],
        ["-k", "other"],
        ["--dind-keep=always"],
    ],
)
def test_engine_is_not_asked(
    pytester: pytest.Pytester,
    short_path: Path,
    engine: socket.socket,
    options: list[str],
    workers: list[str],
) -> None:
    """To look, to plan, and to run tests that need no daemon connects to no engine."""
    pytester.makepyfile(
        "" if "--dind-keep=always" in options else "def test_it(dind_client, dind_mode): pass",
        test_other="def test_other(dind_config): pass",
    )
    result = pytester.runpytest_subprocess(
        f"--dind-host=unix://{short_path / 'engine.sock'}", *options, *workers
    )

    assert result.ret in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
    with pytest.raises(BlockingIOError):
        engine.accept()
    assert not list(short_path.glob("pytest-dind-*/*/main"))


def test_engine_is_asked(
    pytester: pytest.Pytester, short_path: Path, engine: socket.socket
) -> None:
    """The same is seen of a run that does need one, or the tests above would prove nothing."""
    pytester.makepyfile("def test_it(dind_client): pass")
    engine.settimeout(30)
    options = [f"--dind-host=unix://{short_path / 'engine.sock'}"]
    with pytester.popen(
        [sys.executable, "-m", "pytest", *options], stdin=subprocess.DEVNULL
    ) as run:
        connection, _ = engine.accept()
        connection.close()
        engine.close()
        assert run.communicate()
    assert run.returncode == pytest.ExitCode.TESTS_FAILED
