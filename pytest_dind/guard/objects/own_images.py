"""The images, and the names of images, that are the run's own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Container, Iterable, Mapping, Set
from http import HTTPStatus
from typing import Any

from ..http.refusal import Refusal, kept, missing
from ..http.upstream import Upstream
from ..rules.names import full
from ..rules.policy import Policy
from . import journal
from .journal import Journal
from .run_labels import IMAGE, RunLabels, created


class OwnImages:
    """The record of the images and names of images that the run has made.

    An image that was built, committed or imported carries the run's labels. One that was pulled or
    loaded can't, and neither can a name, so these are recorded here, and in the journal for a guard
    that is restarted.

    Args:
        engine: The outer engine.
        labels: The run's labels.
        policy: The rules.
        written: The journal, with the records of earlier guards of the home.
    """

    def __init__(
        self, engine: Upstream, labels: RunLabels, policy: Policy, written: Journal
    ) -> None:
        self._engine = engine
        self._labels = labels
        self._policy = policy
        self._journal = written
        self._since = written.begin()
        self._names: dict[str, str] = {}
        self._ids: set[str] = set()
        for kind, image, name in written.read():
            if kind in (journal.GAVE, journal.BROUGHT):
                self._names[name] = image
            elif kind == journal.IMAGE:
                self._ids.add(image)
            elif kind == journal.GONE:
                self._ids.discard(image)
        self.changing = asyncio.Lock()
        """Held from a look at the host's names until what could move them is done."""
        self._unseen = 0
        self._before: set[str] = set()

    @contextlib.asynccontextmanager
    async def unseen(self) -> AsyncIterator[None]:
        """Record the images that come while the context lasts, in which the guard sees nothing."""
        if not self._policy.own:
            yield
            return
        if not self._unseen:
            self._before = await self.ids()
        self._unseen += 1
        try:
            yield
        finally:
            # The client is gone, but the engine answers.
            await asyncio.shield(self._end_unseen())

    async def _end_unseen(self) -> None:
        try:
            await self.learn_unseen()
        finally:
            self._unseen -= 1

    async def learn_unseen(self) -> None:
        """Record what has come by now: its builder may name it before the end is noticed."""
        if self._unseen:
            for image in await self.ids() - self._before:
                self.learn(image)
                self._before.add(image)

    async def inspect(self, name: str) -> dict[str, Any] | None:
        """Ask the engine for an image's details; None if it does not exist.

        Raises:
            Refusal: the engine fails, which does not tell whether the image exists.
        """
        reply = await self._engine.call("GET", f"/images/{name}/json")
        if not reply.ok and reply.status != HTTPStatus.NOT_FOUND:
            raise Refusal(reply.status, str(reply.json()["message"]))
        return dict(reply.json()) if reply.ok else None

    def owns(self, image: dict[str, Any]) -> bool:
        """Whether an image is the run's own, by the engine's details."""
        return str(image["Id"]) in self._ids or self.goes(image)

    def goes(self, image: dict[str, Any]) -> bool:
        """Whether an image is removed at the end of the run, with all of its names."""
        return self._labels.owns(IMAGE, (image.get("Config") or {}).get("Labels"))

    def gave(self, name: str, image: dict[str, Any]) -> bool:
        """Whether the run gave a full name to an image that stays, and the image still has it."""
        return self._names.get(name) == str(image["Id"])

    def learn(self, image_id: str) -> None:
        """Record an image that the run pulled or loaded."""
        self._journal.write(journal.IMAGE, image_id)
        self._ids.add(image_id)

    def forget(self, image_id: str) -> None:
        """Record that an image was removed: if it comes again, it is no longer the run's."""
        if image_id in self._ids:
            self._journal.write(journal.GONE, image_id)
            self._ids.discard(image_id)

    def named(self, name: str, image_id: str) -> None:
        """Record the name under which the run pulled an image that was there before."""
        self._journal.write(journal.BROUGHT, image_id, name)
        self._names[name] = image_id

    def record(self, name: str, image_id: str) -> None:
        """Record a name given to an image that stays; the name is removed in the end."""
        self._journal.write(journal.GAVE, image_id, name)
        self._names[name] = image_id

    async def demand_free(self, name: str) -> None:
        """Check that a name may be given to an image: the engine takes it from another that has it.

        Raises:
            Refusal: an image of the host has the name.
        """
        await self.learn_unseen()
        found = await self.inspect(name) if self._policy.own else None
        if found is not None and not (self.owns(found) or self.gave(name, found)):
            raise Refusal(
                409,
                f"pytest-dind guard: the image {name} is the host's, and the name would be taken "
                "from it; take another name",
            )

    async def removable(self, name: str) -> str:
        """Find what to remove for a client that names an image: a full name, or an id.

        Raises:
            Refusal: the image does not exist, or is not the run's own.
        """
        await self.learn_unseen()
        found = await self.inspect(name)
        if found is None:
            raise missing("image", name)
        if not self._policy.own:
            return name
        tag = full(name)
        names = [*(found["RepoTags"] or []), *(found["RepoDigests"] or [])]
        if tag in names:
            # As long as it has another name, the image itself stays.
            if self.owns(found) or (self.gave(tag, found) and len(found["RepoTags"]) > 1):
                return tag
        elif self.owns(found):
            return str(found["Id"])
        raise kept(f"removing the image {name}, which this run did not make,")

    async def parents(self, name: str) -> list[str]:
        """List the step images that the run made below an image which is to be removed.

        The older builder makes one for each step, without labels. Older ones are the host's.
        """
        found: list[str] = []
        details = await self.inspect(name)
        while details and details.get("Parent"):
            details = await self.inspect(details["Parent"])
            if details is None or details["RepoTags"] or created(details) < self._since:
                break
            found.append(details["Id"])
        return found

    async def remove_unused(self, images: Iterable[str]) -> None:
        """Remove images one by one, up to the first that another image is based on."""
        for image in images:
            gone = await self._engine.call("DELETE", f"/images/{image}", {"noprune": ["1"]})
            if not gone.ok:
                return

    async def tags(self) -> dict[str, str]:
        """All names on the engine, and the ids of their images."""
        found = (await self._engine.call("GET", "/images/json")).json()
        return {tag: image["Id"] for image in found for tag in image["RepoTags"] or []}

    async def ids(self) -> set[str]:
        """All images on the engine, those without a name too."""
        found = (await self._engine.call("GET", "/images/json", {"all": ["1"]})).json()
        return {str(image["Id"]) for image in found}

    async def put_back(
        self, before: Mapping[str, str], names: Set[str], known: Container[str], since: float
    ) -> list[str]:
        """Give the host's images back the names that a load took from them.

        Args:
            before: The names on the engine before the load, and the ids of their images.
            names: Those that the load may have taken.
            known: The images that were there before; one that was not, and has no name now, goes.
            since: When the load began: a younger image is not of an archive, but of somebody's
                build that ended meanwhile, and keeps its name.

        Returns:
            The names that were moved.
        """
        after = await self.tags()
        moved = []
        for name in sorted(names & before.keys()):
            had = before[name]
            if after.get(name, had) == had:
                continue
            old = await self.inspect(had)
            if old is None or self.owns(old) or self._names.get(name) == had:
                continue
            new = await self.inspect(after[name])
            if new is not None and created(new) >= since:
                continue
            repository, _, tag = name.rpartition(":")
            query = {"repo": [repository], "tag": [tag]}
            await self._engine.call("POST", f"/images/{had}/tag", query)
            moved.append(name)
            if after[name] not in known:
                await self._remove_nameless(after[name])
        return moved

    async def _remove_nameless(self, image_id: str) -> None:
        found = await self.inspect(image_id)
        if found is not None and not found["RepoTags"]:
            self.forget(image_id)
            await self.remove_unused([image_id])
