"""Processes to measure in or to measure: each case's sample is taken in a fresh one."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from . import interrupts
from .case import Bench, CaseFailed, Sample

RESULT = "PYTEST_DIND_BENCHMARK_RESULT"
"""The variable that names the file a process writes its sample to, as JSON."""

_ROOT = Path(__file__).parents[1]
_SUITES = Path(__file__).with_name("suites")
_LIMIT_SECONDS = 120
_LAST_CHARACTERS = 3000


class Spent(NamedTuple):
    """What a whole process took, in seconds."""

    wall: float
    cpu: float


def run(command: Sequence[str], directory: Path, **variables: str) -> Spent:
    """Run a process to its end.

    Raises:
        CaseFailed: it failed, or took too long.
    """
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "PYTHON"))}
    used, began = _cpu(), time.perf_counter()
    # A sample takes a second or so and removes what it made; cut off, it would leave it. So a
    # Ctrl-C waits for it, and does not reach it: it has a session of its own.
    with interrupts.later():
        process = subprocess.Popen(
            command,
            cwd=directory,
            env=environment | variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            output, _ = process.communicate(timeout=_LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            raise CaseFailed(f"not done after {_LIMIT_SECONDS} s") from None
        finally:
            process.kill()
            process.wait()
    spent = Spent(time.perf_counter() - began, _cpu() - used)
    if process.returncode:
        text = output.decode(errors="replace")[-_LAST_CHARACTERS:]
        raise CaseFailed(f"exit code {process.returncode}:\n{text}")
    return spent


def _cpu() -> float:
    """Processor seconds of this process's ended children."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def module(bench: Bench, name: str, *arguments: str) -> Sample:
    """The sample that a module of these benchmarks writes."""
    result = bench.directory / "sample.json"
    result.unlink(missing_ok=True)
    command = [sys.executable, "-m", f"{__package__}.{name}", *arguments]
    run(command, bench.directory, **{RESULT: str(result), "PYTHONPATH": str(_ROOT)})
    return _read(result)


def suite(bench: Bench, name: str, *options: str) -> Sample:
    """The sample that a pytest run writes, of a file in `suites/`."""
    result = bench.directory / "sample.json"
    result.unlink(missing_ok=True)
    run(pytest(bench, *options, str(_SUITES / name)), bench.directory, **{RESULT: str(result)})
    return _read(result)


def pytest(bench: Bench, *arguments: str) -> list[str]:
    """A pytest command that no settings file of a project has a part in."""
    settings = bench.directory / "pytest.ini"
    settings.write_text("[pytest]\n")
    own = ["-p", "no:cacheprovider", "-q", "-c", str(settings), "--rootdir", str(bench.directory)]
    return [sys.executable, "-m", "pytest", *own, *arguments]


def _read(result: Path) -> Sample:
    try:
        sample: dict[str, float] = json.loads(result.read_text())
    except FileNotFoundError:
        raise CaseFailed("the process wrote no sample") from None
    return sample
