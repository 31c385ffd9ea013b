"""The making of a Kubernetes cluster: what it is asked to be, its daemon, and its nodes in that."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..backends.registry import isolates
from ..daemon import arguments
from ..engine import digests
from ..engine.images import ImageSource
from ..errors import DindError, KubernetesFailed, SettingsError
from ..kubernetes import saved
from ..kubernetes.adapters import registry
from ..kubernetes.adapters.adapter import FAILOVERS, MOST_NODES, Adapter
from ..kubernetes.base import DIRECTORY, Base
from ..kubernetes.handle import Kubernetes
from ..kubernetes.membership import Members
from ..store import seeding
from ..validation import is_image, shown
from . import memory

if TYPE_CHECKING:
    from ..daemon.handle import Daemon
    from ..engine.engine import Engine
    from ..settings import Settings
    from .reuse import Contents, Start
    from .run import Run

SERVER_BYTES, AGENT_BYTES = 510 << 20, 70 << 20
"""The memory that a node takes, without what runs in it."""

_VERSION = re.compile(r"v?\d+\.\d+\.\d+")
_K3S = "k3s"


# Short: it is part of a unix socket's path.
REUSED = "k8s"
"""The name of the daemon whose cluster is reused."""


@dataclass
class _Nodes:
    """What is in the daemon of a cluster: a `Contents` of it.

    Attributes:
        maker: What makes the cluster.
        names: The name of the daemon.
        count: How many nodes it has.
        image: Their image.
        image_id: The id of that.
        adapter: What is to be known of it.
        failover: How soon pods of a node that is gone start elsewhere.
        origin: The images that nodes begin with; None where they can't have such.
        cluster: The cluster, once it is there.
    """

    maker: Maker
    names: Sequence[str]
    count: int
    image: str
    image_id: str
    adapter: Adapter
    failover: str
    origin: Base | None
    cluster: Kubernetes | None = None
    parts: str = "image, the number of its nodes, or their image or failover"

    @property
    def shape(self) -> Sequence[Any]:
        """What makes it another cluster."""
        return [{"kubernetes": [self.image_id, self.count, self.failover]}]

    def make(self, start: Start) -> None:
        """Make the cluster in a daemon that is started for it.

        Raises:
            DindError: it does not get ready; the daemon is gone.
        """
        base, images = self.origin, self.maker.settings.load
        daemon = start(self.names[0], base)
        is_there = base is not None and seeding.is_seeded(daemon._backend.files(daemon.record))
        members = self._members(daemon)
        try:
            # Nobody needs the daemon's name before.
            with ThreadPoolExecutor(1) as beside:
                connected = beside.submit(self.maker.connect, daemon)
                members.begin(self.count, DIRECTORY if is_there else "")
                connected.result()
            cluster = self._handle(members)
            if images and not is_there:
                cluster.load(*images)
        except BaseException:
            members.close()
            daemon.stop()
            raise
        self.cluster = cluster

    def resume(self, daemons: Sequence[Daemon], *, alone: bool) -> str:
        """Take up the cluster of another run; gives why it can't be, empty where it can."""
        [daemon] = daemons
        plan = saved.read(daemon.record.home.path)
        if plan is None:
            return "it was not finished"
        members = self._members(daemon)
        try:
            why = members.resume(plan, self.count, alone=alone)
            if not why:
                self.maker.connect(daemon)
                cluster = self._handle(members)
                if self.maker.settings.load:
                    cluster.load(*self.maker.settings.load)
                self.cluster = cluster
        except DindError as error:
            why = error.what
        if why:
            members.close()
        return why

    def _members(self, daemon: Daemon) -> Members:
        timeout = self.maker.settings.timeout
        return Members(daemon, self.image, self.adapter, self.failover, timeout)

    def _handle(self, members: Members) -> Kubernetes:
        run = self.maker.run
        engine = run.engine(self.maker.settings)
        return Kubernetes(members, self.image, lambda: engine.client, run.progress)


@dataclass(frozen=True)
class Maker:
    """Makes a cluster.

    Attributes:
        name: The name of its daemon.
        run: The run that the daemon is of.
        settings: Those of the daemon, `load` among them: the images that nodes are to have.
        have: Has a daemon of these settings with its contents, which is reused or started.
        connect: Connects it to the network in which daemons know each other by name.
        started: Is told of it.
    """

    name: str
    run: Run
    settings: Settings
    have: Callable[[Settings, Contents], None]
    connect: Callable[[Daemon], None]
    started: Callable[[Daemon], None]

    def make(self, nodes: int, image: str, failover: str) -> Kubernetes:
        """Make a cluster that is ready.

        Args:
            nodes: How many nodes it has.
            image: Their image.
            failover: How soon pods of a node that is gone start elsewhere.

        Raises:
            DindError: it can't be had; what was started for it is gone.
        """
        engine = self.run.engine(self.settings)
        # It is pulled if it is missing.
        details = ImageSource(engine.client, self.run.progress).ensure(image)
        adapter = registry.adapter(image, details)
        images = self.settings.load
        base = Base.of(image, adapter, images)
        image_id = str(details["Id"])
        contents = _Nodes(self, [self.name], nodes, image, image_id, adapter, failover, base)
        # The nodes have those that are asked for; the daemon itself has no use for them.
        self.have(self.settings.replace(load=[image]), contents)
        assert contents.cluster is not None
        self.started(contents.cluster.daemon)
        return contents.cluster


