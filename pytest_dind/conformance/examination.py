"""The examination of an engine: the suite, run once in each mode."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..backends import sysbox
from ..engine import flavor
from ..engine.engine import answering
from ..errors import DindError
from . import outcomes

if TYPE_CHECKING:
    from ..engine.engine import Engine

_SECONDS = 900
_TAIL = 20


@dataclass(frozen=True)
class Outcome:
    """What became of one test of the suite.

    Attributes:
        says: What the test shows, in a line.
        outcome: As pytest has it; "skipped" for what means nothing in the mode.
        cause: Why it did not pass; a line.
    """

    says: str
    outcome: Literal["passed", "failed", "skipped"]
    cause: str = ""


@dataclass(frozen=True)
class Examined:
    """What works on an engine in a mode.

    Attributes:
        engine: The engine, as a row of the table names it.
        mode: The mode.
        outcomes: What became of each test; in the suite's order.
    """

    engine: str
    mode: str
    outcomes: tuple[Outcome, ...]

    @property
    def failed(self) -> tuple[Outcome, ...]:
        """What does not work."""
        return tuple(one for one in self.outcomes if one.outcome == "failed")

    @classmethod
    def read(cls, data: dict[str, Any]) -> Examined:
        """Make it of what `dataclasses.asdict` gave."""
        return cls(data["engine"], data["mode"], tuple(Outcome(**one) for one in data["outcomes"]))


def examine(
    engine: Engine, modes: Sequence[str], image: str, nested: str, tell: Callable[[str], None]
) -> list[Examined]:
    """Run the suite on an engine.

    Args:
        engine: The outer engine.
        modes: The modes to run it in.
        image: The daemons' image.
        nested: The image of nested containers; one that the engine has, or can pull.
        tell: Is told what goes on, a line each.

    Raises:
        DindError: the engine can't be had, or the suite did not run.
    """
    name = describe(engine)
    found = []
    for mode in modes:
        tell(f"{name}, mode {mode}: {image}, {nested} ...")
        found.append(Examined(name, mode, _run(engine, mode, image, nested)))
    return found


def usual(engine: Engine) -> list[str]:
    """The modes to try on an engine: all, but for Sysbox where its runtime isn't registered."""
    with answering(engine):
        runtimes = engine.info().get("Runtimes") or {}
    return ["dind", *(["sysbox"] if sysbox.RUNTIME in runtimes else []), "socket"]


def describe(engine: Engine) -> str:
    """An engine in a few words: product, version, and what makes it another than the usual one."""
    with answering(engine):
        version: Any = engine.client.version()
        info: Any = engine.client.info()
        product = "Podman" if flavor.is_podman(engine.client.api) else "Docker"
    words = []
    security = " ".join(info.get("SecurityOptions") or [])
    if "rootless" in security:
        words.append("rootless")
    if "name=userns" in security:
        words.append("userns-remap")
    if ["driver-type", "io.containerd.snapshotter.v1"] in (info.get("DriverStatus") or []):
        words.append("containerd store")
    words.append(f"cgroup v{info.get('CgroupVersion') or 1}")
    return f"{product} {version['Version'].partition('+')[0]} ({', '.join(words)})"


def _run(engine: Engine, mode: str, image: str, nested: str) -> tuple[Outcome, ...]:
    """Run the suite once, in a process of its own and without the user's other plugins."""
    root = Path(tempfile.mkdtemp(prefix="pytest-dind-conformance-"))
    try:
        (root / "pytest.ini").write_text("[pytest]\n")
        command = [
            *(sys.executable, "-m", "pytest", "--pyargs", "pytest_dind.conformance.suite"),
            *("-p", "pytest_dind.plugin", "-p", outcomes.__name__, "-p", "no:cacheprovider"),
            *(f"--rootdir={root}", f"--config-file={root / 'pytest.ini'}"),
            *(f"--basetemp={root / 'tmp'}", f"--dind-host={engine.url}", f"--dind-mode={mode}"),
            *(f"--dind-image={image}", f"--dind-load={nested}"),
        ]
        run = subprocess.run(
            command,
            env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": ""},
            cwd=root,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_SECONDS,
            check=False,
            text=True,
        )
        written = root / outcomes.FILE
        if not written.exists() or not (read := json.loads(written.read_text("utf-8"))):
            raise DindError(
                f"The conformance suite did not run in mode {mode}.",
                evidence="\n".join(
                    [f"pytest ended with code {run.returncode}", *run.stdout.splitlines()[-_TAIL:]]
                ),
                remedy=["Look for the cause in its output above."],
            )
        return tuple(Outcome(**one) for one in read)
    finally:
        shutil.rmtree(root, ignore_errors=True)


def data(found: Sequence[Examined]) -> list[dict[str, Any]]:
    """What was found, for JSON."""
    return [dataclasses.asdict(one) for one in found]
