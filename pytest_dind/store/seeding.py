"""The warm store: daemons that start with their images in them, at the cost of an empty one.

What happens on the store's volume is in `backends/store.sh`, run in the daemons' containers; this
is the side of the test process: which golden root a daemon gets, and when one is made.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from ..engine import images
from ..errors import ImageUnavailable
from ..lifetime.files import Files

if TYPE_CHECKING:
    import docker

    from ..settings import Settings

VOLUME = "pytest-dind-cache"
PATH = "/var/lib/pytest-dind-store"
"""Where the volume is in a daemon's container.

Not below /run, all of which the official image's entrypoint searches for files to delete."""

_OUTCOME = "store"
SEEDED = "seeded"
COLD = "cold"
PRELOADED = "preloaded"
FAILED = "failed"
UNFIT = "unfit"
"""With the reason after it: no golden root can be made for this key."""
_WHY = {
    PRELOADED: "the daemon's image has nested images of its own",
    FAILED: "it could not be written or mounted",
}
_ABANDON = "abandon"
"""In a daemon's home: tells its first process to go on without the store, and why for good."""
_DRIVERS = ("overlay2", "overlayfs")
_UNITS = {"k": 1, "m": 1024, "g": 1024**2, "t": 1024**3}
# Raised when golden roots are made in another way: those of other versions are not used.
_LAYOUT = 3


class StartingDaemon(Protocol):
    """A daemon that is ready.

    Attributes:
        files: Its files.
    """

    files: Files

    def client(self) -> AbstractContextManager[docker.DockerClient]:
        """A client on it."""

    def publish(self) -> None:
        """Have a golden root made of it, and a new daemon with that root in its place."""


@dataclass(frozen=True)
class Ticket:
    """Which golden root a daemon is to have.

    Attributes:
        key: Its key: what daemons it fits, and the images in it.
        refresh: Whether it is to be made anew.
        limit: Of the store, in KiB.
    """

    key: str = ""
    refresh: bool = False
    limit: int = 0

    def arguments(self) -> list[str]:
        """As supervise.sh takes them."""
        return [self.key, "yes" if self.refresh else "no", str(self.limit)]


def ticket(settings: Settings, mode: str, image: str, supply: images.Supply) -> Ticket:
    """The ticket for a daemon of these settings; an empty one where it gets no golden root.

    Args:
        settings: The settings.
        mode: The mode in force.
        image: The id of the daemon's image.
        supply: The images, all of which the outer engine has afterwards.

    Raises:
        ImageUnavailable: an image is missing outside and can't be pulled.
    """
    ids = sorted((name, supply.ensure(name)["Id"]) for name in settings.load)
    if not ids or settings.cache == "off":
        return Ticket()
    # The image and the arguments settle the storage driver, too.
    fits = _digest([_LAYOUT, mode, image, settings.arg])
    return Ticket(
        f"{fits}-{_digest(ids)}", settings.cache == "refresh", kibibytes(settings.cache_size)
    )


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:12]


def kibibytes(size: str) -> int:
    """A size as `--dind-cache-size` has it (`500m`, `10g`), in KiB."""
    return int(float(size[:-1]) * _UNITS[size[-1].lower()])


def outcome(files: Files) -> str:
    """What became of the golden root: one of this module's constants; empty while unknown."""
    return _outcome(files)[0]


def _outcome(files: Files) -> tuple[str, str]:
    """The outcome, and the reason."""
    word, _, reason = (files.read(_OUTCOME) or "").strip().partition(" ")
    return word, reason or _WHY.get(word, _WHY[FAILED])


def provide(ticket: Ticket, settings: Settings, supply: images.Supply, new: StartingDaemon) -> None:
    """Have the images in a daemon that is ready; make a golden root of them where there is none.

    Args:
        ticket: The ticket it was started with.
        settings: Its settings.
        supply: The images.
        new: The daemon, of which a new one can be made in the same container.

    Raises:
        ImageUnavailable: an image cannot be had in the daemon.
    """
    if not settings.load:
        return
    if outcome(new.files) == COLD:
        why = _filled(settings, supply, new)
        if why is not None:
            new.files.write(_ABANDON, why)
        new.files.write(_OUTCOME, "")
        new.publish()
    found, why = _outcome(new.files)
    if ticket.key and found != SEEDED:
        supply.progress(f"images are loaded without the warm store ({why})")
    with new.client() as client:
        images.bring(supply, client, settings.load, new.files)


def _filled(settings: Settings, supply: images.Supply, new: StartingDaemon) -> str | None:
    """Load the images, and no others, into the daemon that a golden root is made of.

    Returns:
        None when they are in it; else why it can't be a golden root, empty when that may change.
    """
    with new.client() as client:
        driver = client.info()["Driver"]
        if driver not in _DRIVERS:
            return f"storage driver {driver}"
        supply.progress("making a warm data-root of the images, once")
        # An earlier golden root may have been its start, for other images.
        before = images.noted(new.files, client)
        try:
            images.bring(supply, client, settings.load, new.files)
        except ImageUnavailable:
            # No room, as a rule; the data-root outside of the store may have some.
            return ""
        images.drop(client, before, settings.load, new.files)
    return None
