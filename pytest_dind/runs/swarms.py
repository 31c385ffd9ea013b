"""The making of a swarm: its daemons start side by side, and join as each is ready."""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..backends import records, subnets
from ..backends.registry import isolates
from ..cluster import remains
from ..cluster.membership import MANAGER, WORKER, Membership
from ..cluster.node import Node, node_of
from ..cluster.swarm import Swarm
from ..daemon import arguments
from ..engine import containers, reach
from ..errors import DindError, SettingsError, SwarmFailed
from ..lifetime import layout
from . import memory
from .background import BackgroundStart

if TYPE_CHECKING:
    from ..daemon.handle import Daemon
    from ..engine.engine import Engine
    from ..settings import Settings
    from .reuse import Contents, Start
    from .run import Run

_LEAST_AT_ONCE = 4
_ICC = "com.docker.network.bridge.enable_icc"
REUSED = "swarm"
"""The name of the swarm that is reused."""
NODE_BYTES = 80 << 20
"""The memory that a node takes, without what runs in it."""


class _NotBegun(Exception):
    """A node did not join, since the swarm was not begun; why, another error says."""


@dataclass
class _Nodes:
    """The daemons of a swarm: a `Contents` of them.

    Attributes:
        maker: What makes the swarm.
        names: The names of its nodes.
        managers: How many of these, the first ones, are managers.
        swarm: The swarm, once it is there.
    """

    maker: Maker
    names: Sequence[str]
    managers: int
    swarm: Swarm | None = None
    parts: str = "image, or the number of its nodes or managers,"

    @property
    def shape(self) -> Sequence[Any]:
        """What makes it another swarm."""
        return [{"swarm": [len(self.names), self.managers]}]

    @property
    def _roles(self) -> dict[str, str]:
        """The role of each node, by its name."""
        return {
            name: MANAGER if place < self.managers else WORKER
            for place, name in enumerate(self.names)
        }

    def make(self, start: Start) -> None:
        """Make the swarm; all nodes are Ready.

        Raises:
            DindError: it can't be had; what was started for it is gone.
        """
        maker, names, roles = self.maker, self.names, self._roles
        members, begun = Membership(maker.name), threading.Event()

        def begin(settings: Settings) -> Node:
            try:
                return maker.joined(start, names[0], lambda node: members.begin(node, maker.pool()))
            finally:
                begun.set()

        def follow(name: str, settings: Settings) -> Node:
            def join(node: Node) -> Node:
                begun.wait()
                if not members.nodes:
                    raise _NotBegun
                return members.admit(node, roles[name])

            return maker.joined(start, name, join)

        starts = [BackgroundStart(maker.settings, begin)]
        starts += [BackgroundStart(maker.settings, partial(follow, name)) for name in names[1:]]
        try:
            for one in starts:
                one.result(maker.run.progress)
            members.arrange(names)
            members.settle(members.nodes)
        except BaseException:
            self._undo(starts)
            raise
        self.swarm = maker.handle(members)

    def _undo(self, starts: Sequence[BackgroundStart[Node]]) -> None:
        """End what was started."""
        for start, name in zip(starts, self.names, strict=True):
            self.maker.run.finish(start, name)
        for start in starts:
            # What failed has left nothing; what can't be ended now, the run's end ends.
            with contextlib.suppress(Exception):
                if start.wait(0):
                    start.result().stop()

    def resume(self, daemons: Sequence[Daemon], *, alone: bool) -> str:
        """Take up the swarm of another run; gives why it can't be, empty where it can."""
        members = Membership(self.maker.name)
        try:
            why = members.resume(daemons, self._roles)
            if not why and alone:
                why = remains.remove(members)
        except DindError as error:
            why = error.what
        if why:
            members.close()
            return why
        for daemon in daemons:
            self.maker.started(daemon)
        self.swarm = self.maker.handle(members)
        return ""


