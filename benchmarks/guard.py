"""`python -m benchmarks.guard`: what the guard of mode socket adds to calls on the bare engine.

Bare and guarded calls are taken in pairs, by turns the one and the other first, so that a machine
that is slow for a while is slow for both. Needs an engine on `/var/run/docker.sock`.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any
from uuid import uuid4

from pytest_dind.guard import launch
from pytest_dind.guard.config import GuardConfig
from pytest_dind.lifetime import labels
from pytest_dind.lifetime.layout import LEASE
from pytest_dind.lifetime.lease import Lease

_ENGINE = "/var/run/docker.sock"
_IMAGE = "pytest-dind/daemon:test"
_SMALL_IMAGE = "pytest-dind/nested:test"
_SECONDS = 120
_PROCESSES, _CALLS_EACH = 8, 25
_CHUNK = 1 << 20
_SENT = 32 * 1024
_SIZE = 362 * 1000 * 1000


class _Connection(http.client.HTTPConnection):
    """HTTP on a unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_SECONDS)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket's path instead of to a host."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


@contextlib.contextmanager
def _guard() -> Iterator[tuple[str, float]]:
    """A guard's socket, and how long it took to a client that has pinged."""
    base = Path(tempfile.mkdtemp(prefix="bg", dir="/tmp"))
    home = base / "runs" / uuid4().hex[:8] / "main"
    home.mkdir(parents=True, mode=0o700)
    lease = Lease(home / LEASE)
    path = str(home / "docker.sock")
    config = GuardConfig(
        home=str(home),
        socket=path,
        lease=str(home / LEASE),
        kept=str(home / "kept"),
        engine=_ENGINE,
        labels=labels.make(home.parent.name, mode="socket", keep="never", home=home),
        guard="own",
        allow=(),
        roots=(str(base),),
    )
    began = time.perf_counter()
    if not launch.start(config, _SECONDS):
        raise SystemExit((home / "log").read_text())
    _get(path, "/_ping")
    try:
        yield path, time.perf_counter() - began
    finally:
        lease.release()
        deadline = time.monotonic() + _SECONDS
        while launch.is_alive(home) and time.monotonic() < deadline:
            time.sleep(0.02)
        shutil.rmtree(base, ignore_errors=True)


def _get(path: str, target: str) -> bytes:
    return _ask(path, "GET", target)


def _ask(path: str, method: str, target: str, body: Any = None) -> bytes:
    connection = _Connection(path)
    try:
        headers = {"Content-Type": "application/x-tar" if body else "application/json"}
        connection.request(method, target, body=body, headers=headers)
        response = connection.getresponse()
        data = response.read()
        if response.status >= 300:
            raise SystemExit(f"{method} {target}: {response.status} {data!r}")
        return data
    finally:
        connection.close()


