"""`pytest-dind logs` and `pytest-dind shell`, on one daemon that a run has left behind."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from uuid import uuid4

import docker
import pytest

from conftest import DAEMON_IMAGE
from pytest_dind.engine.engine import Engine
from pytest_dind.lifetime import layout

from ..support import remove_tree, until
from .conftest import DeriveImage
from .projects import Project
from .traces import Traces

pytestmark = [pytest.mark.requires_isolation, pytest.mark.xdist_group("command")]

_COMMAND = [sys.executable, "-m", "pytest_dind"]
_SECONDS = 60


class _Kept:
    """A daemon that its run has left behind.

    Attributes:
        reuse: Its name in `--dind-reuse`.
        name: The name of its container.
        env: The environment in which commands find it.
    """

    def __init__(self, project: Project, *options: str) -> None:
        self.reuse = f"c{uuid4().hex[:8]}"
        self.env = {**os.environ, "TMPDIR": str(project.temp)}
        project.write("def test_it(dind_client): assert dind_client.ping()")
        output = project.run(f"--dind-reuse={self.reuse}", *options)
        found = re.search(r"dind: kept (\S+);", output)
        assert found is not None, output
        self.name = found[1]
        run = self.name.removeprefix("pytest-dind-").removesuffix("-main")
        self.home = project.temp / f"pytest-dind-{os.getuid()}" / run / "main"

    def run(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run the command; gives its end."""
        return subprocess.run(
            [*_COMMAND, *arguments],
            env=self.env,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
        )


@pytest.fixture(scope="module")
def kept(mode: str, engine: Engine) -> Iterator[_Kept]:
    """One daemon for all tests that change nothing; nothing of it is left."""
    room = Path(tempfile.mkdtemp(prefix="di", dir="/tmp"))
    traces = Traces(engine.client, room)
    with Project(room, "--dind-image", DAEMON_IMAGE, "--dind-mode", mode) as project:
        found = _Kept(project)
        yield found
        assert found.run("rm", found.name).returncode == 0
    traces.assert_nothing_left()
    remove_tree(room)


def test_logs(kept: _Kept) -> None:
    """The log of a daemon is printed by both of its names, whole or its last lines."""
    whole = kept.run("logs", kept.name)

    assert whole.returncode == 0
    assert "API listen on" in whole.stdout
    assert whole.stdout == (kept.home / layout.LOG).read_text()
    last = kept.run("logs", kept.reuse, "--tail", "2")
    assert last.stdout.splitlines() == whole.stdout.splitlines()[-2:]
    assert kept.run("logs", kept.name, "-n", "0").stdout == ""


