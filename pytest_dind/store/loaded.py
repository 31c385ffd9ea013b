"""The images that a daemon has from the outer engine, as noted in the daemon's home."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..engine import digests
from ..lifetime import layout
from ..lifetime.files import Files

if TYPE_CHECKING:
    import docker

    from ..engine.images import ImageSource


@dataclass(frozen=True)
class LoadedImages:
    """The images that came from the outer engine.

    The note has the ids that they have there: the same image has other ids in other kinds of image
    store.

    Attributes:
        daemon: A client on the daemon.
        files: The daemon's files.
    """

    daemon: docker.DockerClient
    files: Files

    def bring(self, source: ImageSource, names: Sequence[str]) -> None:
        """Load the images that the daemon lacks, or has in another state than the outer engine.

        Raises:
            ImageUnavailable: one is missing on the outer engine and cannot be pulled.
        """
        noted = self._noted()
        wanted = {name: str(source.ensure(name)["Id"]) for name in names}
        lacking = [
            name for name, id_ in wanted.items() if noted.get(name) != id_ or not self._id(name)
        ]
        source.load(self.daemon, lacking)
        self._note(noted | wanted)
        for name, id_ in self._nameless(lacking).items():
            digests.tag(self.daemon, name, id_)

    def name_by_digest(self, names: Sequence[str], dropped: Iterable[str] = ()) -> bool:
        """Write the names by digest that the daemon lacks, for its next start.

        Args:
            names: The images that are wanted.
            dropped: The names that it is not to have any more.

        Returns:
            Whether there are any that it can have: of images that have the same id as on the outer
            engine.
        """
        lacking = self._nameless(names)
        if lacking:
            text = digests.references(self.daemon, lacking, dropped)
            self.files.write(layout.REFERENCES, text)
        return bool(lacking)

    def _nameless(self, names: Sequence[str]) -> dict[str, str]:
        """The images that are in the daemon, but not by their names by digest; with their ids."""
        noted = self._noted()
        return {
            name: noted[name]
            for name in names
            if digests.is_by_digest(name) and not self._id(name) and self._id(noted[name])
        }

    def ids(self) -> dict[str, str]:
        """The names of the images, each with the id that it has in the daemon."""
        found = {name: self._id(name) for name in self._noted()}
        return {name: id_ for name, id_ in found.items() if id_}

    def drop(self, before: Mapping[str, str], names: Sequence[str]) -> None:
        """Remove earlier images that are not wanted, or were replaced.

        Args:
            before: The ids of the images before the present ones were brought.
            names: The images that are wanted.
        """
        from docker.errors import APIError

        # With its last name an image would go; these lose their names by `name_by_digest`.
        nameless = self._nameless(names).values()
        for name, id_ in before.items():
            if id_ in nameless or (name in names and self._id(name) == id_):
                continue
            # A conflict: it has another name that is wanted.
            with contextlib.suppress(APIError):
                self.daemon.images.remove(id_ if name in names else name)
        self._note({name: id_ for name, id_ in self._noted().items() if name in names})

    def _id(self, name: str) -> str:
        """The id that an image has in the daemon; empty when it is not there."""
        from docker.errors import ImageNotFound

        api: Any = self.daemon.api
        try:
            return str(api.inspect_image(name)["Id"])
        except ImageNotFound:
            return ""

    def _noted(self) -> dict[str, str]:
        pairs = (
            line.partition(" ") for line in (self.files.read(layout.IMAGES) or "").splitlines()
        )
        return {name: id_ for id_, _, name in pairs}

    def _note(self, images: Mapping[str, str]) -> None:
        text = "".join(f"{id_} {name}\n" for name, id_ in images.items())
        self.files.write(layout.IMAGES, text)