def demand(nodes: object, image: object, failover: object, settings: Mapping[str, Any]) -> None:
    """Check what a cluster is asked to be.

    Raises:
        SettingsError: it can't be so.
    """
    texts = {name: settings[name] for name in ("mode",) if name in settings}
    arguments.demand("kubernetes", nodes=nodes, image=image, **texts)
    if nodes > MOST_NODES:  # type: ignore[operator]
        raise SettingsError(
            f"kubernetes: {nodes} nodes can't be had.",
            evidence=f"Each knows the way to the pods of {MOST_NODES} nodes.",
            remedy=[f"Have {MOST_NODES} nodes at the most."],
        )
    if not is_image(image):
        raise arguments.bad("kubernetes", "image", image, "an image's name")
    if failover not in FAILOVERS:
        raise SettingsError(
            f"kubernetes: failover={shown(failover)} is not a valid value.",
            evidence=f"Valid: {', '.join(FAILOVERS)}.",
            remedy=["Give failover one of the valid values, or leave it out."],
        )


def image_of(image: str, version: str) -> str:
    """Return the image of nodes of a version of Kubernetes.

    Args:
        image: An image of them.
        version: The version, in full; empty for the one that the image has.

    Raises:
        SettingsError: it is no version, or which image has it is not known.
    """
    arguments.demand("kubernetes", image=image)
    if version == "":
        return image
    if not isinstance(version, str) or not _VERSION.fullmatch(version):
        raise arguments.bad("kubernetes", "version", version, 'a version in full, such as "1.33.4"')
    repository, _, _ = digests.split(image)
    if repository.rpartition("/")[2] != _K3S:
        raise SettingsError(
            f"kubernetes: version={version!r} can't be had of the image {image!r}.",
            evidence="Which of its tags is of which version is known of rancher/k3s alone.",
            remedy=["Name the image that has it: kubernetes(image=...), without version."],
        )
    # The first of k3s' own releases for a version; there is one in any case.
    return f"{repository}:v{version.removeprefix('v')}-k3s1"


def demand_room(
    engine: Engine, nodes: int, mode: str, limit: str, *, is_there: bool = False
) -> None:
    """Check that an engine can have a cluster of so many nodes.

    Args:
        engine: The engine.
        nodes: How many.
        mode: The mode of their daemon.
        limit: The limit of its memory, as `--dind-memory` has it; empty for none.
        is_there: Whether there may be one already, which takes no more memory.

    Raises:
        SettingsError: the mode has none.
        KubernetesFailed: there is too little memory for them.
    """
    if not isolates(mode):
        raise SettingsError(
            f"A Kubernetes cluster can't be had in mode {mode}.",
            evidence="Its nodes are privileged containers in a daemon of its own. There "
            "the tests use the outer engine itself, and no daemon is started.",
            remedy=[
                "Choose another mode: --dind-mode=auto, or kubernetes(mode='dind').",
                "Have the tests skipped in this mode: @pytest.mark.requires_isolation.",
            ],
        )
    room, seen = memory.room(engine)
    if limit:
        allowed = seeding.kibibytes(limit) << 10
        if room is None or allowed < room:
            room, seen = allowed, "by --dind-memory the daemon has"
    needed = SERVER_BYTES + (nodes - 1) * AGENT_BYTES
    if room is None or room >= needed or is_there:
        return
    most = (room - SERVER_BYTES) // AGENT_BYTES + 1
    fewer = f"Have fewer nodes: --dind-nodes={most}, or kubernetes(nodes={most})."
    raise KubernetesFailed(
        f"A cluster of {nodes} node{'' if nodes == 1 else 's'} takes more memory than there is.",
        evidence=f"The server takes {SERVER_BYTES >> 20} MB at the least, and each further node "
        f"{AGENT_BYTES >> 20} MB: {needed >> 20} MB in all; {seen}: {room >> 20} MB. Nothing was "
        "started.",
        remedy=[
            *([fewer] if most > 0 else []),
            "End what takes memory on the engine's machine, or give it more.",
            *([f"Raise the limit: --dind-memory, above {needed >> 20}m."] if limit else []),
        ],
    )
