"""What the parts of a run work with: its directories and engines, and what its process holds."""

from __future__ import annotations

import contextlib
import subprocess
import threading
from dataclasses import dataclass, field
from pathlib import Path

from ..backends.protocol import Shaper
from ..engine import streams
from ..engine.engine import Engine
from ..lifetime import directories, reaper
from ..lifetime.layout import LEASE
from ..lifetime.lease import Lease
from ..settings import Settings
from .ending import Patience
from .places import Places


class Engines:
    """The outer engines that a process of a run has asked for; may be used by several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_host: dict[str, Engine] = {}

    def get(self, host: str) -> Engine:
        """Return the engine at a host; the same object for each text that leads to it.

        Raises:
            EngineUnavailable: the text names a context that can't be read.
        """
        # A test may change the environment: what a text meant first, it means to the run's end.
        with self._lock:
            if host not in self._by_host:
                engine = Engine(host)
                same = (known for known in self._by_host.values() if known.place == engine.place)
                self._by_host[host] = next(same, engine)
            return self._by_host[host]

    def api_versions(self) -> dict[str, str]:
        """Return the newest API of each that has been asked something, by its URL."""
        known = {engine.url: engine.api_version for engine in self._by_host.values()}
        return {url: version for url, version in known.items() if version}

    def close(self, *, waits: bool = True) -> None:
        """Close the connections to all of them; `Engine.close` says what `waits` is."""
        for engine in self._by_host.values():
            engine.close(waits=waits)


@dataclass(frozen=True)
class Context:
    """What the parts of a run work with.

    Attributes:
        directory: The run's directory.
        shared: The directory in which the runs of one test run, such as those of factories, tell
            each other which modes are in force, and that one of them has swept.
        places: What the words of `--dind-mount` stand for.
        progress: Where a line on what takes long goes.
        shaper: The hook that may change the containers of daemons.
        engines: The outer engines.
        patience: How long the end waits for engines that don't answer.
    """

    directory: Path
    shared: Path
    places: Places
    progress: streams.Progress
    shaper: Shaper | None = None
    engines: Engines = field(default_factory=Engines)
    patience: Patience = field(default_factory=Patience)

    def engine(self, settings: Settings) -> Engine:
        """Return the outer engine of these settings.

        Raises:
            EngineUnavailable: the settings name a context that can't be read.
        """
        return self.engines.get(settings.host)


class Holdings:
    """The leases that a process holds, and the reapers that it has started, until `release`."""

    def __init__(self) -> None:
        self._leases: list[Lease] = []
        self._reapers: list[subprocess.Popen[bytes]] = []

    def take(self, directory: Path, *, starts: bool) -> None:
        """Make a directory of daemons, if there is none, and take the lease in it.

        Args:
            directory: The directory.
            starts: Whether a daemon is to be started there, which gets a reaper.

        Raises:
            SettingsError: the directory can't be written.
        """
        with contextlib.ExitStack() as stack:
            if starts:
                self._reapers.append(stack.enter_context(reaper.watching(directory)))
            # A directory whose lease nobody holds is swept, so both are made under the lock.
            stack.enter_context(directories.locked(directory.parent))
            directories.make(directory)
            self.join(directory)

    def join(self, directory: Path) -> None:
        """Take the lease in a directory that another process has made.

        Raises:
            SettingsError: the directory can't be written.
        """
        with directories.explained(directory / LEASE):
            self._leases.append(Lease(directory / LEASE))

    def release(self) -> None:
        """Release the leases, and wait for the reapers' processes, which end at once."""
        for lease in self._leases:
            lease.release()
        for process in self._reapers:
            process.wait()
