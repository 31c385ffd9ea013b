"""The sweep: the daemons of all runs on an engine, and the removal of those left behind."""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..guard.objects import listing
from ..lifetime import directories, labels, layout, reaper
from ..lifetime.layout import LEASE, Home
from ..lifetime.lease import is_held

if TYPE_CHECKING:
    from ..engine.engine import Engine


IN_USE = "in use"
KEPT = "kept"
STALE = "stale"
"""Left behind: its users are provably gone, by themselves or with their container."""
UNKNOWN = "unknown"
"""A daemon of another user or machine, or one about which nothing can be proved."""

_ID = re.compile(r"[0-9a-f]{64}")

# A removal may take so long; the engine goes on with it by itself.
_SECONDS = 10


@dataclass(frozen=True)
class Entry:
    """A daemon of this plugin on an engine: a container, or a guard with what its tests made.

    Attributes:
        name: The name of the daemon's container.
        mode: The mode in which the daemon was made.
        owner: The host and the user that started it.
        age: The seconds since its start.
        use: Who uses it, as one of the constants of this module.
        home: The daemon's directory.
        guarded: Whether it is a guard.
        container: The engine's container that its users are in; empty where they are in none, or in
            this process's own.
        local: Whether its directory is one of this user's on this machine; else nothing there may
            be touched, which only a label names.
        spare: Whether it is ready for a test that has not asked for it yet.
        cluster: The kind of the cluster that it has, or is a node of: `kubernetes` or `swarm`;
            empty for none, or where that isn't known.
    """

    name: str
    mode: str
    owner: str
    age: float
    use: str
    home: Path
    guarded: bool = False
    container: str = ""
    local: bool = True
    spare: bool = False
    cluster: str = ""


def entries(engine: Engine, base: Path, *, thorough: bool = True) -> list[Entry]:
    """Return this plugin's daemons on an engine, those of other users and machines too.

    Args:
        engine: The outer engine.
        base: The directory of all runs.
        thorough: Whether to look also for the leavings of a guard that has no container and no
            directory any more; that takes the engine some milliseconds.
    """
    found = engine.client.api.containers(all=True, filters={"label": labels.RUN})
    judge = _Judge(engine, base)
    containers = [
        # A container that is being removed has no name any more.
        judge.entry((item["Names"] or [item["Id"]])[0].lstrip("/"), item)
        for item in found
        if listing.is_container(item)
    ]
    guards = listing.guards(engine, found, base, thorough=thorough)
    return [
        *containers,
        *(
            judge.entry(Home(Path(home)).label, {"Labels": ours}, guarded=True)
            for home, ours in guards.items()
        ),
    ]


class _Judge:
    """Tells who uses what carries this plugin's labels, as far as that can be proved.

    Args:
        engine: The outer engine.
        base: The directory of all runs.
    """

    def __init__(self, engine: Engine, base: Path) -> None:
        self._engine = engine
        self._base = base
        self._ended: dict[str, bool] = {}

    def entry(self, name: str, item: Mapping[str, Any], *, guarded: bool = False) -> Entry:
        """Return what is told of a container, or of a guard."""
        ours = item["Labels"]
        home, local = Path(ours.get(labels.HOME, "")), self._is_local(ours)
        return Entry(
            name=name,
            mode=ours.get(labels.MODE, ""),
            owner=ours.get(labels.OWNER, ""),
            age=max(0.0, time.time() - labels.created(ours)),
            use=self.use(ours, runs=item.get("State") == "running"),
            home=home,
            guarded=guarded,
            container=self._other_container(ours),
            local=local,
            spare=local and (home / layout.SPARE).exists(),
            cluster=cluster_of(home) if local else "",
        )

    def _is_local(self, ours: Mapping[str, Any]) -> bool:
        home = Path(ours.get(labels.HOME, ""))
        # Anybody can write a label, also one that leads out of the directory.
        is_below = home.parent.parent == self._base and ".." not in home.parts
        return is_below and ours.get(labels.OWNER) == labels.owner()

    def use(self, ours: Mapping[str, Any], *, runs: bool) -> str:
        """Return who uses a resource with these labels."""
        home, local = Path(ours.get(labels.HOME, "")), self._is_local(ours)
        container = self._other_container(ours)
        if not local and not container:
            return UNKNOWN
        if local and is_held(home.parent / LEASE):
            return IN_USE
        kept = runs and ours.get(labels.KEEP, "never") != "never"
        if container:
            # Its directory is in there; one of the same path here may be another.
            if not self._has_ended(container):
                return UNKNOWN
            return KEPT if kept else STALE
        if any(mark.exists() for mark in _marks(home)):
            return KEPT
        if home.is_dir():
            return STALE
        # Its directory was cleaned away. It may be kept on purpose; else its process must be gone.
        if kept:
            return KEPT
        return STALE if labels.is_gone(ours.get(labels.PROCESS, "")) else UNKNOWN

    def _other_container(self, ours: Mapping[str, Any]) -> str:
        """Return the container that the users are in, if it is not this process's own."""
        container = str(ours.get(labels.CONTAINER, ""))
        if not _ID.fullmatch(container) or container == self._engine.own_container_id:
            return ""
        return container

    def _has_ended(self, container: str) -> bool:
        """Tell whether a container of the engine has ended, or is gone."""
        from ..engine import containers

        if container not in self._ended:
            details = containers.inspect(self._engine.client, container)
            self._ended[container] = not (details and details["State"]["Running"])
        return self._ended[container]


