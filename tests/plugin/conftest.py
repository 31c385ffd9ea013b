"""What the runs of these tests have in common."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# pytester forgets what a run in its own process is the first to load. Of requests those would be a
# few modules, and what is loaded anew does not know the classes of the others.
import docker  # noqa: F401
import pytest

from .. import forks


@pytest.fixture(autouse=True)
def _alone(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep tests in their order, and do without plugins that are there for tests of their own."""
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p no:randomly -p no:hypothesispytest")


@pytest.fixture(autouse=True)
def _forks(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have pytest's runs in processes that need not load pytest."""
    start_process: Any = pytester.popen

    def start(command: Sequence[str], **streams: Any) -> forks.Fork | subprocess.Popen[bytes]:
        program, *arguments = command
        if (program, arguments[:1]) != (sys.executable, ["-mpytest"]):
            process: subprocess.Popen[bytes] = start_process(command, **streams)
            return process
        return forks.with_pytest().start(
            arguments[1:],
            cwd=Path.cwd(),
            env=dict(os.environ),
            stdout=streams["stdout"].fileno(),
            stderr=streams["stderr"].fileno(),
        )

    monkeypatch.setattr(pytester, "popen", start)
