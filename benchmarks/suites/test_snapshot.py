"""Starts of empty daemons, and of copies of a prepared one."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.processes import RESULT

if TYPE_CHECKING:
    from pytest_dind import Daemon
    from pytest_dind.runs.factory import Factory

_ROUNDS = 3
_NAME = "benchmark"
_FILL = """
for number in 1 2 3 4 5; do
    dd if=/dev/urandom of=/file bs=1M count=100
    tar -c -C / file | docker import - large:$number
done
docker volume create data
cd /var/lib/docker/volumes/data/_data
for number in $(seq 500); do dd if=/dev/urandom of=$number bs=100k count=1; done
"""


def _fill(daemon: Daemon) -> None:
    daemon.exec(["sh", "-ec", _FILL])


@pytest.fixture(scope="module")
def prepared(dind_factory: Factory) -> None:
    """A snapshot, which the first of several runs makes."""
    dind_factory.snapshot(_NAME, _fill, key=_FILL)


def _measure(dind_factory: Factory, **how: Any) -> None:
    found = []
    for _ in range(_ROUNDS):
        began = time.perf_counter()
        daemon = dind_factory(**how)
        found.append(time.perf_counter() - began)
        daemon.stop()
    Path(os.environ[RESULT]).write_text(json.dumps({"start": median(found)}))


def test_empty(dind_factory: Factory) -> None:
    """Empty daemons."""
    # What only the first start takes, such as the run's network.
    dind_factory().stop()
    _measure(dind_factory)


def test_copy(dind_factory: Factory, prepared: None) -> None:
    """Copies."""
    dind_factory(snapshot=_NAME).stop()
    _measure(dind_factory, snapshot=_NAME)