def _timed(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _pairs(
    call: Callable[[str], object],
    guard: str,
    count: int,
    undo: Callable[[], object] = lambda: None,
) -> list[tuple[float, float]]:
    """So many samples of a call, each bare and guarded; `undo` comes after each, and is no part."""
    found = []
    for number in range(count):
        order = (_ENGINE, guard) if number % 2 else (guard, _ENGINE)
        taken = {}
        for path in order:
            taken[path] = _timed(lambda path=path: call(path))  # type: ignore[misc]
            undo()
        found.append((taken[_ENGINE], taken[guard]))
    return found


def _added(name: str, call: Callable[[str], object], guard: str, count: int) -> str:
    _pairs(call, guard, 10)
    pairs = _pairs(call, guard, count)
    added = median(guarded - bare for bare, guarded in pairs) * 1000
    bare = median(bare for bare, _ in pairs) * 1000
    verdict = "met" if added <= 1 else "not met"
    return f"| {name} | {bare:.2f} ms | + {added:.2f} ms | ≤ 1 ms | {verdict} |"


def _save(path: str) -> None:
    connection = _Connection(path)
    connection.request("GET", f"/images/{_IMAGE}/get")
    response = connection.getresponse()
    while response.read(_CHUNK):
        pass
    connection.close()


def _archive(directory: Path, name: str) -> Path:
    """An archive of an image that the engine does not have: it must unpack what it loads."""
    content = directory / "content"
    content.write_bytes(os.urandom(_SIZE))
    root, saved = directory / "root.tar", directory / "image.tar"
    with tarfile.open(root, "w") as tar:
        tar.add(content, "content")
    subprocess.run(["docker", "import", root, f"{name}:big"], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["docker", "save", "-o", saved, f"{name}:big"], check=True)
    _ask(_ENGINE, "DELETE", f"/images/{name}:big")
    return saved


def _rate(
    name: str,
    call: Callable[[str], object],
    guard: str,
    count: int,
    undo: Callable[[], object] = lambda: None,
) -> str:
    _pairs(call, guard, 1, undo)
    pairs = _pairs(call, guard, count, undo)
    ratio = median(bare / guarded for bare, guarded in pairs)
    bare = median(bare for bare, _ in pairs)
    verdict = "met" if ratio >= 0.8 else "not met"
    return f"| {name} | {bare:.2f} s | {ratio:.2f} of the bare rate | ≥ 0.8 | {verdict} |"


def _many(guard: str) -> int:
    """Calls at once in this process; how many of them went well."""
    good: list[int] = []
    threads = [
        threading.Thread(target=lambda: good.append(len(_get(guard, "/containers/json"))))
        for _ in range(_CALLS_EACH)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(good)


def _at_once(guard: str) -> str:
    with ProcessPoolExecutor(_PROCESSES) as pool:
        began = time.perf_counter()
        good = sum(pool.map(_many, [guard] * _PROCESSES))
        took = time.perf_counter() - began
    asked = _PROCESSES * _CALLS_EACH
    verdict = "met" if good == asked else "not met"
    return f"| {asked} calls at once | | {asked - good} errors, {took:.2f} s | none | {verdict} |"


def _start_up(count: int) -> str:
    def once() -> float:
        with _guard() as (_, seconds):
            return seconds

    took = median(once() for _ in range(count))
    verdict = "met" if took <= 0.3 else "not met"
    return f"| start to client | | {took:.2f} s | ≤ 0.3 s | {verdict} |"


def _rows(count: int, streams: int) -> Iterator[str]:
    yield _start_up(max(streams, 3))
    with _guard() as (guard, _), tempfile.TemporaryDirectory() as directory:
        name = f"bench-{uuid4().hex[:8]}"
        subprocess.run(
            ["docker", "--host", f"unix://{guard}", "create", "--name", name, _SMALL_IMAGE, "true"],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        yield _added("ping", lambda path: _get(path, "/_ping"), guard, count)
        target = f"/containers/{name}/json"
        yield _added("inspect", lambda path: _get(path, target), guard, count)
        yield _added("list", lambda path: _get(path, "/containers/json?all=1"), guard, count)
        yield _at_once(guard)
        yield _rate("save", _save, guard, streams)
        saved = _archive(Path(directory), name)

        def load(path: str) -> None:
            with saved.open("rb") as archive:
                # In chunks of that size, as the docker CLI sends it.
                _ask(path, "POST", "/images/load?quiet=1", iter(lambda: archive.read(_SENT), b""))

        def forget() -> None:
            _ask(_ENGINE, "DELETE", f"/images/{name}:big")

        yield _rate("load", load, guard, streams, forget)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.guard", description=__doc__)
    parser.add_argument("--calls", type=int, default=300, help="samples of each call")
    parser.add_argument("--streams", type=int, default=5, help="samples of save and load")
    options = parser.parse_args()
    print("| call | bare | guarded | goal | verdict |")
    print("| --- | --- | --- | --- | --- |")
    for row in _rows(options.calls, options.streams):
        print(row)
        sys.stdout.flush()


if __name__ == "__main__":
    main()