def test_logs_to_a_reader_that_has_enough(kept: _Kept) -> None:
    """A pipe whose reader ends is no error."""
    words = [*_COMMAND, "logs", kept.name]
    with subprocess.Popen(
        words, env=kept.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(_SECONDS) == 0


def _tails(kept: _Kept) -> str:
    """The processes in the daemon's container that follow its log."""
    look = "cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -o 'tail -n 1 -[f]'"
    return kept.run("shell", kept.name, "--", "sh", "-c", look).stdout


def test_follow(kept: _Kept) -> None:
    """What a daemon logs later comes too; a Ctrl-C ends it, and nothing of it is left running."""
    words = [*_COMMAND, "logs", "--follow", "-n", "1", kept.name]
    with subprocess.Popen(words, env=kept.env, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline()
            with (kept.home / layout.LOG).open("a") as log:
                log.write("one line more\n")
            assert process.stdout.readline() == "one line more\n"
            assert _tails(kept)
        finally:
            process.send_signal(2)
        assert process.wait(_SECONDS) == 130
    until(lambda: not _tails(kept), 20, "nothing of it runs in the container")


def test_command(kept: _Kept) -> None:
    """A command's outputs, its exit code and its stdin are those of a command here."""
    done = kept.run("shell", kept.reuse, "--", "sh", "-c", "cat; echo oh >&2; exit 7", stdin="in\n")
    assert (done.stdout, done.stderr, done.returncode) == ("in\n", "oh\n", 7)


def test_command_that_does_not_read(kept: _Kept) -> None:
    """A command that ends is not waited for because stdin is open still."""
    words = [*_COMMAND, "shell", kept.name, "--", "docker", "version", "-f", "{{.Server.Os}}"]
    with subprocess.Popen(
        words, env=kept.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.read() == "linux\n"
        assert process.wait(_SECONDS) == 0


def test_program_that_is_not_there(kept: _Kept) -> None:
    """A program that the image has not is told as the runtime tells it, with a code that fails."""
    done = kept.run("shell", kept.name, "--", "no-such-program")

    assert done.returncode not in (0, None)
    assert "no-such-program" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


class _Terminal:
    """The command on a terminal, and what a person sees and types there."""

    def __init__(
        self, words: list[str], env: Mapping[str, str], lines: int = 33, columns: int = 101
    ) -> None:
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.process = subprocess.Popen(
            words, env=env, stdin=slave, stdout=slave, stderr=slave, start_new_session=True
        )
        os.close(slave)
        self.seen = b""

    def type(self, text: str) -> None:
        """Type a text."""
        os.write(self.master, text.encode())

    def expect(self, text: str) -> None:
        """Wait until a text is seen."""
        deadline = time.monotonic() + _SECONDS
        while text.encode() not in self.seen:
            left = deadline - time.monotonic()
            ready, _, _ = select.select([self.master], [], [], max(left, 0))
            assert ready, f"{text!r} is not in {self.seen!r}"
            self.seen += os.read(self.master, 4096)

    def close(self) -> None:
        """End what runs."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.master)


def test_shell_on_a_terminal(kept: _Kept) -> None:
    """A shell on a terminal has one, of the same size; keys are its own, docker works in it."""
    # Environments of test runners have such variables, which a terminal's size does not go by.
    env = kept.env | {"COLUMNS": "80", "LINES": "24"}
    terminal = _Terminal([*_COMMAND, "shell", kept.name], env)
    with contextlib.closing(terminal):
        # The terminal gets its size once the shell runs.
        terminal.type("until stty size | grep '33 101'; do :; done; echo is a'' tty\n")
        terminal.expect("33 101")
        terminal.expect("is a tty")
        # A Ctrl-C ends what runs in the shell, not the command here. What says that it sleeps has
        # the terminal already; the shell itself says so a moment before it hands the terminal over.
        terminal.type("sh -c \"echo sle''eps; exec sleep 600\"\n")
        terminal.expect("sleeps")
        terminal.seen = b""
        terminal.type("\x03")
        terminal.expect("# ")
        terminal.type("docker version -f '{{.Server.Os}}'ish\n")
        terminal.expect("linuxish")
        terminal.type("exit 5\n")
        assert terminal.process.wait(_SECONDS) == 5


def test_terminal_without_a_size(kept: _Kept) -> None:
    """Where this terminal does not know its size, the shell's has the usual one."""
    terminal = _Terminal([*_COMMAND, "shell", kept.name], kept.env, lines=0, columns=0)
    with contextlib.closing(terminal):
        terminal.type("until stty size | grep '24 80'; do :; done; echo has i''t\n")
        terminal.expect("has it")


def test_name_of_nothing(kept: _Kept) -> None:
    """A name that no daemon has is told with where to look."""
    for words in (["logs", "no-such"], ["shell", "no-such", "--", "true"]):
        done = kept.run(*words)
        assert done.returncode == 1
        assert done.stderr == "pytest-dind: no daemon 'no-such'; 'pytest-dind ps' lists them\n"


def test_daemon_that_does_not_run(kept: _Kept, engine: Engine) -> None:
    """In a paused daemon nothing can be run, which is told; its log is there all the same."""
    engine.client.api.pause(kept.name)
    try:
        done = kept.run("shell", kept.name, "--", "true")
        assert done.returncode == 1
        assert "its container does not run.\nEvidence:\n  Its container is paused" in done.stderr
        assert f"pytest-dind logs {kept.name}" in done.stderr
        assert "API listen on" in kept.run("logs", kept.name).stdout
    finally:
        engine.client.api.unpause(kept.name)


def test_log_without_a_container(project: Project, traces: Traces) -> None:
    """The log of a kept daemon whose container somebody removed is still there to be read."""
    kept = _Kept(project)
    with contextlib.closing(docker.from_env()) as client:
        client.api.remove_container(kept.name, force=True, v=True)

    done = kept.run("logs", kept.name)
    assert done.returncode == 0
    assert "API listen on" in done.stdout
    kept.run("rm", "--stale")
    traces.assert_nothing_left()


def test_daemon_without_a_shell(
    project: Project, derive: DeriveImage, traces: Traces, mode: str
) -> None:
    """The log of a daemon whose image has no shell is the engine's, and no shell is a failure."""
    if mode != "dind":
        pytest.skip("whether Sysbox works is found out by a shell")
    image = derive("rm /bin/sh", 'ENTRYPOINT ["dockerd"]')
    kept = _Kept(project, "--dind-image", image)
    try:
        assert "API listen on" in kept.run("logs", kept.name).stdout
        assert len(kept.run("logs", kept.name, "--tail", "2").stdout.splitlines()) == 2
        assert kept.run("shell", kept.name).returncode not in (0, None)
    finally:
        kept.run("rm", kept.name)
    traces.assert_nothing_left()


def test_mode_socket(project: Project, traces: Traces) -> None:
    """In mode socket there is no daemon to look into, which is told."""
    project.write("def test_it(dind_client): assert dind_client.ping()")
    output = project.run("--dind-mode=socket", "--dind-keep=always")
    found = re.search(r"pytest_dind rm (\S+)", output)
    assert found is not None, output
    env = {**os.environ, "TMPDIR": str(project.temp)}
    for words in (["logs", found[1]], ["shell", found[1]]):
        done = subprocess.run(
            [*_COMMAND, *words], env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
        assert done.returncode == 1
        assert "has no container: in mode socket it is the engine itself." in done.stderr
    subprocess.run([*_COMMAND, "rm", found[1]], env=env, check=True, capture_output=True)
    traces.assert_nothing_left()
