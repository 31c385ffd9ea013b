"""The conformance suite on the real engine."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from conftest import DAEMON_IMAGE, NESTED_IMAGE

from .traces import Traces


def test_all_works(mode: str, room: Path, traces: Traces) -> None:
    """All of it works on this engine, and nothing is left."""
    run = subprocess.run(
        [
            *(sys.executable, "-m", "pytest_dind", "conformance", "--json", f"--mode={mode}"),
            *(f"--image={DAEMON_IMAGE}", f"--nested={NESTED_IMAGE}"),
        ],
        cwd=room,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        check=False,
        text=True,
    )
    (found,) = json.loads(run.stdout)
    outcomes = {one["says"]: one["outcome"] for one in found["outcomes"]}
    assert run.returncode == 0, run.stdout
    assert found["mode"] == mode
    # In mode socket, what needs a daemon of its own means nothing.
    assert set(outcomes.values()) == ({"passed", "skipped"} if mode == "socket" else {"passed"})
    assert outcomes["A run that is killed leaves nothing behind"] == "passed"
    traces.assert_nothing_left()
