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

from . import images, labels
from .files import Files

if TYPE_CHECKING:
    import docker

    from .engine import Engine
    from .settings import Settings

VOLUME = "pytest-dind-cache"
PATH = "/run/pytest-dind-store"
"""Where the volume is in a daemon's container."""

_OUTCOME = "store"
SEEDED = "seeded"
COLD = "cold"
PRELOADED = "preloaded"
FAILED = "failed"
_WHY = {
    PRELOADED: "the daemon's image has nested images of its own",
    FAILED: "it could not be written or mounted; the daemon's log says why",
}
_DRIVERS = ("overlay2", "overlayfs")
_UNITS = {"k": 1, "m": 1024, "g": 1024**2, "t": 1024**3}


class New(Protocol):
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


def ticket(settings: Settings, mode: str, image: str, engine: Engine, say: images.Say) -> Ticket:
    """The ticket for a daemon of these settings; an empty one where it gets no golden root.

    Args:
        settings: The settings.
        mode: The mode in force.
        image: The id of the daemon's image.
        engine: The outer engine, which has the images.
        say: Where a line on what takes long goes.

    Raises:
        ImageUnavailable: an image is missing outside and can't be pulled.
    """
    if not settings.load or settings.cache == "off":
        return Ticket()
    ids = sorted((name, images.ensure(engine.client, name, say)["Id"]) for name in settings.load)
    fits = _digest([mode, image, settings.arg])
    return Ticket(
        f"{fits}-{_digest(ids)}", settings.cache == "refresh", kibibytes(settings.cache_size)
    )


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:12]


def kibibytes(size: str) -> int:
    """A size as `--dind-cache-size` has it (`500m`, `10g`), in KiB."""
    return int(float(size[:-1]) * _UNITS[size[-1].lower()])


def outcome(files: Files) -> str:
    """What became of the golden root: seeded, cold, preloaded or failed; empty while unknown."""
    return (files.read(_OUTCOME) or "").strip()


def provide(ticket: Ticket, settings: Settings, engine: Engine, new: New, say: images.Say) -> None:
    """Have the images in a daemon that is ready; make a golden root of them where there is none.

    Args:
        ticket: The ticket it was started with.
        settings: Its settings.
        engine: The outer engine.
        new: The daemon, of which a new one can be made in the same container.
        say: Where a line on what takes long goes.
    """

    def bring(client: docker.DockerClient) -> None:
        images.bring(engine.client, client, settings.load, new.files, say)

    if not settings.load:
        return
    with new.client() as client:
        bring(client)
        if not ticket.key or outcome(new.files) == SEEDED:
            return
        driver = client.info()["Driver"]
        if outcome(new.files) != COLD or driver not in _DRIVERS:
            why = _WHY.get(outcome(new.files), f"storage driver {driver}")
            say(f"images are loaded without the warm store ({why})")
            return
        # Images that a new id took the place of, in a root made from an earlier one.
        client.images.prune()
    _announce(new.files, engine)
    say("making a warm data-root of the images, once")
    new.files.write(_OUTCOME, "")
    new.publish()
    if outcome(new.files) != SEEDED:
        say(f"images are loaded without the warm store ({_WHY[FAILED]})")
        with new.client() as client:
            bring(client)


def _announce(files: Files, engine: Engine) -> None:
    """Tell the container what must not be evicted."""
    ours = engine.client.api.containers(all=True, filters={"label": labels.RUN})
    used = [item["Names"][0].lstrip("/") for item in ours]
    used += [item["Labels"][labels.CACHE] for item in ours if item["Labels"].get(labels.CACHE)]
    files.write("in-use", "\n".join(used) + "\n")
