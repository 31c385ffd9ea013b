"""A terminal on which something takes long: one line, which is written over, and leaves nothing."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import NESTED_IMAGE
from pytest_dind.engine.engine import Engine

from .projects import Project
from .slow import SlowEngine, slow_engine

# Runs the command that follows it on a terminal of its own, whose output is this one's; as a run's
# output is read as text, in which each kind of a line's end is the same, with another character for
# the carriage return.
_SPAWN = r"""
import os, pty, sys

def read(terminal):
    return os.read(terminal, 1024).replace(b"\r", b"\v")

sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:], read)))
"""
_TERMINAL = (sys.executable, "-c", _SPAWN)
_PULL_SECONDS = 4
_THREE = """
    def test_before():
        print("said before", end="")

    def test_it(dind_client):
        assert dind_client.ping()

    def test_after():
        print("said after")
"""
_FRAME = re.compile(r"\v(dind: [^\v\n\x1b]*)\x1b\[K")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture
def slow(engine: Engine, room: Path) -> Iterator[SlowEngine]:
    """An engine whose pulls take longer than what is not told of."""
    with slow_engine(engine, room, _PULL_SECONDS) as slow:
        yield slow


def _screen(output: str) -> list[str]:
    """The lines that a terminal shows in the end."""
    lines, column = [""], 0
    for part in re.split(r"(\v|\n|\x1b\[K)", _COLOUR.sub("", output)):
        line = lines[-1]
        if part == "\n":
            lines.append("")
        elif part == "\x1b[K":
            lines[-1] = line[:column]
        elif part and part != "\v":
            lines[-1] = line[:column].ljust(column) + part + line[column + len(part) :]
            column += len(part)
        column = 0 if part in ("\v", "\n") else column
    return lines


@pytest.mark.requires_isolation
@pytest.mark.parametrize(
    ("options", "columns"), [([], 80), (["--capture=no", "-q"], 32)], ids=["usual", "narrow"]
)
def test_slow_pull(project: Project, slow: SlowEngine, options: list[str], columns: int) -> None:
    """A slow pull has a line that says how long it takes; what pytest and tests say is whole."""
    project.write(_THREE)
    output = project.run(
        *(f"--dind-host={slow.url}", f"--dind-image={slow.image}", *options),
        env={"TERM": "xterm", "COLUMNS": str(columns), "NO_COLOR": "1"},
        before=_TERMINAL,
    )
    frames = [found for found in _FRAME.findall(output) if "pulling" in found]
    screen = _screen(output)

    assert len(frames) > 1, output
    assert max(map(len, frames)) < columns
    if columns == 80:
        assert frames[0] == f"dind: pulling {slow.image}: 2 s"
    assert not [line for line in screen if "pulling" in line or "starting" in line]
    assert f"dind: pulled {slow.image}" in screen
    assert any(line.startswith("dind: daemon 'main' pulled in ") for line in screen)
    assert any("3 passed" in line for line in screen)
    if options:
        assert {"said before", "said after"} <= {line.strip(".") for line in screen}


@pytest.mark.requires_isolation
def test_terminal_that_can_write_nothing_over(project: Project, slow: SlowEngine) -> None:
    """On a terminal that can't write a line over, as where there is none, there are whole lines."""
    project.write(_THREE)
    output = project.run(
        *(f"--dind-host={slow.url}", f"--dind-image={slow.image}"),
        env={"TERM": "dumb"},
        before=_TERMINAL,
    )

    assert not _FRAME.findall(output)
    assert f"dind: pulling {slow.image}" in output.splitlines()
    assert f"dind: pulled {slow.image}" in output.splitlines()


@pytest.mark.requires_isolation
def test_workers(project: Project, slow: SlowEngine) -> None:
    """What workers wait for is told while it goes on: by one of them, or by the process with them.

    That starts the daemon itself in a run like the last one, before there are workers.
    """
    project.write(_THREE)
    project.has_cache = True
    options = ("-n2", f"--dind-host={slow.url}", f"--dind-image={slow.image}")
    for teller in (r"\[gw\d\] ", ""):
        output = project.run(*options)
        (pulling,) = re.finditer(rf"^{teller}dind: pulling {slow.image}$", output, re.MULTILINE)
        # Not in the summary again.
        (pulled,) = re.finditer(rf"^{teller}dind: pulled {slow.image}$", output, re.MULTILINE)
        assert pulling.start() < pulled.start() < output.index("[100%]")
        slow.lose()
    slow.pulls = 0


_HASTE = """
    from pytest_dind.engine import steps

    steps._AFTER_SECONDS = steps._BETWEEN_SECONDS = 0
"""


@pytest.mark.requires_isolation
def test_all_that_takes_long(project: Project) -> None:
    """Start, load, build and copies, in both directions, are told of by a line while they go on."""
    project.write(_HASTE, "conftest.py")
    (project.path / "Dockerfile").write_text(f"FROM {NESTED_IMAGE}\nRUN echo hi\n")
    project.write(
        f"""
        def test_it(dind_factory, tmp_path):
            daemon = dind_factory("one")
            daemon.load({NESTED_IMAGE!r})
            daemon.build(".", "built:1")
            daemon.copy_to("Dockerfile", "/there")
            daemon.copy_from("/there", tmp_path)
        """
    )
    env = {"TERM": "xterm", "COLUMNS": "200"}
    output = project.run(env=env, before=_TERMINAL)
    frames = _FRAME.findall(output)

    for what in (
        "starting daemon 'one': ",
        f"loading the image '{NESTED_IMAGE}': ",
        "building built:1: ",
        "copying Dockerfile into the daemon: 0 MB",
        "copying /there out of the daemon: 0 MB",
    ):
        assert any(frame.startswith(f"dind: {what}") for frame in frames), (what, output)
    # A factory's daemons are not in the summary.
    assert not [line for line in _screen(output) if line.startswith("dind: ")], output


def test_quiet_run(project: Project) -> None:
    """Under `-q -q` nothing is said of daemons."""
    project.write(_HASTE, "conftest.py")
    project.write(_THREE)

    assert "dind: " not in project.run("-q", "-q", env={"TERM": "xterm"}, before=_TERMINAL)
