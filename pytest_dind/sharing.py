"""A run and its daemons: who starts one, who attaches to it, and how all of them end."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from filelock import FileLock

from . import images, workspace
from .backends import backend, resolve
from .backends.protocol import Home, Record
from .daemon import Daemon
from .engine import connect
from .lease import LEASE, Lease
from .settings import Settings

if TYPE_CHECKING:
    import docker

_STATE = "state.json"
"""A daemon's record, in its home; there once the daemon is ready."""


class Run:
    """One test run, xdist's workers included, and the daemons that it started.

    The process that created the run ends all of them; the others just leave.
    """

    def __init__(self, path: Path, lease: Lease, *, owner: bool, say: images.Say) -> None:
        self.path = path
        self._lease = lease
        self._owner = owner
        self._say = say
        self._engines: dict[str, docker.DockerClient] = {}

    @classmethod
    def create(cls, say: images.Say) -> Run:
        """Begin a run; what it starts lives until `close`, or until its processes are gone."""
        path = workspace.base() / uuid4().hex[:8]
        path.mkdir(mode=0o700)
        return cls(path, Lease.create(path / LEASE), owner=True, say=say)

    @classmethod
    def join(cls, path: Path, say: images.Say) -> Run:
        """Take part in a run that another process began."""
        return cls(path, Lease(path / LEASE), owner=False, say=say)

    def daemon(self, settings: Settings, name: str = "main") -> Daemon:
        """The daemon of this name: whoever asks first starts it, the others attach to it.

        Raises:
            DindError: it can't be had; nothing of it is left.
        """
        home = Home(self.path.name, name, self.path / name)
        engine = self._engine(settings.host)
        with FileLock(self.path / f"{name}.lock"):
            record = _read(home.path)
            if record is None:
                record = self._start(home, settings, engine)
        return Daemon(record, backend(record.mode, engine))

    def _start(self, home: Home, settings: Settings, engine: docker.DockerClient) -> Record:
        home.path.mkdir(mode=0o700)
        try:
            # One FIFO under two names: who holds the run's lease holds the daemon's.
            os.link(self._lease.path, home.path / LEASE)
            chosen = backend(resolve(settings.mode), engine)
            record = chosen.start(home, settings, self._say)
            try:
                self._load(Daemon(record, chosen), settings, engine)
                _write(home.path, record)
            except BaseException:
                chosen.stop(record)
                raise
        except BaseException:
            workspace.remove(home.path)
            raise
        return record

    def _load(self, daemon: Daemon, settings: Settings, engine: docker.DockerClient) -> None:
        if settings.load:
            client = daemon.client()
            try:
                images.load(engine, client, settings.load, self._say)
            finally:
                client.close()

    def _engine(self, host: str) -> docker.DockerClient:
        if host not in self._engines:
            self._engines[host] = connect(host)
        return self._engines[host]

    def records(self) -> list[Record]:
        """The daemons of this run that became ready."""
        found = [_read(state.parent) for state in sorted(self.path.glob(f"*/{_STATE}"))]
        return [record for record in found if record is not None]

    def close(self) -> None:
        """Leave the run; its owner removes its daemons and its directory."""
        try:
            if self._owner:
                for record in self.records():
                    backend(record.mode, self._engine(record.engine)).stop(record)
        finally:
            self._lease.release()
            for engine in self._engines.values():
                engine.close()
            if self._owner:
                workspace.remove(self.path)


def _read(home: Path) -> Record | None:
    try:
        state = json.loads((home / _STATE).read_text())
    except FileNotFoundError:
        return None
    return Record(**state | {"published": tuple(state["published"])})


def _write(home: Path, record: Record) -> None:
    aside = home / f"{_STATE}.new"
    aside.write_text(json.dumps(dataclasses.asdict(record)))
    aside.replace(home / _STATE)
