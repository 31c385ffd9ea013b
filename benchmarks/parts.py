"""`python -m benchmarks.parts`: where the raw floor's time goes, by the daemon's own debug log."""

from __future__ import annotations

import argparse
import itertools
import re
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from statistics import median
from uuid import uuid4

import docker

from . import raw

_IMAGE = "pytest-dind/daemon:test"
_LINE = re.compile(r'time="(?P<second>[^".]+)\.(?P<fraction>\d+)Z" .*?msg="?(?P<text>.*)')
_LISTENS = "API listen on"
_LOG_SECONDS = 5
_POLL_SECONDS = 0.01
_ABOUT: Mapping[str, str] = {
    "create": "the engine creates the container",
    "start": "the engine starts it, until its answer",
    "ready": "from there to the first good ping",
    "dockerd": "of these two: dockerd, from its first line to its socket",
    "containerd": "of dockerd: the containerd that it starts",
    "iptables": "of dockerd: iptables",
    "ip6tables": "of dockerd: ip6tables",
    "all": "from the request to the ping",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure some starts, and print the median of each part."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.parts", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, metavar="N", help="default: 7")
    parser.add_argument("--image", default=_IMAGE, help=f"the daemon's image (default: {_IMAGE})")
    parser.add_argument("dockerd", nargs="*", help="further arguments of dockerd, after --")
    options = parser.parse_args(arguments)
    engine = docker.from_env()
    try:
        # The first one is not counted.
        taken = [
            _measure(engine, options.image, options.dockerd) for _ in range(options.rounds + 1)
        ]
    finally:
        engine.close()
    for part, about in _ABOUT.items():
        found = [parts[part] for parts, _ in taken[1:]]
        calls = taken[-1][1].get(part)
        count = f" ({calls} calls)" if calls is not None else ""
        print(f"{part:10} {median(found) * 1000:5.0f} ms  {about}{count}")


def _measure(
    engine: docker.DockerClient, image: str, dockerd: Sequence[str]
) -> tuple[dict[str, float], dict[str, int]]:
    """Start a daemon; give the seconds of each part, and the number of calls of some."""
    name = f"pytest-dind-benchmark-{uuid4().hex[:8]}"
    with tempfile.TemporaryDirectory(prefix="bench-") as home:
        requested = time.time()
        try:
            raw.create(engine, image, name, home, "--debug", *dockerd)
            created = time.time()
            engine.api.start(name)
            started = time.time()
            raw.wait_until_ready(engine, name, Path(home, raw.SOCKET))
            ready = time.time()
            log = _log(engine, name)
        finally:
            engine.api.remove_container(name, force=True, v=True)
    parts, calls = of_log(log)
    whole = {
        "create": created - requested,
        "start": started - created,
        "ready": ready - started,
        "all": ready - requested,
    }
    return whole | parts, calls


def _log(engine: docker.DockerClient, name: str) -> str:
    """The daemon's log up to its socket; the engine may have a line after the daemon answers."""
    deadline = time.monotonic() + _LOG_SECONDS
    while True:
        log = engine.api.logs(name).decode(errors="replace")
        if _LISTENS in log or time.monotonic() > deadline:
            return log
        time.sleep(_POLL_SECONDS)


def of_log(log: str) -> tuple[dict[str, float], dict[str, int]]:
    """What of a start the log of a dockerd with `--debug` tells.

    Returns:
        The seconds of each part, and how often dockerd called a program.
    """
    matches = filter(None, map(_LINE.match, log.splitlines()))
    lines = sorted((_seconds(match), match["text"]) for match in matches)
    parts = {
        "dockerd": _first(lines, _LISTENS) - _first(lines, "Starting up"),
        "containerd": _first(lines, "containerd successfully booted")
        - _first(lines, "containerd not running"),
    }
    calls = {}
    for program in ("iptables", "ip6tables"):
        # Each is logged before it is called, and nothing else goes on meanwhile.
        spent = [
            after - before
            for (before, text), (after, _) in itertools.pairwise(lines)
            if f"/{program}, [" in text
        ]
        parts[program], calls[program] = sum(spent), len(spent)
    return parts, calls


def _seconds(match: re.Match[str]) -> float:
    moment = datetime.fromisoformat(f"{match['second']}+00:00")
    return moment.timestamp() + float(f"0.{match['fraction']}")


def _first(lines: Sequence[tuple[float, str]], beginning: str) -> float:
    return next(moment for moment, text in lines if text.startswith(beginning))


if __name__ == "__main__":
    main()