@dataclass(frozen=True)
class Maker:
    """Makes a swarm, and its further nodes.

    Attributes:
        name: The swarm's name.
        run: The run that the daemons are of.
        settings: Their settings.
        have: Has daemons of these settings with their contents, which are reused or started.
        start: Starts a further daemon.
        connect: Connects it to the network of a directory of daemons, in which these know each
            other by name.
        started: Is told of it.
    """

    name: str
    run: Run
    settings: Settings
    have: Callable[[Settings, Contents], None]
    start: Start
    connect: Callable[[Daemon, Path], None]
    started: Callable[[Daemon], None]
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    _turns: threading.BoundedSemaphore = field(
        default_factory=lambda: threading.BoundedSemaphore(_at_once())
    )

    def make(self, nodes: int, managers: int) -> Swarm:
        """Make a swarm, all nodes of which are Ready.

        Args:
            nodes: How many nodes it has.
            managers: How many of these are managers.

        Raises:
            DindError: it can't be had; what was started for it is gone.
        """
        contents = _Nodes(self, [self._next_name() for _ in range(nodes)], managers)
        self.have(self.settings, contents)
        assert contents.swarm is not None
        return contents.swarm

    def handle(self, members: Membership) -> Swarm:
        """Return the handle of a swarm."""
        return Swarm(self.name, members, partial(self._further, members), self.run.progress)

    def _further(self, members: Membership, role: str) -> Node:
        """Start a daemon more, which joins the swarm."""
        # In the network of the others, who may be of another run.
        place = members.nodes[0].record.home.path.parent
        return self.joined(
            self.start, self._next_name(), lambda node: members.admit(node, role), place
        )

    def joined(
        self, start: Start, name: str, join: Callable[[Node], Node], place: Path | None = None
    ) -> Node:
        """Start a daemon and have it join; one that can't is removed.

        Args:
            start: Starts it.
            name: Its name.
            join: Has it join.
            place: The directory of daemons in whose network it is to be; by default its own.
        """
        with self._turns:
            daemon = start(name)
        place = place or daemon.record.home.path.parent
        try:
            # Nobody needs the names before: the nodes talk by addresses, in the network in which
            # the containers of an engine are from their start.
            with ThreadPoolExecutor(1) as beside:
                connected = beside.submit(self.connect, daemon, place)
                address = daemon.ip
                if self._are_kept_apart:
                    connected.result()
                    address = self._address_in_own_network(daemon, place)
                node = join(node_of(daemon, address))
                connected.result()
        except BaseException:
            daemon.stop()
            raise
        records.write_json(daemon.record.home.path / layout.CLUSTER, {"kind": "swarm"})
        self.started(daemon)
        return node

    @cached_property
    def _are_kept_apart(self) -> bool:
        """Whether containers reach each other in networks of their own alone (icc=false)."""
        networks = self.run.engine(self.settings).client.api.networks()
        return any((one.get("Options") or {}).get(_ICC) == "false" for one in networks)

    def _address_in_own_network(self, daemon: Daemon, place: Path) -> str:
        engine = self.run.engine(self.settings)
        details = containers.inspect(engine.client, daemon.id)
        there = details["NetworkSettings"]["Networks"] if details else {}
        return str(there.get(layout.network_name(place), {}).get("IPAddress", daemon.ip))

    def _next_name(self) -> str:
        return f"{self.name}-node{next(self._numbers)}"

    def pool(self) -> str:
        """The subnet that the networks of a new swarm take theirs from."""
        return subnets.nested(self.run.engine(self.settings).client.api.networks()).overlays


def demand(nodes: object, managers: object, settings: Mapping[str, Any]) -> None:
    """Check what a swarm is asked to be.

    Raises:
        SettingsError: it can't be so.
    """
    texts = {name: settings[name] for name in ("image", "mode") if name in settings}
    arguments.demand("swarm", nodes=nodes, managers=managers, **texts)
    if managers > nodes:  # type: ignore[operator]
        raise SettingsError(
            f"swarm: {managers} managers are asked for, and {nodes} nodes.",
            evidence="The managers are among the nodes.",
            remedy=[f"Give at least {managers} nodes, or fewer managers."],
        )


def demand_room(engine: Engine, nodes: int, mode: str, *, is_there: bool = False) -> None:
    """Check that an engine can have so many daemons more.

    Args:
        engine: The engine.
        nodes: How many.
        mode: Their mode.
        is_there: Whether they may be there already, which takes no more memory.

    Raises:
        SettingsError: the mode has none.
        SwarmFailed: the engine's machine has too little memory for them.
    """
    if not isolates(mode):
        raise SettingsError(
            f"A swarm can't be had in mode {mode}.",
            evidence="There the tests use the outer engine itself, which is one; no daemon is "
            "started.",
            remedy=[
                "Choose another mode: --dind-mode=auto, or swarm(mode='dind').",
                "Have the tests skipped in this mode: @pytest.mark.requires_isolation.",
            ],
        )
    room, seen = memory.room(engine)
    needed = nodes * NODE_BYTES
    if room is not None and room < needed and not is_there:
        most = max(1, room // NODE_BYTES)
        raise SwarmFailed(
            f"A swarm of {nodes} nodes takes more memory than there is.",
            evidence=f"Each takes {NODE_BYTES >> 20} MB at the least, {needed >> 20} MB in all; "
            f"{seen}: {room >> 20} MB. Nothing was started.",
            remedy=[
                f"Have fewer nodes: --dind-nodes={most}, or swarm(nodes={most}).",
                "End what takes memory on the engine's machine, or give it more.",
            ],
        )


def are_reached(engine: Engine) -> bool:
    """Tell whether the addresses of an engine's containers are reached from here.

    No process that forwards ports is needed then, which would cost each node 10 MB and its start
    some time.
    """
    return not engine.unshared and not reach.apart(engine)


def _at_once() -> int:
    """How many daemons start side by side: with many more each takes so long that it fails."""
    return max(_LEAST_AT_ONCE, 2 * (os.cpu_count() or 1))
