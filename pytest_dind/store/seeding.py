"""The warm store: daemons that start with their images, as fast as empty ones.

`store.sh` works on the store's volume, in the daemons' containers. This is the side of the test
process: which golden root a daemon starts with, and when one is made.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

from ..engine import digests
from ..errors import ImageUnavailable, SettingsError, SnapshotFailed
from ..lifetime import layout
from ..lifetime.files import Files
from .loaded import LoadedImages

if TYPE_CHECKING:
    import docker

    from ..engine.images import ImageSource
    from ..settings import Settings
    from .snapshots import Snapshot

VOLUME = "pytest-dind-cache"

SEEDED = "seeded"
COLD = "cold"
PRELOADED = "preloaded"
FAILED = "failed"
UNFIT = "unfit"
"""Followed by the reason: no golden root can be made for this key."""
MISSING = "missing"
DAMAGED = "damaged"
"""These two are said of snapshots, in whose place none can be made."""
_WHY = {
    PRELOADED: "the daemon's image has nested images of its own",
    FAILED: "it could not be written or mounted",
    MISSING: "the warm store does not have it any more",
    DAMAGED: "it was changed in the warm store, or is cut short",
}
_DRIVERS = ("overlay2", "overlayfs")
_UNITS = {"k": 1, "m": 1024, "g": 1024**2, "t": 1024**3}
_SAID_LINES = 5
# Raised when golden roots are made in another way: those of other versions are not used.
_LAYOUT = 4


class ReadyDaemon(Protocol):
    """A daemon that is ready, and can be started anew from a golden root.

    Attributes:
        files: Its files.
    """

    files: Files

    def client(self) -> AbstractContextManager[docker.DockerClient]:
        """A client on it."""

    def publish(self) -> None:
        """Make a golden root of its data-root, and start a new daemon from that in its place."""

    def restart(self) -> None:
        """Start a new daemon on its data-root."""


@runtime_checkable
class Extra(Protocol):
    """What golden roots have besides the daemon's own images.

    It is in a directory of containerd's, `containerd/NAME` of the data-root, whose layers and
    contents are shared as those of the daemon's images are.

    Attributes:
        name: Its name.
        images: The names of the images that it is made of, together with the daemon's.
    """

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def images(self) -> tuple[str, ...]: ...  # noqa: D102

    def make(self, daemon: docker.DockerClient, source: ImageSource) -> None:
        """Make it in a daemon that has its images, in place of what a former root had.

        Raises:
            ImageUnavailable: it can't be made.
        """


Origin: TypeAlias = "Snapshot | Extra"
"""What a daemon may start from: a snapshot, or a golden root that has more than images."""


@dataclass(frozen=True)
class Seed:
    """The golden root that a daemon starts with, or that is made of its data-root.

    Attributes:
        key: The golden root's name: a digest of the daemon that it fits and one of its images;
            empty for none.
        refresh: Whether it is made anew.
        limit: The limit of the store, in KiB.
    """

    key: str = ""
    refresh: bool = False
    limit: int = 0

    def arguments(self) -> list[str]:
        """The arguments of supervise.sh."""
        return [self.key, "yes" if self.refresh else "no", str(self.limit)]


@dataclass(frozen=True)
class Preload:
    """The images that a daemon has when it is handed over.

    Attributes:
        names: Their names.
        source: The outer engine, which has them.
        seed: The golden root that has them.
        snapshot: The snapshot that the daemon starts from, which is a golden root too; None for
            none.
        extra: What the golden root has besides the images; None for nothing.
    """

    names: tuple[str, ...]
    source: ImageSource
    seed: Seed = Seed()
    snapshot: Snapshot | None = None
    extra: Extra | None = None

    def provide(self, daemon: ReadyDaemon) -> None:
        """Have the images in a daemon that is ready; make a golden root of them if it has none.

        Raises:
            ImageUnavailable: an image can't be loaded into the daemon.
            SnapshotFailed: the daemon has not started from its snapshot.
        """
        if self.snapshot is not None:
            self._demand(self.snapshot, daemon.files)
        if not self.names:
            return
        if outcome(daemon.files) == COLD:
            why = self._fill(daemon)
            if why is not None:
                daemon.files.write(layout.ABANDON, why)
            daemon.files.write(layout.STORE_OUTCOME, "")
            daemon.publish()
        found, why = _outcome(daemon.files)
        if self.seed.key and found != SEEDED:
            self.source.progress(f"images are loaded without the warm store ({why})")
        with daemon.client() as client:
            images = LoadedImages(client, daemon.files)
            images.bring(self.source, self.names)
            renamed = images.name_by_digest(self.names)
        if renamed:
            daemon.restart()
        if any(map(digests.is_by_digest, self.names)):
            with daemon.client() as client:
                LoadedImages(client, daemon.files).tell(self.names, self.source.progress)

    def _demand(self, snapshot: Snapshot, files: Files) -> None:
        """Check that a daemon has started from its snapshot.

        Raises:
            SnapshotFailed: it is another, empty one.
        """
        found, why = _outcome(files) if self.seed.key else ("", "the daemon's image has no shell")
        if found == SEEDED:
            return
        # What the copy has failed on is in the daemon's log, before its own lines.
        log = files.read(layout.LOG) or "" if found == FAILED else ""
        said = "\n".join(log.partition("time=")[0].splitlines()[-_SAID_LINES:])
        from ..causes import explained

        raise explained(
            SnapshotFailed(
                f"A daemon can't start from the snapshot {snapshot.name!r}.",
                evidence=f"{snapshot.key}: {why}.\n{said}",
                remedy=[
                    "Take the snapshot anew.",
                    "See what the store has, and its limit: pytest-dind cache ls, "
                    "--dind-cache-size.",
                ],
            )
        )

    def _fill(self, daemon: ReadyDaemon) -> str | None:
        """Load the images, and no others, into the daemon that a golden root is made of.

        Returns:
            None when they are in it; else why it can't be a golden root, empty if that may change.
        """
        with daemon.client() as client:
            driver = client.info()["Driver"]
            if driver not in _DRIVERS:
                return f"storage driver {driver}"
            self.source.progress("making a warm data-root of the images, once")
            images = LoadedImages(client, daemon.files)
            # It may have started with an earlier golden root, of other images.
            before, made_of = images.ids(), dict[str, str]()
            try:
                images.bring(self.source, self.names)
                if self.extra is not None:
                    self.extra.make(client, self.source)
                    made_of = dict(_ids(self.source, self.extra.images))
            except ImageUnavailable:
                # No room, as a rule; the data-root outside of the store may have some.
                return ""
            images.drop(before, self.names)
            images.note(made_of)
            images.name_by_digest(self.names, set(before) - set(self.names))
        return None


def preload(
    settings: Settings,
    mode: str,
    image: str,
    source: ImageSource,
    origin: Origin | None = None,
) -> Preload:
    """The images that a daemon of these settings has from its start.

    Args:
        settings: The settings.
        mode: The mode in force.
        image: The id of the daemon's image.
        source: The outer engine, which has the images afterwards.
        origin: What the daemon is to start from; None for an empty one.

    Raises:
        ImageUnavailable: an image is missing on the outer engine and can't be pulled.
        SnapshotFailed: the snapshot is of another daemon than these settings tell of.
    """
    extra = origin if isinstance(origin, Extra) else None
    if origin is not None and not isinstance(origin, Extra):
        demand_store(settings)
        origin.demand_same(mode, image, settings)
        seed = Seed(origin.key, limit=kibibytes(settings.cache_size))
        return Preload(settings.load, source, seed, origin)
    ids = _ids(source, settings.load)
    if not ids or settings.cache == "off":
        return Preload(settings.load, source)
    # A root without anything more is not made of one that has it, which would stay in there.
    names, more = ([extra.name], [_ids(source, extra.images)]) if extra is not None else ([], [])
    key = f"{fits(mode, image, settings, *names)}-{digest([*ids, *more])}"
    seed = Seed(key, settings.cache == "refresh", kibibytes(settings.cache_size))
    return Preload(settings.load, source, seed, extra=extra)


def _ids(source: ImageSource, names: Sequence[str]) -> list[tuple[str, str]]:
    """These images with their ids on the outer engine, which pulls those that are missing."""
    return sorted((name, str(source.ensure(name)["Id"])) for name in names)


def demand_store(settings: Settings) -> None:
    """Check that snapshots can be had.

    Raises:
        SettingsError: the warm store is turned off.
    """
    if settings.cache == "off":
        raise SettingsError(
            "Snapshots can't be had with --dind-cache=off.",
            evidence="They are kept in the warm store.",
            remedy=["Leave the store on: --dind-cache=on."],
        )


def fits(mode: str, image: str, settings: Settings, *extra: str) -> str:
    """A digest of the daemons that can have the same golden roots.

    Args:
        mode: Their mode.
        image: The id of their image, which settles the engine's version.
        settings: Their settings.
        extra: The names of what the roots have besides images.
    """
    # The image and the arguments settle the storage driver, too.
    return digest([_LAYOUT, mode, image, settings.arg, *extra])


def digest(value: object) -> str:
    """A digest of what JSON can have, short enough for a name."""
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:12]


def kibibytes(size: str) -> int:
    """A size as `--dind-cache-size` has it (`500m`, `10g`), in KiB."""
    return int(float(size[:-1]) * _UNITS[size[-1].lower()])


def outcome(files: Files) -> str:
    """The part that the store has in a daemon: a constant of this module; empty while unknown."""
    return _outcome(files)[0]


def is_seeded(files: Files) -> bool:
    """Whether a daemon has started with its golden root."""
    return outcome(files) == SEEDED


def _outcome(files: Files) -> tuple[str, str]:
    """The outcome, and the reason."""
    word, _, reason = (files.read(layout.STORE_OUTCOME) or "").strip().partition(" ")
    return word, reason or _WHY.get(word, _WHY[FAILED])
