"""What a test leaves on the engine, and in the directories of runs."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import docker

from pytest_dind.lifetime import labels

from ..support import until

FOREIGN = "foreign-"
"""How the names begin of what tests have made that stands for other people's."""


class Traces:
    """What came to an engine, and to the runs' directories below a room, since this was made.

    An engine may have other users, even other runs of this plugin. Theirs is passed over:
    containers and volumes with the labels of a run outside of the room, containers without labels
    (the plugin makes none), volumes without labels that have a name or are in use, and networks
    that tests beside this one have made as other people's.
    """

    def __init__(self, engine: docker.DockerClient, room: Path) -> None:
        self._engine = engine
        self._room = room
        self._before = self._now()

    def found(self) -> set[str]:
        """What there is now and was not before."""
        # Not with a glob, which fails on a directory that goes meanwhile.
        directories = {
            f"directory {Path(top, name)}"
            for top, names, _ in os.walk(self._room)
            if Path(top).name.startswith("pytest-dind-")
            for name in names
        }
        return (self._now() - self._before) | directories

    def containers(self) -> list[str]:
        """The ids of the daemons' containers of this room."""
        found = self._engine.api.containers(all=True)
        return [item["Id"] for item in found if self._is_ours(item["Labels"])]

    def state(self, container: str) -> str:
        """The state of a container, such as "running"; empty when it is gone."""
        found = self._engine.api.containers(all=True, filters={"id": container})
        return str(found[0]["State"]) if found else ""

    def assert_nothing_left(self, seconds: float = 5) -> None:
        """Fail when something is left, and is still `seconds` from now."""
        left = self.found()

        def is_gone() -> bool:
            left.intersection_update(self.found())
            return not left

        try:
            until(is_gone, seconds, "nothing is left")
        except AssertionError as error:
            raise AssertionError(f"left behind: {sorted(left)}") from error

    def _now(self) -> set[str]:
        api = self._engine.api
        dangling = api.volumes(filters={"dangling": True})["Volumes"] or []
        return {
            *(f"container {id_}" for id_ in self.containers()),
            *self._unless_of_others("volume", "Name", filter(_is_anonymous, dangling)),
            *(
                f"volume {item['Name']}"
                for item in api.volumes()["Volumes"] or []
                if self._is_ours(item["Labels"])
            ),
            *self._unless_of_others(
                "network",
                "Id",
                (item for item in api.networks() if not item["Name"].startswith(FOREIGN)),
            ),
        }

    def _unless_of_others(self, kind: str, key: str, items: Iterable[dict[str, Any]]) -> set[str]:
        return {
            f"{kind} {item[key]}" for item in items if self._is_ours(item["Labels"]) is not False
        }

    def _is_ours(self, found: Mapping[str, str] | None) -> bool | None:
        """Whether labels are those of a run in the room; None when they are no run's at all."""
        home = (found or {}).get(labels.HOME)
        return None if home is None else Path(home).is_relative_to(self._room.resolve())


def _is_anonymous(volume: Mapping[str, Any]) -> bool:
    return re.fullmatch(r"[0-9a-f]{64}", volume["Name"]) is not None


def created(engine: docker.DockerClient, room: Path, role: str, since: float) -> int:
    """How many containers of a role the runs of a room had made since a point in time."""
    events: Any = engine.api.events(
        since=int(since),
        until=int(time.time()) + 1,
        filters={"type": "container", "event": "create", "label": f"{labels.ROLE}={role}"},
        decode=True,
    )
    with contextlib.closing(events):
        homes = [Path(event["Actor"]["Attributes"][labels.HOME]) for event in events]
    return sum(home.is_relative_to(room.resolve()) for home in homes)
