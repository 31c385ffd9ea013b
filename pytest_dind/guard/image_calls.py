"""What is done with the calls about images: the host's are read, and keep their names."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable

from .body import fields, mapping, objects, parse_text
from .body import text as words
from .containers import Checks, joined
from .exchange import Exchange
from .images import Images
from .names import full, has_tag
from .ownership import Ownership
from .policy import Policy
from .references import References
from .refusal import Refusal, forbidden, malformed
from .stamp import IMAGE, Stamp, change, read_filters, with_labels
from .upstream import Engine

# What engines take for false; all else is true (moby, httputils.BoolValue).
_FALSE = ("", "0", "no", "false", "none")
_NO_NAME = "<none>:<none>"
_LOADED = "Loaded image: "
_LOADED_ID = "Loaded image ID: "


class ImageCalls:
    """The handlers that routes name, of images and builds."""

    def __init__(
        self, engine: Engine, ownership: Ownership, images: Images, stamp: Stamp, policy: Policy
    ) -> None:
        self._engine = engine
        self._ownership = ownership
        self._images = images
        self._stamp = stamp
        self._policy = policy
        self._checks = Checks(policy)
        self._references = References(engine, ownership, stamp, policy)
        self._builds: set[str] = set()

    async def build(self, exchange: Exchange) -> None:
        """A build, by the older builder or by BuildKit: both take labels."""
        query = exchange.match.query
        for name in query.get("t", []):
            await self._images.demand_free(full(name))
        if exchange.match.value("cgroupparent"):
            self._policy.demand("cgroup-parent", "a cgroup parent (cgroupparent)")
        option = exchange.match.value("securityopt")
        if option:
            self._policy.demand(f"security-opt:{option}", f"the security option {option}")
        pulls = exchange.match.value("pull").strip().lower() not in _FALSE
        # BuildKit leaves the host's names alone when it pulls.
        if pulls and exchange.match.value("version") != "2":
            self._policy.demand("pull", "a pull of base images that are there (pull)")
        self._demand_plain_output(exchange.match.value("outputs"))
        await self._network_mode(exchange)
        query["labels"] = [with_labels(exchange.match.value("labels"), self._stamp.labels(IMAGE))]
        # Containers of single steps, which carry no label of ours, are not left behind.
        query["rm"] = query["forcerm"] = ["1"]
        self._builds.add(exchange.match.value("buildid"))
        await exchange.forward(exchange.request.path)

    def _demand_plain_output(self, text: str) -> None:
        """See that what is built goes under the names of `t`, or to the client."""
        outputs = parse_text(text, "the parameter outputs") if text else None
        for output in objects("outputs", outputs):
            found = fields("outputs", output, {"Type": words, "Attrs": mapping}, self._unknown)
            if found.get("Attrs") and found.get("Type") not in ("local", "tar"):
                raise forbidden("an output of a build with attributes (outputs)")

    def _unknown(self, where: str, value: object) -> bool:
        return self._policy.unknown(where, value)

    async def _network_mode(self, exchange: Exchange) -> None:
        """The network of a build's steps: not the host's, and none of somebody else's."""
        mode = exchange.match.value("networkmode")
        if mode == "host":
            self._policy.demand("host-net", "the host's network namespace (networkmode)")
        elif joined(mode):
            found = await self._references.container_id(joined(mode))
            exchange.match.query["networkmode"] = [f"container:{found}"]
        elif mode not in ("", "default", "bridge", "none") and self._policy.own:
            network = await self._ownership.resolve("network", mode)
            exchange.match.query["networkmode"] = [network]

    async def prune_builds(self, exchange: Exchange) -> None:
        """The build cache is everybody's: none of it is known to be this run's, so none goes."""
        if not self._policy.own:
            return await exchange.forward(exchange.request.path)
        return await exchange.answer(200, {"CachesDeleted": None, "SpaceReclaimed": 0})

    async def cancel_build(self, exchange: Exchange) -> None:
        """A build of the run's own."""
        if self._policy.own and exchange.match.value("id") not in self._builds - {""}:
            raise Refusal(404, f"No such build: {exchange.match.value('id')}")
        await exchange.forward(exchange.request.path)

    async def commit(self, exchange: Exchange) -> None:
        """An image of a container of the run's own, with labels."""
        query = exchange.match.query
        body = self._checks.commit(await exchange.json())
        container = await self._references.container_id(exchange.match.value("container"))
        query["container"] = [container]
        if exchange.match.value("repo"):
            name = full(exchange.match.value("repo"), exchange.match.value("tag"))
            await self._images.demand_free(name)
        self._stamp_changes(exchange)
        await exchange.forward(exchange.request.path, body or None)

    def _stamp_changes(self, exchange: Exchange) -> None:
        """Give an image its labels by the last of the lines that change it."""
        line = change(self._stamp.labels(IMAGE))
        exchange.match.query.setdefault("changes", []).append(line)

    async def pull_or_import(self, exchange: Exchange) -> None:
        """A pull of what the host lacks, or an import, with labels."""
        source = exchange.match.value("fromImage")
        if bool(source) == bool(exchange.match.value("fromSrc")):
            raise malformed("a pull and an import at once, or neither")
        if source:
            return await self._pull(exchange, source)
        if exchange.match.value("repo"):
            name = full(exchange.match.value("repo"), exchange.match.value("tag"))
            await self._images.demand_free(name)
        self._stamp_changes(exchange)
        return await exchange.forward(exchange.request.path)

    async def _pull(self, exchange: Exchange, source: str) -> None:
        if exchange.request.length != 0:
            raise malformed("a pull takes no body")
        tag = exchange.match.value("tag")
        if not tag and not has_tag(source):
            self._policy.demand("pull", f"a pull of all tags of {source}")
            return await exchange.forward(exchange.request.path)
        name = full(source, tag)
        before = await self._images.inspect(name)
        if before is not None and not self._images.owns(before) and not self._policy.allows("pull"):
            # A pull would move the name to whatever the registry has under it now.
            return await self._up_to_date(exchange, name)
        known = await self._images.ids()

        async def watched(line: bytes) -> AsyncIterator[bytes]:
            yield line
            if not line:
                await self._learn([name], known)

        return await exchange.forward(exchange.request.path, lines=watched)

    async def _learn(self, names: Iterable[str], known: set[str]) -> None:
        """Take note of the images of these names that were not there before."""
        for name in names:
            found = await self._images.inspect(name)
            if found is not None and found["Id"] not in known:
                self._images.learn(found["Id"])

    async def _up_to_date(self, exchange: Exchange, name: str) -> None:
        """Say that an image is there, in the words that clients show and look for."""
        said = f"pytest-dind guard: {name} is the host's, and is taken as it is"
        lines = [{"status": said}, {"status": f"Status: Image is up to date for {name}"}]
        await exchange.answer_lines(lines)

    async def load(self, exchange: Exchange) -> None:
        """Images of an archive; names that the host's images have stay theirs."""
        if not self._policy.own:
            return await exchange.forward(exchange.request.path)
        # Also when the client is gone, since then a name may have been taken already.
        exchange.see_through()
        async with self._images.changing:
            known, names = await self._images.ids(), await self._images.tags()
            loaded: list[str] = []

            async def watched(line: bytes) -> AsyncIterator[bytes]:
                yield line
                if line:
                    loaded.extend(_loaded(line))
                    return
                await self._learn(loaded, known)
                for name in await self._images.put_back(names, set(loaded)):
                    error = (
                        f"pytest-dind guard: the image {name} was loaded, but the name is the "
                        "host's and stays with its image"
                    )
                    said = {"errorDetail": {"message": error}, "error": error}
                    yield json.dumps(said).encode() + b"\r\n"

            return await exchange.forward(exchange.request.path, lines=watched)

    async def push(self, exchange: Exchange) -> None:
        """A name that this run gave: the host's images do not leave it."""
        given, tag = exchange.match.name, exchange.match.value("tag")
        name = full(given, tag)
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
        await exchange.forward(exchange.request.path)

    async def tag(self, exchange: Exchange) -> None:
        """A further name for an image."""
        source = exchange.match.name
        name = full(exchange.match.value("repo"), exchange.match.value("tag"))
        found = await self._images.inspect(source)
        if found is None or not self._policy.own:
            return await exchange.forward(exchange.request.path)
        await self._images.demand_free(name)
        if self._images.owns(found) or name in (found["RepoTags"] or []):
            return await exchange.forward(_tag_path(found["Id"]))
        if not found["RepoTags"]:
            # Engines remove an image with its last name, so this one could not be taken back.
            raise forbidden(f"a name for {source}, an image of the host that has none,")
        self._images.record(name, found["Id"])
        return await exchange.forward(_tag_path(found["Id"]))

    async def remove_image(self, exchange: Exchange) -> None:
        """An image that this run made, or a name that it gave."""
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
        """Take note of what is gone; with an image, the steps that it was made of go too."""
        gone = [item["Deleted"] for item in removed if "Deleted" in item]
        for image in gone:
            self._images.forget(image)
        if gone and self._policy.own:
            await self._images.remove_unused(parents)

    async def prune_images(self, exchange: Exchange) -> None:
        """Images that carry the run's labels and that no container uses, one by one."""
        if not self._policy.own:
            return await exchange.forward(exchange.request.path)
        given = read_filters(exchange.match.value("filters"))
        # Unlike a prune, a list takes "dangling" with any of these values.
        all_of_them = {"false", "0"} & set(given.pop("dangling", {"true": True}))
        if not all_of_them:
            given["dangling"] = {"true": True}
        query = {"filters": [self._stamp.filters(IMAGE, json.dumps(given))]}
        listed = await self._engine.call("GET", "/images/json", query)
        if not listed.ok:
            return await exchange.reply(listed)
        deleted, space = [], 0
        for image in listed.json():
            if not self._stamp.owns(IMAGE, image["Labels"]):
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
        return await exchange.answer(
            200, {"ImagesDeleted": deleted or None, "SpaceReclaimed": space}
        )


def _tag_path(image: str) -> str:
    return f"/images/{image}/tag"


def _loaded(line: bytes) -> list[str]:
    """The image that a line of a load's answer tells of."""
    said = json.loads(line).get("stream") or ""
    for prefix in (_LOADED, _LOADED_ID):
        if said.startswith(prefix):
            return [said.removeprefix(prefix).strip()]
    return []
