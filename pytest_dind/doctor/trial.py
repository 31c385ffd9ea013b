"""The trial of a mode: by a container, or in full by a daemon and a nested container."""

from __future__ import annotations

import contextlib
import dataclasses
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..backends.registry import check_thoroughly
from ..causes import cause_of
from ..daemon.ports import reaches
from ..engine import streams
from ..errors import DindError, ModeUnavailable

if TYPE_CHECKING:
    from ..backends.registry import Probe
    from ..daemon.handle import Daemon
    from ..engine.engine import Engine
    from ..settings import Settings

_NESTED_SECONDS = 30
_SAYS = "a nested container ran"
_NOT_TRIED = 90

# Writes a tar of a shell with all that it is linked with: ldd of glibc and of musl (Alpine) both
# print paths, and none for a static program (busybox-static). It takes no registry.
PACK = """
shell=$(readlink -f "$(command -v busybox || command -v sh)")
pack() { tar -chf - "$shell" $(ldd "$shell" 2>/dev/null | grep -o '/[^ :]*' | sort -u); }
"""
# By the image's id: on an engine that others use too a name may be taken.
_NESTED = f"""{PACK}
command -v docker >/dev/null && command -v tar >/dev/null || exit {_NOT_TRIED}
case $shell in */busybox) set -- "$shell" sh ;; *) set -- "$shell" ;; esac
image=$(pack | docker import -) && exec docker run --rm "$image" "$@" -c 'echo {_SAYS}'
"""


@dataclass(frozen=True)
class Started:
    """A daemon that was started for the trial.

    Attributes:
        version: The version of the daemon's engine.
        storage_driver: The daemon's storage driver.
        seconds: The seconds from the daemon's start until it was healthy.
        nested_seconds: The seconds that a nested container took; None where none was tried.
        address: The daemon's own address; empty where that is known to be out of reach.
        reached: Whether packets came to that address, and back.
    """

    version: str
    storage_driver: str
    seconds: float
    nested_seconds: float | None
    address: str = ""
    reached: bool = False


@dataclass(frozen=True)
class Verdict:
    """The verdict on a mode.

    Attributes:
        mode: The mode.
        works: Whether the mode works.
        cause: The reason why it doesn't.
        evidence: What was seen.
        remedy: What to do, as alternatives.
        daemon: The daemon that was started for the trial, where one was.
    """

    mode: str
    works: bool
    cause: str = ""
    evidence: str = ""
    remedy: tuple[str, ...] = ()
    daemon: Started | None = None


def look(mode: str, engine: Engine, probe: Probe) -> Verdict:
    """Return the verdict on a mode, as far as a container can prove it."""
    from docker.errors import DockerException
    from requests.exceptions import RequestException

    try:
        obstacle = check_thoroughly(mode, engine, probe)
    except DindError as error:
        return failed(mode, error)
    except (DockerException, RequestException) as error:
        remedy = ("Look at the engine's own log (journalctl -u docker).",)
        return Verdict(mode, False, "the engine does not answer as it should", str(error), remedy)
    if obstacle is None:
        return Verdict(mode, True)
    return Verdict(mode, False, obstacle.cause, obstacle.evidence.strip(), obstacle.remedy)


def start(verdict: Verdict, settings: Settings, progress: streams.Progress) -> Verdict:
    """Return the verdict on a mode that seems to work, after a daemon and a nested container.

    The trial is a run like any other, which leaves nothing behind, whatever happens.
    """
    from docker.errors import DockerException
    from requests.exceptions import RequestException

    from ..runs.run import Run

    mode = verdict.mode
    chosen = settings.replace(
        mode=mode, load=(), publish=(), keep="never", reuse="", forward="auto"
    )
    try:
        with contextlib.closing(Run.begin(progress)) as run:
            # A container has just proved the mode: the run need not try another.
            run.confirm(chosen)
            return _nested(verdict, run.daemon(chosen))
    except DindError as error:
        return failed(mode, error)
    except (DockerException, RequestException) as error:
        remedy = ("Look at the engine's own log (journalctl -u docker).",)
        return Verdict(mode, False, "the engine did not answer as it should", str(error), remedy)


def _nested(verdict: Verdict, daemon: Daemon) -> Verdict:
    """Return the verdict on a mode, after a nested container in its daemon."""
    record = daemon.record
    started = Started(
        record.version, record.driver, record.seconds, None, record.address, reaches(record)
    )
    began = time.monotonic()
    try:
        done = daemon.exec(["sh", "-c", _NESTED], check=False, timeout=_NESTED_SECONDS)
    except subprocess.TimeoutExpired as error:
        cause = f"a nested container did not end within {_NESTED_SECONDS} s"
        return _unable(verdict, started, cause, str(error))
    except ModeUnavailable:
        # The daemon can be had, and only `exec` can't: the tests' own container has its socket.
        return dataclasses.replace(verdict, daemon=started)
    if done.returncode == _NOT_TRIED:
        return dataclasses.replace(verdict, daemon=started)
    if done.returncode or _SAYS not in done.stdout:
        cause = "the daemon starts, but runs no nested container"
        return _unable(verdict, started, cause, f"{done.stdout}{done.stderr}")
    seconds = time.monotonic() - began
    return dataclasses.replace(verdict, daemon=dataclasses.replace(started, nested_seconds=seconds))


def _unable(verdict: Verdict, started: Started, cause: str, evidence: str) -> Verdict:
    known = cause_of(evidence)
    remedy: Sequence[str] = [
        "Mend what the engine in the container says.",
        "Look into such a daemon: run a test with --dind-keep=always.",
    ]
    if known is not None:
        cause, remedy = f"{cause}: {known.meaning}", known.remedy
    return Verdict(verdict.mode, False, cause, evidence.strip(), tuple(remedy), started)


def failed(mode: str, error: DindError) -> Verdict:
    """Return the verdict on a mode that failed with an error."""
    cause = error.what.rstrip(".")
    return Verdict(mode, False, cause, error.evidence, error.remedy)
