"""Starting, finding again and stopping the dockerd of a machine that had none."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import _capabilities
from _connection import DEFAULT_HOST, why_silent
from _console import LAST_LINES, Problem, end, say, step
from _processes import POLL_SECONDS, Identity, identify, is_alive, stop

CONTAINERD_PID = Path("containerd") / "containerd.pid"
MACHINE_CONFIG = Path("/etc/docker/daemon.json")
HEALTHY_SECONDS = 120.0
STOP_SECONDS = 60.0
CONTAINERD_SECONDS = 15.0


@dataclass(frozen=True)
class Places:
    """Where a daemon's files are."""

    directory: Path
    host: str = DEFAULT_HOST
    exec_root: Path = Path("/var/run/docker")

    @property
    def pid_file(self) -> Path:
        """The file dockerd itself writes its pid to."""
        return self.directory / "dockerd.pid"

    @property
    def log(self) -> Path:
        """What dockerd prints."""
        return self.directory / "dockerd.log"

    @property
    def config(self) -> Path:
        """A configuration of our own, so that the machine's stays as it is."""
        return self.directory / "daemon.json"

    @property
    def runtime(self) -> Path:
        """The wrapper around runc, if there is one."""
        return self.directory / "runc-within-bounds"

    @property
    def state(self) -> Path:
        """Which processes are ours to stop."""
        return self.directory / "engine.json"


def state_directory() -> Path:
    """Say where the tools keep what they need to find again."""
    if os.geteuid() == 0:
        return Path("/var/lib/pytest-dind-engine")
    return Path.home() / ".cache" / "pytest-dind-engine"


def search_path() -> str:
    """Give PATH with the directories that a plain user's lacks."""
    return ":".join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"])


def program(name: str) -> str | None:
    """Find a program, also where only root looks."""
    return shutil.which(name, path=search_path())


def environment() -> dict[str, str]:
    """Give dockerd our own environment (a proxy may be in it), less what is meant for clients."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DOCKER_")}
    return {**kept, "PATH": search_path()}


def prepare(places: Places) -> list[str]:
    """Write the configuration, with the runtime wrapper where needed; give dockerd's command."""
    dockerd, runc = program("dockerd"), program("runc")
    if dockerd is None or runc is None:
        raise Problem(
            "dockerd can't be started",
            f"dockerd is {dockerd or 'missing'}, runc is {runc or 'missing'}",
            "install Docker Engine (on Debian and Ubuntu: apt-get install docker.io)",
        )
    places.directory.mkdir(parents=True, exist_ok=True, mode=0o755)
    lacking = _capabilities.missing(
        Path("/proc/self/status").read_text(),
        int(Path("/proc/sys/kernel/cap_last_cap").read_text()),
    )
    if lacking:
        say(f"this machine lacks {', '.join(lacking)}: runc gets a wrapper that does without")
        places.runtime.write_text(_capabilities.wrapper(runc, lacking))
        places.runtime.chmod(0o755)
    try:
        base = MACHINE_CONFIG.read_text() if MACHINE_CONFIG.exists() else ""
        config = _capabilities.daemon_config(base, str(places.runtime) if lacking else None)
    except ValueError as error:
        raise Problem(
            f"{MACHINE_CONFIG} can't be read", str(error), "mend or remove that file"
        ) from error
    places.config.write_text(config)
    forget_the_dead(places)
    return [
        dockerd,
        f"--config-file={places.config}",
        f"--host={places.host}",
        f"--exec-root={places.exec_root}",
        f"--pidfile={places.pid_file}",
    ]


def forget_the_dead(places: Places) -> None:
    """Remove pid files of killed ones: dockerd would wait for whoever has that pid by now."""
    places.pid_file.unlink(missing_ok=True)
    if living_containerd(places) is None:
        (places.exec_root / CONTAINERD_PID).unlink(missing_ok=True)


