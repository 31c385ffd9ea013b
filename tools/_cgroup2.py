"""Running a command on an engine that sees cgroup v2, on a machine that has v1.

A second dockerd runs in mount, network and PID namespaces of its own, with everything it keeps in
a directory of its own, so that the machine's engine stays as it is. The command runs in the same
namespaces, where the addresses of containers are reachable. The way out to the world is not.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

import _images
import docker
import docker.errors
from _cgroup2_init import remove_cgroups
from _connection import client_for
from _console import Problem, end, say, step
from _daemon import STOP_SECONDS, Places, environment, launch, prepare, wait_until_healthy
from _processes import children

CGROUP_PARENT = "pytest-dind-cgroup2"
INIT = Path(__file__).with_name("_cgroup2_init.py")
VIEW = "--cgroup2"
# Each ends with the one that started it, SIGKILL included.
NAMESPACES = (
    *("setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--net", "--pid"),
    *("--fork", "--kill-child", "--mount-proc", "--propagation", "private"),
)
# The shell stays outside of the PID namespace, its child is in it; it outlives a Ctrl-C, so that
# the command can end in its own time.
ENTER = 'trap : INT; cd "$1" || exit 1; shift; "$@"; exit $?'


def is_seen_by(client: docker.DockerClient) -> bool:
    """Tell whether an engine is on cgroup v2."""
    return bool(client.info().get("CgroupVersion") == "2")


def run(
    command: Sequence[str], machine: docker.DockerClient | None, directory: Path, *, keep: bool
) -> int:
    """Run a command on an engine with a cgroup v2 view; give its exit status.

    Args:
        command: what to run, with DOCKER_HOST set to that engine.
        machine: the machine's engine, on cgroup v1, to copy the images from, if there is one.
        directory: where to keep the engine's files.
        keep: leave the engine's images there, which saves the copying next time.
    """
    if os.geteuid() != 0:
        raise Problem(
            "can't make an engine with a cgroup v2 view",
            "that takes mount and network namespaces, and this user is not root",
            "run this as root",
        )
    with engine(directory, keep=keep) as (places, pid):
        client = client_for(places.host)
        remove_containers(client)  # of a run that was killed, and kept its data
        if machine is not None:
            _images.copy(machine, client)
        _images.ensure(client)
        info = client.info()
        if not is_seen_by(client):
            raise Problem(
                "the engine does not see cgroup v2",
                f"it reports version {info.get('CgroupVersion', 1)}",
                "use a kernel with cgroup v2 (any since 4.15 or so)",
            )
        say(f"engine {info['ServerVersion']}, cgroup v2, at {places.host}")
        try:
            return run_inside(pid, command, environment_for(places.host))
        finally:
            remove_containers(client)  # else dockerd gives each ten seconds to end
            client.close()


@contextlib.contextmanager
def engine(directory: Path, *, keep: bool) -> Iterator[tuple[Places, int]]:
    """Have a dockerd in namespaces of its own; nothing of it is left afterwards.

    Yields:
        Where its files are, and the pid of the first process in its namespaces.
    """
    data, runtime = directory / "data", directory / "run"
    places = Places(directory, f"unix://{directory}/docker.sock", runtime)
    remove = [runtime] if keep else [runtime, data]
    clean(*remove)  # what a killed run has left
    dockerd = [
        *prepare(places),
        f"--data-root={data}",
        f"--cgroup-parent=/{CGROUP_PARENT}",
        "--exec-opt=native.cgroupdriver=cgroupfs",
    ]
    with started("dockerd", dockerd, CGROUP_PARENT, places, remove) as first:
        yield places, first


@contextlib.contextmanager
def started(
    name: str,
    command: Sequence[str],
    parent: str,
    places: Places,
    remove: Sequence[Path],
    options: Sequence[str] = (VIEW,),
) -> Iterator[int]:
    """Have an engine run in namespaces of its own.

    Args:
        name: what it is called.
        command: what starts it.
        parent: the control group that its containers are in.
        places: where its files are.
        remove: the directories that are removed afterwards.
        options: what else is its own, as `_cgroup2_init.py` has it.

    Yields:
        The pid of the first process in its namespaces.
    """
    process: subprocess.Popen[str] | None = None
    healthy = False
    remove_delegated(parent)  # what a killed run has left
    try:
        with step(f"starting a {name} in namespaces of its own, log in {places.log}"):
            inside = [*NAMESPACES, sys.executable, str(INIT), *options, parent, *command]
            process = launch(inside, places, environment())
            wait_until_healthy(process, places, name)
        healthy = True
        yield children(process.pid)[0]
    finally:
        with step(f"stopping that {name}"):
            if process is not None:
                stop(process, STOP_SECONDS if healthy else 0)
            remove_delegated(parent)
            clean(*remove)
            Path(places.host.removeprefix("unix://")).unlink(missing_ok=True)


def remove_delegated(parent: str) -> None:
    """Remove a control group that was delegated: its first process could not leave it alive."""
    for line in Path("/proc/mounts").read_text().splitlines():
        _, place, kind, *_ = line.split(" ")
        if kind == "cgroup2":
            remove_cgroups(Path(place, parent))


def remove_containers(client: docker.DockerClient) -> None:
    """Remove all containers with their volumes; this engine's are nobody else's."""
    for container in client.containers.list(all=True, ignore_removed=True):
        with contextlib.suppress(docker.errors.APIError):
            container.remove(force=True, v=True)


def stop(process: subprocess.Popen[str], patience: float) -> None:
    """Stop dockerd, in its own time at first, and with it all that runs in its namespaces."""
    for first in children(process.pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(first, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(patience)
    end(process, signal.SIGKILL)


def clean(*directories: Path) -> None:
    """Remove directories of an engine that has ended; its mounts ended with its namespace."""
    mounts = Path("/proc/self/mountinfo").read_text()
    for directory in directories:
        if f" {directory}/" in mounts:
            raise Problem(
                f"{directory} can't be removed",
                "something is mounted below it",
                f"umount what `grep {directory} /proc/mounts` shows, then run this again",
            )
        if directory.exists():
            shutil.rmtree(directory)


def environment_for(host: str) -> dict[str, str]:
    """Give a client's environment that leads to this engine and to no other."""
    leading_elsewhere = {
        "DOCKER_CONTEXT",
        "DOCKER_TLS_VERIFY",
        "DOCKER_CERT_PATH",
        "DOCKER_API_VERSION",
    }
    kept = {name: value for name, value in os.environ.items() if name not in leading_elsewhere}
    return {**kept, "DOCKER_HOST": host}


def become(command: Sequence[str]) -> NoReturn:
    """Let the command take the place of this process, so that its signals and status are ours."""
    try:
        os.execvp(command[0], list(command))
    except OSError as error:
        raise Problem(
            f"`{command[0]}` can't be run", str(error), "check its name and PATH"
        ) from error


def run_inside(pid: int, command: Sequence[str], env: Mapping[str, str]) -> int:
    """Run a command in the namespaces of a process, and pass SIGTERM on to it."""
    enter = ["nsenter", f"--target={pid}", "--mount", "--net", "--pid", "--no-fork"]
    process = subprocess.Popen(
        [*enter, "sh", "-c", ENTER, "sh", str(Path.cwd()), *command], env=env, text=True
    )

    def pass_on(number: int, _frame: FrameType | None) -> None:
        for child in children(process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, number)

    interrupt = signal.signal(signal.SIGINT, lambda *_: None)  # the command has had it too
    terminate = signal.signal(signal.SIGTERM, pass_on)
    try:
        return process.wait()
    finally:
        signal.signal(signal.SIGINT, interrupt)
        signal.signal(signal.SIGTERM, terminate)
        end(process, signal.SIGKILL)
