"""Processes to measure in or to measure: each case's sample is taken in a fresh one."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from . import interrupts
from .case import Bench, CaseFailed, Sample

IMAGE = "PYTEST_DIND_BENCHMARK_IMAGE"
"""The variable that names the daemon's image."""
TOGETHER = "PYTEST_DIND_BENCHMARK_TOGETHER"
"""The variable that says how many processes begin together; one file of each then."""
RESULT = "PYTEST_DIND_BENCHMARK_RESULT"
"""The variable that names the file a process writes its sample to, as JSON."""

_ROOT = Path(__file__).parents[1]
_SUITES = Path(__file__).with_name("suites")
_OTHERS = ("docker", "docker_tools", "hypothesispytest", "randomly")
"""Plugins that are no part of what is measured, by pytest's names; a peer's suite loads its own."""
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


def suite(
    bench: Bench,
    name: str,
    *options: str,
    cached: bool = False,
    variables: Mapping[str, str] | None = None,
) -> Sample:
    """The sample that a pytest run writes, of a file, or a test of it, in `suites/`.

    Args:
        bench: What the case works with.
        name: The file's name.
        options: Those of pytest.
        cached: Whether it has pytest's cache.
        variables: What its environment has besides.
    """
    result = bench.directory / "sample.json"
    result.unlink(missing_ok=True)
    given = {RESULT: str(result), IMAGE: bench.image, **(variables or {})}
    command = pytest(bench, *options, str(_SUITES / name), cached=cached)
    run(command, bench.directory, **given)
    return _read(result)


def together(bench: Bench, name: str, count: int, *options: str) -> float:
    """Seconds from when all of so many workers begin until the last is done with its start."""
    shutil.rmtree(bench.directory / "together", ignore_errors=True)
    (bench.directory / "together").mkdir()
    result = bench.directory / "together" / "sample"
    options = (f"-n{count}", "--dist=each", "--dind-scope=worker", *options)
    given = {RESULT: str(result), IMAGE: bench.image, TOGETHER: str(count)}
    run(pytest(bench, *options, str(_SUITES / name)), bench.directory, **given)
    samples = [_read(path) for path in result.parent.glob("sample*")]
    if len(samples) != count:
        raise CaseFailed(f"{len(samples)} of {count} workers wrote a sample")
    return max(s["in hand"] for s in samples) - min(s["requested"] for s in samples)


def pytest(bench: Bench, *arguments: str, cached: bool = False) -> list[str]:
    """A pytest command that no settings file of a project has a part in."""
    settings = bench.directory / "pytest.ini"
    settings.write_text("[pytest]\n")
    # What is measured is named by its suite; no other tool gets in its way.
    others = [flag for name in _OTHERS for flag in ("-p", f"no:{name}")]
    own = [
        *others,
        *([] if cached else ["-p", "no:cacheprovider"]),
        "-q",
        "-c",
        str(settings),
        "--rootdir",
        str(bench.directory),
    ]
    return [sys.executable, "-m", "pytest", *own, *arguments]


def _read(result: Path) -> Sample:
    try:
        sample: dict[str, float] = json.loads(result.read_text())
    except FileNotFoundError:
        raise CaseFailed("the process wrote no sample") from None
    return sample
