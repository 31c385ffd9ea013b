"""What nodes begin with: their images as containerd keeps them, made once, in the warm store.

Each node has databases of its own, and links to the layers and contents of images, which it never
changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..engine import archives, steps
from ..lifetime.layout import DATA_ROOT
from . import boxes
from .adapters.adapter import Adapter

if TYPE_CHECKING:
    import docker

    from ..engine.images import ImageSource

NAME = "kubernetes"
DIRECTORY = f"{DATA_ROOT}/containerd/{NAME}"
"""Where it is in the daemon's container: where `store.sh` looks for what daemons share."""


@dataclass(frozen=True)
class Base:
    """What the nodes of a cluster begin with, for the daemon's golden root.

    Attributes:
        image: The nodes' image.
        adapter: What is to be known of that.
        images: The names of the images that nodes are to have.
    """

    image: str
    adapter: Adapter
    images: tuple[str, ...]
    name: str = NAME

    @classmethod
    def of(cls, image: str, adapter: Adapter, images: Sequence[str]) -> Base | None:
        """What nodes are to begin with; None where there is nothing, or they can't."""
        can = bool(images) and adapter.importer(DIRECTORY) is not None
        return cls(image, adapter, tuple(images)) if can else None

    def make(self, daemon: docker.DockerClient, source: ImageSource) -> None:
        """Make it, in a daemon that has the nodes' image.

        Raises:
            ImageUnavailable: the images can't be had, or no node takes them.
        """
        from docker.errors import APIError
        from requests.exceptions import RequestException

        what = f"The images {', '.join(self.images)}"
        doing = f"loading the images {', '.join(self.images)} for nodes"
        spec = self.adapter.importer(DIRECTORY)
        assert spec is not None
        found = {name: source.ensure(name) for name in self.images}
        try:
            with (
                steps.Step(source.progress, doing, silent=True) as step,
                source.archive(found) as (archive, size),
            ):
                chunks = archives.counted(archive, step, size)
                code, said = boxes.feed(daemon, self.image, spec, chunks)
        except (APIError, RequestException) as error:
            raise archives.refused(what, str(error)) from error
        if code:
            raise archives.refused(what, said)
