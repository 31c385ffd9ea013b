"""The handlers of builds, by both builders, and of commits."""

from __future__ import annotations

from ...allowances import BUILDKIT
from ..http.refusal import Refusal, forbidden, malformed
from ..objects.run_labels import IMAGE, RunLabels, dockerfile_lines, with_labels
from ..rules.body import fields, mapping, objects, parse_text, text
from ..rules.containers import joined
from ..rules.names import full
from .base import NOT_SEEN, Context, Handlers
from .exchange import Exchange

# Other names that engines take (containerd/platforms, database.go).
_ARCHITECTURES = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64"}


class BuildHandlers(Handlers):
    """The handlers of calls that build images, or commit containers to images."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._builds: set[str] = set()

    async def build(self, exchange: Exchange) -> None:
        """Build an image with labels, by the older builder or by BuildKit."""
        query = exchange.match.query
        for name in query.get("t", []):
            await self._images.demand_free(full(name))
        if exchange.match.value("cgroupparent"):
            self._policy.demand("cgroup-parent", "a cgroup parent (cgroupparent)")
        option = exchange.match.value("securityopt")
        if option:
            self._policy.demand(f"security-opt:{option}", f"the security option {option}")
        # BuildKit leaves the host's names alone when it pulls.
        if exchange.match.value("version") != "2":
            if exchange.match.flag("pull"):
                self._policy.demand("pull", "a pull of base images that are there (pull)")
            platform = exchange.match.value("platform")
            if platform and not await self._is_engines(platform):
                # Engines 24 to 27 pull a base image that is there for another platform.
                self._policy.demand("pull", f"a build for {platform} by the older builder")
        self._demand_plain_output(exchange.match.value("outputs"))
        await self._network_mode(exchange)
        query["labels"] = [
            with_labels(exchange.match.value("labels"), self._labels.for_role(IMAGE))
        ]
        # The containers of steps have no label of the guard, so the engine must remove them.
        query["rm"] = query["forcerm"] = ["1"]
        self._builds.add(exchange.match.value("buildid"))
        await exchange.forward(exchange.request.path)

    async def _is_engines(self, platform: str) -> bool:
        """Whether a platform is the engine's own."""
        version = (await self._engine.call("GET", "/version")).json()
        parts = [_ARCHITECTURES.get(part, part) for part in platform.lower().split("/")]
        return {*parts[:2]} <= {version["Os"], version["Arch"]}

    def _demand_plain_output(self, given: str) -> None:
        """Check that the output of a build goes under the names of `t`, or to the client."""
        if not self._policy.own:
            return
        outputs = parse_text(given, "the parameter outputs") if given else None
        for output in objects("outputs", outputs):
            found = fields(
                "outputs", output, {"Type": text, "Attrs": mapping}, self._policy.unknown
            )
            if found.get("Attrs") and found.get("Type") not in ("local", "tar"):
                raise forbidden("an output of a build with attributes (outputs)")

    async def _network_mode(self, exchange: Exchange) -> None:
        """Check and resolve the network of a build's steps: the run's own, or a built-in one."""
        mode = exchange.match.value("networkmode")
        if mode == "host":
            self._policy.demand("host-net", "the host's network namespace (networkmode)")
        elif joined(mode):
            exchange.match.query["networkmode"] = [await self._references.join(joined(mode))]
        elif mode not in ("", "default", "bridge", "none") and self._policy.own:
            network = await self._ownership.resolve("network", mode)
            exchange.match.query["networkmode"] = [network]

    async def buildkit(self, exchange: Exchange) -> None:
        """Open a connection to BuildKit's own API; images that come meanwhile are the run's own.

        In it nothing can be seen or labelled. So an image that somebody else makes at this time
        counts as the run's too: tests may remove it by its name, and nothing else does.
        """
        self._policy.demand(BUILDKIT, f"POST {exchange.request.path}, {NOT_SEEN}")
        async with self._images.unseen():
            await exchange.forward(exchange.request.path)

    async def prune_builds(self, exchange: Exchange) -> None:
        """Answer that nothing was pruned: the build cache does not tell what is the run's own."""
        if not self._policy.own:
            return await exchange.forward(exchange.request.path)
        return await exchange.answer_pruned({"CachesDeleted": None, "SpaceReclaimed": 0})

    async def cancel_build(self, exchange: Exchange) -> None:
        """Cancel a build of the run's own."""
        if self._policy.own and exchange.match.value("id") not in self._builds - {""}:
            raise Refusal(404, f"No such build: {exchange.match.value('id')}")
        await exchange.forward(exchange.request.path)

    async def commit(self, exchange: Exchange) -> None:
        """Commit a container of the run's own to an image with labels."""
        query = exchange.match.query
        body = self._checks.commit(await exchange.json())
        container = await self._references.container_id(exchange.match.value("container"))
        query["container"] = [container]
        if exchange.match.value("repo"):
            name = full(exchange.match.value("repo"), exchange.match.value("tag"))
            await self._images.demand_free(name)
        label_changes(exchange, self._labels)
        # Podman wants a body, and Docker's newer engines none without a setting.
        await exchange.forward(exchange.request.path, body or {"Labels": {}})


def label_changes(exchange: Exchange, labels: RunLabels) -> None:
    """Add the run's labels to an image, by the last lines of its changes.

    Raises:
        Refusal: a line might go on in the next one, and swallow the labels.
    """
    given = exchange.match.query.setdefault("changes", [])
    for line in "\n".join(given).splitlines():
        # The escape character is the one or the other, as a directive in the lines may say.
        if line.rstrip().endswith(("\\", "`")):
            raise malformed(f"the line {line!r} of changes goes on in the next one")
    given += dockerfile_lines(labels.for_role(IMAGE))
