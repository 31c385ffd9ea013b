"""The handlers of calls about images: the host's images can be used, and keep their names."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Container, Iterable, Mapping
from typing import Any

from ...allowances import BUILDKIT
from ...engine.streams import failure
from ..http.refusal import forbidden, malformed, missing
from ..http.reply import Reply
from ..objects.run_labels import IMAGE, read_filters
from ..rules.names import full, has_tag
from .base import NOT_SEEN, Handlers
from .builds import label_changes
from .exchange import Exchange

_NO_NAME = "<none>:<none>"
_BUILDKIT_IMAGE = "moby/buildkit"
_LOADED = "Loaded image: "
_LOADED_ID = "Loaded image ID: "


class ImageHandlers(Handlers):
    """The handlers of calls about images."""

    async def pull_or_import(self, exchange: Exchange) -> None:
        """Pull an image that the host lacks, or import one with labels."""
        source = exchange.match.value("fromImage")
        if bool(source) == bool(exchange.match.value("fromSrc")):
            raise malformed("a pull and an import at once, or neither")
        if source:
            return await self._pull(exchange, source)
        if exchange.match.value("repo"):
            name = full(exchange.match.value("repo"), exchange.match.value("tag"))
            await self._images.demand_free(name)
        label_changes(exchange, self._labels)
        return await exchange.forward(exchange.request.path)

    async def _pull(self, exchange: Exchange, source: str) -> None:
        if exchange.request.length != 0:
            raise malformed("a pull takes no body")
        tag = exchange.match.value("tag")
        if not tag and not has_tag(source):
            self._policy.demand("pull", f"a pull of all tags of {source}")
            return await exchange.forward(exchange.request.path)
        name = full(source, tag)
        if name.rpartition(":")[0] == _BUILDKIT_IMAGE and not self._policy.allows("privileged"):
            # buildx falls back to a container of its own, and tells of what comes after this alone.
            self._policy.demand(BUILDKIT, f"a pull of {name}, for buildx: {NOT_SEEN}")
        before = await self._images.inspect(name)
        if before is not None and not self._images.owns(before) and not self._policy.allows("pull"):
            # A pull would move the name to whatever the registry has under it now.
            return await self._up_to_date(exchange, name)
        known = await self._images.ids()

        async def watched(line: bytes) -> AsyncIterator[bytes]:
            yield line
            if not line:
                await self._learn([name], known, () if before is None else (name,))

        return await exchange.forward(exchange.request.path, lines=watched)

    async def _learn(
        self, brought: Iterable[str], known: Container[str], names: Container[str]
    ) -> None:
        """Record which of these images, or of their names, were not there before."""
        for name in brought:
            found = await self._images.inspect(name)
            if found is not None and found["Id"] not in known:
                self._images.learn(found["Id"])
            elif found is not None and name not in names:
                self._images.named(name, found["Id"])

    async def _up_to_date(self, exchange: Exchange, name: str) -> None:
        """Answer that an image is up to date, in the engine's words, which clients look for."""
        said = f"pytest-dind guard: {name} is the host's, and is taken as it is"
        lines = [{"status": said}, {"status": f"Status: Image is up to date for {name}"}]
        await exchange.answer_lines(lines)

    async def load(self, exchange: Exchange) -> None:
        """Load images of an archive; the host's images get back the names that the load takes."""
        if not self._policy.own:
            return await exchange.forward(exchange.request.path)
        async with self._images.changing:
            known, names = await self._images.ids(), await self._images.tags()
            began = time.time()
            loaded: list[str] = []
            told, ended = True, False

            async def watched(line: bytes) -> AsyncIterator[bytes]:
                nonlocal told, ended
                yield line
                if line:
                    event = json.loads(line)
                    loaded.extend(_loaded(event))
                    told = told and not failure(event)
                    return
                await self._learn(loaded, known, names)
                # A load that fails, or of an archive of an old format, moves names without a word.
                moved = set(loaded) if told and loaded else names.keys()
                ended = True
                for name in await self._images.put_back(names, moved, known, began):
                    error = (
                        f"pytest-dind guard: the image {name} was loaded, but the name is the "
                        "host's and stays with its image; load it under another name"
                    )
                    said = {"errorDetail": {"message": error}, "error": error}
                    yield json.dumps(said).encode() + b"\r\n"

            try:
                await exchange.forward(exchange.request.path, lines=watched)
            finally:
                if not ended:
                    # The guard ends, or the engine does.
                    await self._images.put_back(names, names.keys(), known, began)

    async def push(self, exchange: Exchange) -> None:
        """Push a name that the run gave: the host's images must not leave the host.

        Older engines want the login in the body, or an empty object there, if no header has it.
        """
        login = await exchange.json() if exchange.request.length else None
        given, tag = exchange.match.name, exchange.match.value("tag")
        name = full(given, tag)
        await self._images.learn_unseen()
        pushed = [name]
        if not tag and not has_tag(given):
            # All that the repository has.
            repository = name.rpartition(":")[0]
            pushed = [
                tagged
                for tagged in await self._images.tags()
                if tagged.rpartition(":")[0] == repository
            ]
        for tagged in pushed if self._policy.own else []:
            found = await self._images.inspect(tagged)
            if found and not self._images.owns(found) and not self._images.gave(tagged, found):
                raise forbidden(f"pushing the image {tagged}, which this run did not name,")
        await exchange.forward(exchange.request.path, login)

    async def tag(self, exchange: Exchange) -> None:
        """Give an image a further name."""
        source = exchange.match.name
        name = full(exchange.match.value("repo"), exchange.match.value("tag"))
        found = await self._images.inspect(source)
        if not self._policy.own:
            await self._record_new(name, found)
            return await exchange.forward(exchange.request.path)
        if found is None:
            raise missing("image", source)
        if name in (found["RepoTags"] or []):
            # Not passed on: the host may own the name, and move it to another image just now.
            return await exchange.reply(Reply(201, b"application/json", b""))
        await self._images.demand_free(name)
        if self._images.goes(found):
            return await exchange.forward(_tag_path(found["Id"]))
        if not found["RepoTags"]:
            # Engines remove an image with its last name, so this one could not be taken back.
            raise forbidden(f"a name for {source}, an image that has none and stays,")
        self._images.record(name, found["Id"])
        return await exchange.forward(_tag_path(found["Id"]))

    async def _record_new(self, name: str, image: dict[str, Any] | None) -> None:
        """Record a name that is given to an image which stays, unless an image has it before.

        Where the guard only labels, such a name may be the host's, and be moved.
        """
        if image is not None and image["RepoTags"] and not self._images.goes(image):
            there = await self._images.inspect(name)
            if there is None or self._images.gave(name, there):
                self._images.record(name, image["Id"])

    async def remove_image(self, exchange: Exchange) -> None:
        """Remove an image that the run made, or a name that it gave."""
        resolved = await self._images.removable(exchange.match.name)
        if self._policy.own:
            # Parents without a name may be the host's build cache.
            exchange.match.query["noprune"] = ["1"]
        parents = await self._images.parents(resolved)
        reply = await exchange.call(f"/images/{resolved}")
        if reply.ok:
            await self._forget(reply.json(), parents)
        await exchange.reply(reply)

    async def _forget(self, removed: Iterable[dict[str, str]], parents: Iterable[str]) -> None:
        """Record removed images, and remove the step images that they were built of."""
        gone = [item["Deleted"] for item in removed if "Deleted" in item]
        for image in gone:
            self._images.forget(image)
        if gone and self._policy.own:
            await self._images.remove_unused(parents)

    async def prune_images(self, exchange: Exchange) -> None:
        """Prune images with the run's labels that no container uses, one by one."""
        if not self._policy.own:
            return await exchange.forward(exchange.request.path)
        given = read_filters(exchange.match.value("filters"))
        # Unlike a prune, a list takes "dangling" with any of these values.
        all_of_them = {"false", "0"} & set(given.pop("dangling", {"true": True}))
        if not all_of_them:
            given["dangling"] = {"true": True}
        query = {"filters": [self._labels.filters(IMAGE, json.dumps(given))]}
        listed = await self._engine.call("GET", "/images/json", query)
        if not listed.ok:
            return await exchange.reply(listed)
        deleted, space = [], 0
        for image in listed.json():
            if not self._labels.owns(IMAGE, image["Labels"]):
                continue
            parents = await self._images.parents(image["Id"])
            names = [name for name in image["RepoTags"] or [] if name != _NO_NAME]
            for name in names or [image["Id"]]:
                gone = await self._engine.call("DELETE", f"/images/{name}", {"noprune": ["1"]})
                if gone.ok:
                    deleted += gone.json()
                    await self._forget(gone.json(), parents)
            if any(item.get("Deleted") == image["Id"] for item in deleted):
                space += image["Size"]
        return await exchange.answer_pruned(
            {"ImagesDeleted": deleted or None, "SpaceReclaimed": space}
        )


def _tag_path(image: str) -> str:
    return f"/images/{image}/tag"


def _loaded(event: Mapping[str, Any]) -> list[str]:
    """The name or id of the loaded image in an event of a load's answer, if any."""
    said = event.get("stream") or ""
    for prefix in (_LOADED, _LOADED_ID):
        if said.startswith(prefix):
            return [said.removeprefix(prefix).strip()]
    return []
