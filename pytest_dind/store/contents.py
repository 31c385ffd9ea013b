"""The warm store's contents: listed and removed for the command, in a short-lived container."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from ..engine import containers, images
from ..engine.engine import Engine
from ..errors import DindError, ImageUnavailable
from ..lifetime import directories, labels, layout
from ..lifetime.layout import Home
from ..settings import Settings
from . import seeding
from .snapshots import Snapshot

_SCRIPTS = ("store/store.sh", "store/cache.sh")


@dataclass(frozen=True)
class Root:
    """A golden root of the store.

    Attributes:
        key: Its name in the store.
        size: Bytes, with all its layers, also those that other golden roots have too.
        used: When a daemon last started with it, in seconds since 1970.
        images: The images in it.
        held: Whether a daemon has it.
        daemons: The names of those daemons.
        snapshot: The name of the snapshot that it is; empty for one that has images alone.
    """

    key: str
    size: int
    used: int
    images: tuple[str, ...]
    held: bool
    daemons: tuple[str, ...]
    snapshot: str = ""


@dataclass(frozen=True)
class Removal:
    """The golden roots that were to be removed, by their keys.

    Attributes:
        gone: Those that were removed.
        held: Those that a daemon has, which stay.
        missing: Those that the store does not have.
    """

    gone: tuple[str, ...]
    held: tuple[str, ...]
    missing: tuple[str, ...]


class Cache:
    """The warm store on an outer engine.

    Args:
        engine: The outer engine.
        image: The image that the store is looked into with, which the engine has; empty means the
            one that made the store, or else the default one.
        run: The directory of the run that this process is of; None for the command.
    """

    def __init__(self, engine: Engine, image: str, run: Path | None = None) -> None:
        self._engine = engine
        self._image = image
        self._run = run

    def roots(self) -> tuple[list[Root], int]:
        """The golden roots, the last used first, and the size of the store on disk in bytes."""
        found = self._do("list")
        size = sum(1024 * int(kib) for _, kib in _pick(found, "all"))
        daemons = self._daemons()
        roots = []
        for index, line in enumerate(found):
            if line[0] == "root":
                _, key, kib, used, held = line
                here = _until(found[index + 1 :], "root")
                names = tuple(name for _, _, name in _pick(here, "image"))
                having = tuple(daemons.get(key, ())) if held == "yes" else ()
                snapshot = _snapshot(here)
                names = snapshot.images if snapshot else names
                root = Root(key, 1024 * int(kib), int(used), names, held == "yes", having)
                roots.append(replace(root, snapshot=snapshot.name) if snapshot else root)
        return sorted(roots, key=lambda root: -root.used), size

    def snapshot(self, key: str) -> Snapshot | None:
        """The snapshot of this key, which counts as used now; None where there is none."""
        return _snapshot(self._do("snapshot", key))

    def remove(self, keys: Sequence[str]) -> Removal:
        """Remove golden roots that no daemon has, and the layers that no other root has."""
        return _removal(self._do("remove", *keys))

    def prune(self, size: str) -> Removal:
        """Remove remains of killed runs, and the least recently used golden roots above a size."""
        return _removal(self._do("prune", str(seeding.kibibytes(size))))

    def discard(self) -> bool:
        """Remove the volume itself unless a daemon uses it; gives whether it is gone."""
        from docker.errors import APIError, NotFound

        try:
            self._engine.client.api.remove_volume(seeding.VOLUME)
        except NotFound:
            pass
        except APIError:
            return False
        return True

    def _daemons(self) -> dict[str, list[str]]:
        """The names of the daemons that have a golden root, by its key."""
        found: dict[str, list[str]] = {}
        for item in self._engine.client.api.containers(filters={"label": labels.CACHE}):
            names = item["Names"] or [item["Id"]]
            found.setdefault(item["Labels"][labels.CACHE], []).append(names[0].lstrip("/"))
        return found

    def _volume(self) -> Mapping[str, Any] | None:
        from docker.errors import NotFound

        try:
            found: Mapping[str, Any] = self._engine.client.api.inspect_volume(seeding.VOLUME)
        except NotFound:
            return None
        return found

    def _local(self, made_by: str) -> str:
        """The image that the store is looked into with; none is pulled for that.

        Raises:
            ImageUnavailable: the engine has none.
        """
        asked = [self._image] if self._image else [*filter(None, [made_by]), Settings().image]
        names = list(dict.fromkeys(asked))
        for name in names:
            if images.find(self._engine.client, name) is not None:
                return name
        raise ImageUnavailable(
            f"No image is there to look into the warm store (volume {seeding.VOLUME}) with.",
            evidence=f"The engine has no image {' and no image '.join(names)}.",
            remedy=[
                "Name an image of the engine that has a shell, flock and du: --image IMAGE.",
                f"Bring it there: docker pull {names[0]}.",
                f"Remove the whole store: docker volume rm {seeding.VOLUME}.",
            ],
        )

    def _do(self, *arguments: str) -> list[list[str]]:
        """Run cache.sh; gives the fields of each line it writes, none where there is no store."""
        volume = self._volume()
        if volume is None:
            # There is no store, so each root that is to be removed is missing.
            return [["missing", key] for key in arguments[1:] if arguments[0] == "remove"]
        made_by = (volume["Labels"] or {}).get(labels.IMAGE, "")
        image = self._local(made_by)
        unique = f"cache-{uuid4().hex[:8]}"
        mount = containers.volume(layout.STORE_IN_CONTAINER, seeding.VOLUME, labels.of_store(image))
        one_off = containers.OneOff(
            image=image,
            home=Home((self._run or directories.base() / unique) / unique),
            role="cache",
            command=["sh", "-c", containers.script(*_SCRIPTS), "sh", *arguments],
            host_config={"mounts": [mount]},
        )
        with containers.ended(self._engine, one_off) as ended:
            output, errors = ended.output(stderr=False), ended.output(stdout=False)
        if ended.code:
            raise DindError(
                f"The warm store (volume {seeding.VOLUME}) could not be read or changed.",
                evidence=f"Exit code {ended.code} in a container of {image}.\n{errors}",
                remedy=[
                    "Name another image that has a shell, flock and du: --image docker:dind.",
                    f"Remove the whole store: docker volume rm {seeding.VOLUME}.",
                ],
            )
        return [line.split("\t") for line in output.splitlines()]


def _pick(lines: Sequence[Sequence[str]], kind: str) -> list[Sequence[str]]:
    return [line for line in lines if line[0] == kind]


def _snapshot(lines: Sequence[Sequence[str]]) -> Snapshot | None:
    """The snapshot that one of these lines tells of; None where none does."""
    found = (Snapshot.from_json(line[1]) for line in _pick(lines, "snapshot"))
    return next(found, None)


def _until(lines: Sequence[Sequence[str]], kind: str) -> Sequence[Sequence[str]]:
    """The lines before the first of this kind."""
    ends = (index for index, line in enumerate(lines) if line[0] == kind)
    return lines[: next(ends, len(lines))]


def _removal(lines: Sequence[Sequence[str]]) -> Removal:
    gone, held, missing = (
        tuple(key for _, key in _pick(lines, kind)) for kind in ("gone", "held", "missing")
    )
    return Removal(gone, held, missing)
