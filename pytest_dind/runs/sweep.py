"""The sweep: the daemons of all runs on an engine, and the removal of those left behind."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
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
"""Left behind: its users are provably gone."""
UNKNOWN = "unknown"
"""A daemon of another user or machine, or one about which nothing can be proved."""

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
    """

    name: str
    mode: str
    owner: str
    age: float
    use: str
    home: Path
    guarded: bool = False


def entries(engine: Engine, base: Path, *, thorough: bool = True) -> list[Entry]:
    """Return this plugin's daemons on an engine, those of other users and machines too.

    Args:
        engine: The outer engine.
        base: The directory of all runs.
        thorough: Whether to look also for the leavings of a guard that has no container and no
            directory any more; that takes the engine some milliseconds.
    """
    found = engine.client.api.containers(all=True, filters={"label": labels.RUN})
    containers = [
        # A container that is being removed has no name any more.
        _entry((item["Names"] or [item["Id"]])[0].lstrip("/"), item, base)
        for item in found
        if listing.is_container(item)
    ]
    guards = listing.guards(engine, found, base, thorough=thorough)
    return [
        *containers,
        *(
            _entry(Home(Path(home)).label, {"Labels": ours}, base, guarded=True)
            for home, ours in guards.items()
        ),
    ]


def _entry(name: str, item: Mapping[str, Any], base: Path, *, guarded: bool = False) -> Entry:
    ours = item["Labels"]
    return Entry(
        name=name,
        mode=ours.get(labels.MODE, ""),
        owner=ours.get(labels.OWNER, ""),
        age=max(0.0, time.time() - labels.created(ours)),
        use=_use(ours, base, runs=item.get("State") == "running"),
        home=Path(ours.get(labels.HOME, "")),
        guarded=guarded,
    )


def _use(ours: Mapping[str, Any], base: Path, *, runs: bool) -> str:
    """Return who uses a resource with these labels, as far as this process can prove it."""
    home = Path(ours.get(labels.HOME, ""))
    if ours.get(labels.OWNER) != labels.owner() or home.parent.parent != base:
        return UNKNOWN
    if ".." in home.parts:
        # Anybody can write a label; this label leads out of the directory.
        return UNKNOWN
    if is_held(home.parent / LEASE):
        return IN_USE
    if (home / layout.KEPT).exists():
        return KEPT
    if home.is_dir():
        return STALE
    # Its directory was cleaned away. It may be kept on purpose; else its process must be gone.
    if runs and ours.get(labels.KEEP, "never") != "never":
        return KEPT
    return STALE if labels.is_gone(ours.get(labels.PROCESS, "")) else UNKNOWN


def remove(engine: Engine, entry: Entry) -> None:
    """Remove a daemon with all that is in it, even if it is in use."""
    _remove(engine, entry)
    if entry.use == UNKNOWN:
        # Its directory belongs to somebody else, or so says a label that anybody could write.
        return
    directories.remove(entry.home)
    if not is_held(entry.home.parent / LEASE):
        reaper.finish(entry.home.parent)
        directories.forget_locks(entry.home.parent.parent)


def _remove(engine: Engine, entry: Entry) -> None:
    """Remove a daemon from the engine."""
    from docker.errors import APIError

    if not entry.guarded:
        # The directory of an unknown one comes from a label, which anybody can write.
        if entry.use != UNKNOWN:
            reaper.thaw(entry.home)
        try:
            engine.client.api.remove_container(entry.name, force=True, v=True)
        except APIError as error:
            # It is gone by itself, or is going, as when its run ends just now.
            if error.status_code not in (HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT):
                raise
        return
    from ..guard import launch
    from ..guard.objects import leftovers

    if entry.use != UNKNOWN:
        launch.end(entry.home)
    leftovers.purge(engine, entry.home)
    if entry.use != UNKNOWN:
        (entry.home / layout.GUARD).unlink(missing_ok=True)


def sweep(base: Path, engine: Engine) -> None:
    """Remove the containers, volumes, networks and directories that this user's ended runs left.

    All that is not provably left behind stays: resources of other users and machines, those in use,
    and those kept on purpose. A resource that can't be removed stays too, and is no reason not to
    start: the next run has another go.
    """
    from docker.errors import DockerException

    # An OSError: of the engine that takes too long, or of a directory that somebody else removes.
    with directories.locked(base), contextlib.suppress(DockerException, OSError):
        found = entries(engine, base, thorough=False)
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
    for volume in api.volumes(filters=filters).get("Volumes") or []:
        if _use(volume.get("Labels") or {}, base, runs=False) == STALE:
            with contextlib.suppress(APIError):
                api.remove_volume(volume["Name"])


def _sweep_networks(base: Path, engine: Engine) -> None:
    """Remove the networks of ended runs, left where the engine did not answer their reaper."""
    from docker.errors import APIError

    api = engine.client.api
    for network in api.networks(filters={"label": labels.RUN}):
        if _use(network.get("Labels") or {}, base, runs=False) == STALE:
            with contextlib.suppress(APIError):
                api.remove_network(network["Id"])
