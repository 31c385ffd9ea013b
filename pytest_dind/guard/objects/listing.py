"""A list of the guards that have objects on an engine, and of these objects.

Each run looks for objects that a killed guard has left, so this imports next to nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...lifetime import labels
from ...lifetime.layout import GUARD
from ...lifetime.reaper import engine_of
from ...settings import MODES
from .roles import CLIENT, CONTAINER, IMAGE, NETWORK, VOLUME

if TYPE_CHECKING:
    from ...engine.engine import Engine

CONTAINERS = (CONTAINER, CLIENT)


def guards(
    engine: Engine, containers: Iterable[Mapping[str, Any]], base: Path, *, thorough: bool
) -> dict[str, Mapping[str, str]]:
    """List the guards that have a home or objects: their labels, by their daemons' homes.

    Args:
        engine: The outer engine.
        containers: This plugin's containers on it, whatever their role.
        base: The directory of all runs: a guard without objects is known by its home alone.
        thorough: Whether to look for one that has neither a home nor a container any more, too.
    """
    api: Any = engine.client.api
    running = [item for item in containers if item["Labels"].get(labels.ROLE) in CONTAINERS]
    roles = (NETWORK, VOLUME, IMAGE) if thorough else ()
    beside = [item for role in roles for item in labelled(api, role)]
    known = {item["Labels"][labels.HOME]: item["Labels"] for item in [*beside, *running]}
    for mark in (home / GUARD for run in _within(base) for home in _within(run)):
        # A guard removes its home by itself.
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            made = str(int(mark.stat().st_mtime))
            if engine_of(mark.parent) == engine.url:
                home = str(mark.parent)
                ours = {labels.OWNER: labels.owner(), labels.HOME: home, labels.MODE: MODES[-1]}
                known.setdefault(home, {**ours, labels.CREATED: made})
    return known


def _within(directory: Path) -> list[Path]:
    """The entries of a directory; none if it is removed just now, as another run's may be."""
    with contextlib.suppress(OSError):
        return list(directory.iterdir())
    return []


def is_container(item: Mapping[str, Any]) -> bool:
    """Whether a container is a daemon's: not made through a guard, nor of an image that was."""
    return item["Labels"].get(labels.ROLE) not in (*CONTAINERS, IMAGE)


def labelled(api: Any, role: str, home: str = "", container: str = "") -> list[dict[str, Any]]:
    """List the objects of a role, of one home or of all.

    Args:
        api: The engine's API.
        role: The role.
        home: The home; empty for all.
        container: The container that the home is in, where it is in one: another may have a home
            of the same path.
    """
    wanted = [f"{labels.ROLE}={role}", f"{labels.HOME}={home}" if home else labels.HOME]
    wanted += [f"{labels.CONTAINER}={container}"] if container else []
    filters = {"label": wanted}
    listed: Any
    if role in CONTAINERS:
        listed = api.containers(all=True, filters=filters)
    elif role == NETWORK:
        listed = api.networks(filters=filters)
    elif role == VOLUME:
        listed = api.volumes(filters=filters)["Volumes"]
    else:
        # Steps have some of the labels; what is committed from a container has its role.
        wanted = wanted[1:]
        listed = [
            item
            for item in api.images(all=True, filters={"label": wanted})
            if item["Labels"].get(labels.ROLE, role) == role
        ]
    return [item for item in listed or [] if labels.selected(item["Labels"], wanted)]
