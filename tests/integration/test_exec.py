"""Commands in the daemon's container."""

from __future__ import annotations

import subprocess
import time

import pytest

from conftest import NESTED_IMAGE
from pytest_dind import Daemon, SettingsError

from ..support import until

# With cgroup v2 a command must not get into the group whose controllers dockerd needs.
pytestmark = pytest.mark.cgroups

_LARGE = 3_000_000


def _running(daemon: Daemon) -> str:
    """The command lines of all processes in the daemon's container."""
    script = "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '; true"
    return daemon.exec(["sh", "-c", script]).stdout


def test_nested_container(dind_daemon: Daemon) -> None:
    """`docker` works there, and talks to the daemon: a nested container runs from inside."""
    done = dind_daemon.exec(["docker", "run", "--rm", NESTED_IMAGE, "echo", "hi"])

    assert (done.returncode, done.stdout) == (0, "hi\n")


def test_outputs_are_separate(dind_daemon: Daemon) -> None:
    """Both outputs come back, each for itself, text of any language included."""
    done = dind_daemon.exec(["sh", "-c", "echo öut; echo 'érr' >&2; echo two"])

    assert (done.stdout, done.stderr) == ("öut\ntwo\n", "érr\n")


@pytest.mark.parametrize("text", ["", "hi\n", "ünïcode\n", "no end of line"])
def test_stdin(dind_daemon: Daemon, text: str) -> None:
    """What is given as stdin is read, up to its end."""
    assert dind_daemon.exec(["cat"], stdin=text).stdout == text


def test_no_stdin(dind_daemon: Daemon) -> None:
    """Without stdin a command that reads it sees its end, instead of hanging."""
    assert dind_daemon.exec(["cat"], timeout=20).stdout == ""


def test_exit_code(dind_daemon: Daemon) -> None:
    """A command's failure is an error with its code and both outputs; unchecked it is a result."""
    command = ["sh", "-c", "echo out; echo err >&2; exit 3"]
    with pytest.raises(subprocess.CalledProcessError) as caught:
        dind_daemon.exec(command)

    assert caught.value.returncode == 3
    assert (caught.value.stdout, caught.value.stderr) == ("out\n", "err\n")
    assert "stdout: out\n" in str(caught.value)
    assert "stderr: err\n" in str(caught.value)
    assert dind_daemon.exec(command, check=False).returncode == 3


def test_killed_command(dind_daemon: Daemon) -> None:
    """A command that a signal ends has the code that a shell would give it."""
    assert dind_daemon.exec(["sh", "-c", "kill -KILL $$"], check=False).returncode == 137


@pytest.mark.parametrize("timeout", [None, 20])
def test_unknown_command(dind_daemon: Daemon, timeout: float | None) -> None:
    """A command that does not exist fails with a shell's code and says its name, no traceback."""
    with pytest.raises(subprocess.CalledProcessError) as caught:
        dind_daemon.exec(["no-such-command"], timeout=timeout)

    assert caught.value.returncode in (126, 127)
    assert "pytest-dind-exec" not in str(caught.value)
    assert "no-such-command" in caught.value.stdout + caught.value.stderr


def test_env_and_workdir(dind_daemon: Daemon) -> None:
    """Variables are added to the container's own; the directory is the one asked for."""
    done = dind_daemon.exec(
        ["sh", "-c", 'echo "$MINE"; pwd; command -v dockerd'], env={"MINE": "a b=c"}, workdir="/var"
    )

    assert done.stdout.splitlines()[:2] == ["a b=c", "/var"]
    assert done.stdout.splitlines()[2].endswith("/dockerd")


def test_argument_that_is_no_shell_text(dind_daemon: Daemon) -> None:
    """Arguments arrive as they are, with a time-out and without; no shell reads them."""
    odd = "a  b; $HOME `x` 'y' \"z\" \\ *"

    assert dind_daemon.exec(["printf", "%s", odd]).stdout == odd
    assert dind_daemon.exec(["printf", "%s", odd], timeout=20).stdout == odd


