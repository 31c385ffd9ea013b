"""The examination of an engine, its kernel, and each mode, within bounds of time."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from ..backends import names
from ..backends.memory import Memory
from ..backends.probe import (
    DISK,
    IPTABLES,
    LEASE_SEEN,
    LEASES,
    LOOK,
    RESOLVERS,
    TOOLS,
    Probe,
    ProbeResult,
    sections,
)
from ..engine import images, streams
from ..engine.engine import Engine, answering
from ..errors import DindError
from ..lifetime import layout
from ..runs.memory import room
from ..settings import DOCTOR_FULL, MODES, Settings
from . import clusters, kernel, outer, ports, trial
from .report import Report

if TYPE_CHECKING:
    from ..runs.run import Run

# An engine that isn't well may take this long to describe itself.
_ENGINE_SECONDS = 10


def examine(settings: Settings, progress: streams.Progress) -> Report:
    """Find out which modes work here with these settings; nothing is left on the engine.

    Args:
        settings: The settings, of which mode, host, image and doctor matter.
        progress: Where a line on what takes long goes.
    """
    from ..runs.run import Run

    with contextlib.closing(Engine(settings.host, timeout=_ENGINE_SECONDS)) as engine:
        try:
            found = outer.ask(engine)
            with contextlib.closing(Run.begin(progress)) as run, answering(engine):
                report = _look(engine, found, run, settings, progress)
        except DindError as error:
            none = tuple(trial.failed(mode, error) for mode in MODES)
            return Report(asked=settings.mode, kernel=kernel.here(), modes=none, error=error)
    if settings.doctor != DOCTOR_FULL:
        return report
    tried = (
        trial.start(found, settings, progress) if found.works else found for found in report.modes
    )
    return dataclasses.replace(report, modes=tuple(tried))


def _look(
    engine: Engine, found: outer.Outer, run: Run, settings: Settings, progress: streams.Progress
) -> Report:
    """Return the report, as far as it goes without starting a daemon."""
    # What works is remembered for runs, and what was remembered doesn't count.
    memory = Memory(run.path.parent / layout.PROVED, anew=True)
    probe = _CachedProbe(engine, settings.image, run.path, progress, memory)
    with answering(engine):
        gateway = names.way_back(engine)
    try:
        # Once for all modes.
        with answering(engine):
            images.ImageSource(engine.client, progress).ensure(settings.image)
    except DindError as error:
        probe.unavailable = error
    # A Ctrl-C waits for these threads, so that their containers are gone before it is obeyed.
    with ThreadPoolExecutor(max_workers=len(MODES)) as pool:
        modes = tuple(pool.map(lambda mode: trial.look(mode, engine, probe), MODES))
    privileged = plain = None
    seen: dict[str, str] = {}
    if probe.unavailable is None:
        result = probe(LOOK, shares=True, privileged=True)
        privileged = result.ran
        if not privileged:
            result = probe(LOOK)
        plain = result.ran
        seen = sections(result.output) if result.ran else {}
    shares = seen.get(LEASES) == LEASE_SEEN if seen else None
    with answering(engine):
        reached = ports.look(engine, settings, shares=shares, tools=seen.get(TOOLS))
        memory_left, _ = room(engine)
    there = {"/proc/sys/kernel/osrelease": found.kernel, **seen}
    return Report(
        asked=settings.mode,
        kernel=kernel.here() if found.local else kernel.judge(kernel.THERE, there),
        engine=found,
        space=outer.space(found, seen.get(DISK, "")),
        privileged=privileged,
        unprivileged=plain,
        image_iptables=kernel.flavour(seen.get(IPTABLES, "")),
        shares=shares,
        gateway=gateway,
        resolvers=tuple(seen.get(RESOLVERS, "").split()),
        ports=reached,
        clusters=clusters.judge(seen if privileged else {}, found.cgroup_version, memory_left),
        modes=modes,
    )


class _CachedProbe(Probe):
    """A probe that runs each command once, however many ask for it."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.unavailable: DindError | None = None
        self._results: dict[str, ProbeResult] = {}

    def __call__(self, command: Sequence[str], **options: Any) -> ProbeResult:
        if self.unavailable is not None:
            raise self.unavailable
        key = repr((tuple(command), sorted(options.items())))
        if key not in self._results:
            self._results[key] = super().__call__(command, **options)
        return self._results[key]
