"""A registry that is slow: the time that pulls take is not the daemon's."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_dind import __main__ as command
from pytest_dind.engine.engine import Engine
from pytest_dind.lifetime import directories

from .projects import Project
from .slow import SlowEngine, slow_engine

_TEST = "def test_it(dind_client): assert dind_client.ping()"
_PULL_SECONDS = 12
# Enough for a start on a machine that is busy.
_TIMEOUT = 10
_TOLD = re.compile(
    r"^dind: daemon '\S+' (?:pulled in (\S+) s, )?ready in (\S+) s \(mode ", re.MULTILINE
)


@pytest.fixture
def slow(engine: Engine, room: Path) -> Iterator[SlowEngine]:
    """An engine that takes longer for a pull than a daemon may for its start."""
    with slow_engine(engine, room, _PULL_SECONDS) as slow:
        yield slow


def _times(output: str) -> list[tuple[float, float]]:
    """Of each daemon in the summary, what was pulled and the start."""
    return [(float(pulled or 0), float(ready)) for pulled, ready in _TOLD.findall(output)]


def _is_timed_apart(output: str) -> None:
    ((pulled, ready),) = _times(output)
    assert pulled >= _PULL_SECONDS
    assert ready < _TIMEOUT


@pytest.mark.parametrize("workers", ["0", "2"])
@pytest.mark.requires_isolation
def test_image_of_the_daemon(project: Project, slow: SlowEngine, workers: str) -> None:
    """A pull longer than the time-out fails nothing and is told apart; workers wait for it."""
    project.write(f"{_TEST}\ndef test_other(dind_client): assert dind_client.ping()")
    options = (
        f"--dind-host={slow.url}",
        f"--dind-image={slow.image}",
        f"--dind-timeout={_TIMEOUT}",
    )
    output = project.run("-n", workers, *options)

    assert "2 passed" in output
    _is_timed_apart(output)
    # The image is there now, and nothing is told of a pull.
    output = project.run(*options)
    ((pulled, ready),) = _times(output)
    assert (pulled, ready < _TIMEOUT) == (0, True)
    assert slow.pulls == 1


@pytest.mark.requires_isolation
@pytest.mark.parametrize("cache", ["on", "off"])
def test_image_to_load(project: Project, slow: SlowEngine, cache: str) -> None:
    """The same for an image to load, whether the warm store has a part in it or not."""
    project.write(_TEST)
    # The image is large; to load it may take as long as it likes.
    output = project.run(
        *(f"--dind-host={slow.url}", f"--dind-load={slow.image}"),
        *(f"--dind-timeout={_TIMEOUT}", f"--dind-cache={cache}"),
    )
    ((pulled, _),) = _times(output)

    assert pulled >= _PULL_SECONDS
    assert slow.pulls == 1


def test_mode_socket(project: Project, slow: SlowEngine) -> None:
    """The same for a guard, which is ready at once."""
    project.write(_TEST)
    _is_timed_apart(
        project.run(
            *("--dind-mode=socket", f"--dind-host={slow.url}", f"--dind-load={slow.image}"),
            f"--dind-timeout={_TIMEOUT}",
        )
    )


@pytest.mark.requires_isolation
def test_reuse(
    project: Project, slow: SlowEngine, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same for a daemon that is reused, when it is started and when it is taken up again."""
    project.write(_TEST)
    options = (
        *(f"--dind-host={slow.url}", f"--dind-image={slow.image}", f"--dind-timeout={_TIMEOUT}"),
        "--dind-reuse=slow",
    )
    try:
        _is_timed_apart(project.run(*options))
        ((pulled, ready),) = _times(project.run(*options))
        assert (pulled, ready < _TIMEOUT) == (0, True)
    finally:
        base = project.temp / f"pytest-dind-{os.getuid()}"
        monkeypatch.setattr(directories, "base", lambda: base)
        assert command.main(["rm", "--all", f"--host={engine.url}"]) == 0


_HASTE = """
    from pytest_dind.engine import images

    images.PULL_SILENCE_SECONDS = 1
"""


def test_silent_registry(project: Project) -> None:
    """A registry that takes a connection and says nothing is given up, and told as what it is."""
    project.write(_HASTE, "conftest.py")
    project.write(_TEST)
    with socket.socket() as registry:
        registry.bind(("127.0.0.1", 0))
        registry.listen()
        image = f"127.0.0.1:{registry.getsockname()[1]}/some:tag"
        output = project.run(f"--dind-image={image}", f"--dind-load={image}", code=1)

    lines = [line[1:] for line in output.splitlines() if line.startswith("E ")]
    text = " ".join(" ".join(lines).split())
    assert f"ImageUnavailable: The image '{image}' is not on the outer engine and cannot" in text
    assert "its registry has sent nothing for 1 s." in text
    assert f"docker pull {image}" in text