def _marks(home: Path) -> Iterable[Path]:
    """Return the files, one of which is there where what has this home is kept."""
    # A network is, with whichever of its daemons is.
    is_network = home.name == layout.NETWORK
    return home.parent.glob(f"*/{layout.KEPT}") if is_network else [home / layout.KEPT]


def cluster_of(home: Path) -> str:
    """Return the kind of the cluster that a daemon is for; empty for none."""
    try:
        return str(json.loads((home / layout.CLUSTER).read_text())["kind"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def remove(engine: Engine, entry: Entry) -> None:
    """Remove a daemon with all that is in it, even if it is in use."""
    _remove(engine, entry)
    if not _may_touch(entry):
        return
    directories.remove(entry.home)
    if not is_held(entry.home.parent / LEASE):
        reaper.finish(entry.home.parent)
        directories.forget_locks(entry.home.parent.parent)
        # The reaper asks an engine by a unix socket alone.
        _sweep_networks(entry.home.parent.parent, engine)


def _may_touch(entry: Entry) -> bool:
    """Tell whether the directory of a daemon may be touched.

    It may belong to somebody else, or a label name it that anybody could write.
    """
    return entry.local and entry.use != UNKNOWN


def _remove(engine: Engine, entry: Entry) -> None:
    """Remove a daemon from the engine."""
    from docker.errors import APIError

    from ..engine import containers

    if not entry.guarded:
        if _may_touch(entry):
            reaper.thaw(entry.home)
        try:
            containers.remove(engine.client.api, entry.name)
        except APIError as error:
            # It is gone by itself, or is going, as when its run ends just now.
            if error.status_code not in (HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT):
                raise
        return
    from ..guard import launch
    from ..guard.objects import leftovers

    if _may_touch(entry):
        launch.end(entry.home)
    leftovers.purge(engine, entry.home, entry.container)
    if _may_touch(entry):
        (entry.home / layout.GUARD).unlink(missing_ok=True)


def sweep(base: Path, engine: Engine, *, thorough: bool = False) -> None:
    """Remove the containers, volumes, networks and directories that ended runs left.

    Those are this user's, and those of a container that has ended. All that is not provably left
    behind stays: resources of other users and machines, those in use, and those kept on purpose.
    A resource that can't be removed stays too, and is no reason not to start: the next run has
    another go.

    Args:
        base: The directory of all runs.
        engine: The outer engine.
        thorough: As `entries` takes it.
    """
    from docker.errors import DockerException

    # An OSError: of the engine that takes too long, or of a directory that somebody else removes.
    with directories.locked(base), contextlib.suppress(DockerException, OSError):
        found = entries(engine, base, thorough=thorough)
        _remove_stale([entry for entry in found if entry.use == STALE], engine)
        names = {entry.name for entry in found if entry.use != STALE}
        for path in filter(Path.is_dir, base.iterdir()):
            if not is_held(path / LEASE):
                _forget_removed(path, engine, names)
                reaper.finish(path)
        directories.forget_locks(base)
        _sweep_volumes(base, engine)
        _sweep_networks(base, engine)


def _remove_stale(stale: Sequence[Entry], engine: Engine) -> None:
    """Remove these daemons, as far as that is quickly done: all other runs wait meanwhile."""
    from docker.errors import DockerException

    if not stale:
        return
    with contextlib.suppress(OSError), contextlib.closing(engine.patient(_SECONDS)) as patient:
        for entry in stale:
            with contextlib.suppress(DockerException):
                _remove(patient, entry)


def _forget_removed(run: Path, engine: Engine, names: set[str]) -> None:
    """Unmark kept daemons of this engine whose container somebody removed."""
    for mark in run.glob(f"*/{layout.KEPT}"):
        if f"pytest-dind-{run.name}-{mark.parent.name}" in names:
            continue
        if reaper.engine_of(mark.parent) == engine.url:
            mark.unlink(missing_ok=True)


def _sweep_volumes(base: Path, engine: Engine) -> None:
    """Remove the data-roots that have no container any more, as after a crash of the engine."""
    from docker.errors import APIError

    api = engine.client.api
    filters = {"label": labels.RUN, "dangling": True}
    judge = _Judge(engine, base)
    for volume in api.volumes(filters=filters).get("Volumes") or []:
        if judge.use(volume.get("Labels") or {}, runs=False) == STALE:
            with contextlib.suppress(APIError):
                api.remove_volume(volume["Name"])


def _sweep_networks(base: Path, engine: Engine) -> None:
    """Remove the networks of ended runs, left where the engine did not answer their reaper."""
    from docker.errors import APIError

    api = engine.client.api
    judge = _Judge(engine, base)
    for network in api.networks(filters={"label": labels.RUN}):
        if judge.use(network.get("Labels") or {}, runs=False) == STALE:
            with contextlib.suppress(APIError):
                api.remove_network(network["Id"])
