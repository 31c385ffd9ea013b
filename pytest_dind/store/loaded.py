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

    from ..engine import streams
    from ..engine.images import ImageSource


@dataclass(frozen=True)
class _Noted:
    """What is noted of an image: its id on the outer engine; the daemon's, if named by digest."""

    outer: str
    here: str = ""


@dataclass(frozen=True)
class LoadedImages:
    """The images that came from the outer engine.

    The note has the ids that they have there, and of those that are named by their digest the ids
    in the daemon, too: the same image has other ids in other kinds of image store.

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
        lacking = []
        for name in names:
            before = noted.get(name)
            outer = str(source.ensure(name)["Id"])
            if before is None or before.outer != outer or not self._id(name):
                lacking.append(name)
                noted[name] = _Noted(outer)
        _, ids = digests.load(source, self.daemon, lacking)
        self._note(noted | {name: _Noted(noted[name].outer, id_) for name, id_ in ids.items()})
        for name, id_ in self._nameless(lacking).items():
            digests.tag(self.daemon, name, id_)

    def name_by_digest(self, names: Sequence[str], dropped: Iterable[str] = ()) -> bool:
        """Write the names by digest that the daemon lacks, for its next start.

        Args:
            names: The images that are wanted.
            dropped: The names that it is not to have any more.

        Returns:
            Whether there are any that it can have: those of images that are there.
        """
        lacking = self._nameless(names)
        if lacking:
            text = digests.references(self.daemon, lacking, dropped)
            self.files.write(layout.REFERENCES, text)
        return bool(lacking)

    def tell(self, names: Sequence[str], progress: streams.Progress) -> None:
        """Tell of the images that the daemon has, but not by their names by digest, and why."""
        nameless = self._nameless(names)
        if nameless:
            why = f"its storage driver keeps no such names ({self.daemon.info()['Driver']})"
            digests.tell(self.daemon, nameless, progress, why)

    def _nameless(self, names: Sequence[str]) -> dict[str, str]:
        """The images that are in the daemon, but not by their names by digest; with their ids."""
        found = {name: one.here for name, one in self._noted().items() if name in names}
        return {
            name: id_ for name, id_ in found.items() if id_ and not self._id(name) and self._id(id_)
        }

    def ids(self) -> dict[str, str]:
        """The names of the images, each with the id that it has in the daemon."""
        found = {name: self._id(name) for name in self._noted()}
        return {name: id_ for name, id_ in found.items() if id_}

    def note(self, images: Mapping[str, str]) -> None:
        """Note further images, which the daemon has for its containers alone.

        Args:
            images: Their names, each with the id that it has on the outer engine.
        """
        if images:
            self._note({name: _Noted(id_) for name, id_ in images.items()} | self._noted())

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

    def _noted(self) -> dict[str, _Noted]:
        lines = (line.split(" ") for line in (self.files.read(layout.IMAGES) or "").splitlines())
        return {name: _Noted(outer, *here) for outer, name, *here in lines}

    def _note(self, images: Mapping[str, _Noted]) -> None:
        text = "".join(
            " ".join(filter(None, (one.outer, name, one.here))) + "\n"
            for name, one in images.items()
        )
        self.files.write(layout.IMAGES, text)