@pytest.mark.engines
def test_time_out_kills(dind_daemon: Daemon) -> None:
    """A command that takes too long is killed with its children; its outputs so far are kept."""
    command = ["sh", "-c", "echo begun; echo so far >&2; sleep 31415.5 & sleep 31415.6"]
    began = time.monotonic()
    with pytest.raises(subprocess.TimeoutExpired) as caught:
        dind_daemon.exec(command, timeout=1)

    assert 1 <= time.monotonic() - began < 10
    assert (caught.value.cmd, caught.value.timeout) == (command, 1)
    assert (caught.value.stdout, caught.value.stderr) == (b"begun\n", b"so far\n")
    until(lambda: "31415" not in _running(dind_daemon), 5, "both sleeps are killed")


def test_time_out_that_is_not_reached(dind_daemon: Daemon) -> None:
    """A command that ends in time is as without a time-out, and leaves no file behind."""
    done = dind_daemon.exec(["sh", "-c", "cat; echo err >&2"], stdin="in", timeout=20)

    assert (done.returncode, done.stdout, done.stderr) == (0, "in", "err\n")
    assert dind_daemon.exec(["sh", "-c", "ls /run | grep exec"], check=False).stdout == ""


def test_time_out_of_a_command_that_leads_a_group(dind_daemon: Daemon) -> None:
    """A time-out also ends a command that shells out through the docker CLI."""
    with pytest.raises(subprocess.TimeoutExpired):
        dind_daemon.exec(
            ["docker", "run", "--rm", "--name", "long", NESTED_IMAGE, "sleep", "31415.7"], timeout=3
        )
    until(lambda: "docker run" not in _running(dind_daemon), 5, "the client is killed")
    dind_daemon.exec(["docker", "rm", "--force", "long"], check=False)


@pytest.mark.parametrize("to", ["", ">&2"], ids=["stdout", "stderr"])
def test_large_output(dind_daemon: Daemon, to: str) -> None:
    """Megabytes of one output arrive whole."""
    done = dind_daemon.exec(["sh", "-c", f"head -c {_LARGE} /dev/zero | tr '\\0' x {to}"])

    assert (done.stderr if to else done.stdout) == "x" * _LARGE


def test_large_round_trip(dind_daemon: Daemon) -> None:
    """Megabytes go in while they come out on both outputs; neither waits for the other."""
    text = "".join(f"{number}\n" for number in range(300_000))
    done = dind_daemon.exec(["tee", "/dev/stderr"], stdin=text)

    assert done.stdout == text
    assert done.stderr == text


def test_stdin_that_is_ignored(dind_daemon: Daemon) -> None:
    """A command that ends without reading its stdin is no error, however much there was."""
    assert dind_daemon.exec(["true"], stdin="x" * _LARGE, timeout=20).returncode == 0
    assert dind_daemon.exec(["echo", "hi"], stdin="x" * _LARGE).stdout == "hi\n"


def test_closed_output(dind_daemon: Daemon) -> None:
    """A command is waited for by its outputs' end; its code is the one it ended with."""
    done = dind_daemon.exec(["sh", "-c", "echo hi; exec >&- 2>&-; sleep 0.3; exit 4"], check=False)

    assert (done.stdout, done.returncode) == ("hi\n", 4)


def test_many_at_once(dind_daemon: Daemon) -> None:
    """Commands from several threads do not mix."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda n: dind_daemon.exec(["echo", str(n)]).stdout, range(24)))

    assert found == [f"{number}\n" for number in range(24)]


def test_binary(dind_daemon: Daemon) -> None:
    """Every byte goes in and comes out as it is, on both outputs."""
    data = bytes(range(256)) * 4096
    done = dind_daemon.exec(["tee", "/dev/stderr"], stdin=data, text=False)

    assert done.stdout == data
    assert done.stderr == data


@pytest.mark.engines
def test_directory_that_is_not_there(dind_daemon: Daemon) -> None:
    """A directory that is not there is an error of the plugin's, whatever `check` says."""
    with pytest.raises(SettingsError, match="could not be started in the directory /no/such"):
        dind_daemon.exec(["true"], workdir="/no/such", check=False)