def living_containerd(places: Places) -> Identity | None:
    """Give the containerd that dockerd started; None if it uses one that was there before."""
    try:
        pid = int((places.exec_root / CONTAINERD_PID).read_text())
        name = Path(f"/proc/{pid}/comm").read_text().strip()
    except (OSError, ValueError):
        return None
    return identify(pid) if name == "containerd" else None


def launch(command: Sequence[str], places: Places, env: Mapping[str, str]) -> subprocess.Popen[str]:
    """Start the command in a session of its own, with nothing but its log open."""
    with places.log.open("w") as log:
        return subprocess.Popen(
            command,
            cwd="/",
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            text=True,
        )


def wait_until_healthy(
    process: subprocess.Popen[str], places: Places, name: str = "dockerd"
) -> None:
    """Wait for a good ping, and no longer than the process lives.

    Raises:
        Problem: the engine exited, or answers nothing for too long.
    """
    deadline = time.monotonic() + HEALTHY_SECONDS
    while (silence := why_silent(places.host)) is not None:
        if process.poll() is not None:
            raise Problem(
                f"{name} exited with status {process.returncode} before it was ready",
                last_lines(places.log),
                f"the whole log is in {places.log}; mend what it names, then run this again",
            )
        if time.monotonic() > deadline:
            raise Problem(
                f"{name} runs, but does not answer after {HEALTHY_SECONDS:.0f} s",
                f"{silence}\n{last_lines(places.log)}",
                f"look into {places.log}; on a very slow machine just run this again",
            )
        time.sleep(POLL_SECONDS)


def start(places: Places) -> None:
    """Start dockerd, detached, wait until it is healthy, and note that it is ours."""
    silent = ours(places).get("dockerd")
    if silent is not None:
        raise Problem(
            "the dockerd that `up` started runs, but does not answer",
            f"pid {silent.pid}\n{last_lines(places.log)}",
            "python tools/engine.py down, then up again",
        )
    command = prepare(places)
    with step(f"starting dockerd, log in {places.log}"):
        process = launch(command, places, environment())
        try:
            note(places, process.pid)  # now, in case that this process is killed
            wait_until_healthy(process, places)
            note(places, process.pid)  # now that its containerd is known
        except BaseException:
            end(process, signal.SIGTERM, STOP_SECONDS)
            places.state.unlink(missing_ok=True)
            raise


def note(places: Places, pid: int) -> None:
    """Write down which dockerd, and which containerd under it, is ours."""
    found = {"dockerd": identify(pid), "containerd": living_containerd(places)}
    noted = {name: asdict(process) for name, process in found.items() if process}
    places.state.write_text(json.dumps(noted) + "\n")


def ours(places: Places) -> dict[str, Identity]:
    """Give the processes, by name, that `start` noted and that still run."""
    try:
        state = json.loads(places.state.read_text())
        noted = {name: Identity(**fields) for name, fields in state.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
    return {name: process for name, process in noted.items() if is_alive(process)}


def stop_ours(places: Places) -> None:
    """Stop what `start` started, dockerd first, as it ends its containerd itself; forget it."""
    for name, patience in (("dockerd", STOP_SECONDS), ("containerd", CONTAINERD_SECONDS)):
        process = ours(places).get(name)
        if process is None:
            continue
        with step(f"stopping {name}, pid {process.pid}"):
            ended = stop(process, patience)
        if not ended:
            raise Problem(
                f"{name}, pid {process.pid}, does not end",
                "it was sent SIGTERM and SIGKILL",
                f"look into {places.log} and at the state of the process",
            )
    for left in (places.state, places.pid_file):
        left.unlink(missing_ok=True)


def last_lines(log: Path) -> str:
    """Give the end of a log."""
    try:
        lines = log.read_text(errors="replace").splitlines()
    except OSError as error:
        return str(error)
    return "\n".join(lines[-LAST_LINES:]) or "(the log is empty)"
