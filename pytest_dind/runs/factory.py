"""The fixture dind_factory: further daemons, swarms of them, and clusters, on one network."""

from __future__ import annotations

import contextlib
import copy
import itertools
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..backends import names, records, subnets
from ..backends.registry import isolates
from ..daemon import arguments
from ..errors import DindError, SettingsError
from ..lifetime import directories, labels, layout
from ..validation import bad, shown
from .pool import PREFIX

if TYPE_CHECKING:
    from ..backends.protocol import Record
    from ..cluster.swarm import Swarm
    from ..daemon.handle import Daemon
    from ..engine.engine import Engine
    from ..kubernetes.handle import Kubernetes
    from ..settings import Settings
    from ..store.seeding import Origin
    from ..store.snapshots import Snapshot
    from .background import BackgroundStart
    from .pool import Loan
    from .reuse import Contents
    from .run import Run

# Files in a run's directory, where daemons have their homes.
_TAKEN = frozenset({layout.LEASE, layout.NETWORK})
# The daemon without which the start of the first cluster of a kind ends.
_FIRST = {"kubernetes": "kubernetes1", "swarm": "swarm1-node1"}
# Short: it is part of a unix socket's path, and of a host name.
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,21}")


class Factory:
    """Starts daemons that reach each other by name; may be called from several threads.

    Args:
        run: A run of the factory's own; closing the factory ends it.
        settings: The settings that daemons have unless told otherwise.
        unavailable: A context in which a daemon is asked for; it may skip the test.
        started: Is told of each daemon, and its settings.
        spare: Gives a daemon of these settings that has been started ahead, if there is one.
        formed: Is told of each swarm and each cluster once it is ready, of the settings of its
            daemons, and when its start began, as `time.time` has it.
    """

    def __init__(  # noqa: PLR0913 - what it works with
        self,
        run: Run,
        settings: Settings,
        unavailable: Callable[[Settings], AbstractContextManager[None]],
        started: Callable[[Daemon, Settings], None] = lambda daemon, settings: None,
        spare: Callable[[Settings], Loan | None] = lambda settings: None,
        formed: Callable[[Swarm | Kubernetes, Settings, float], None] = lambda *known: None,
    ) -> None:
        self._run = run
        self._settings = settings
        self._unavailable = unavailable
        self._started = started
        self._spare = spare
        self._formed = formed
        # Daemons of another run.
        self._lent: list[Loan] = []
        self._numbers = itertools.count(1)
        self._swarm_numbers = itertools.count(1)
        self._cluster_numbers = itertools.count(1)
        self._clusters: list[Swarm | Kubernetes] = []
        # By their kind: the clusters that have begun to start, for so many nodes, and what is to be
        # told of each once it is asked for.
        self._begun: dict[str, tuple[int, BackgroundStart[Any], list[Callable[[], object]]]] = {}
        # The daemons that stay, once it is closed.
        self._kept: list[Record] = []
        self._lock = threading.Lock()
        # The engines on which there is the network of the daemons in a directory.
        self._networks: list[tuple[Engine, Path]] = []

    @property
    def daemons(self) -> list[Daemon]:
        """The daemons that it has given, those too that have ended."""
        return [*self._run.daemons, *(daemon for daemon, _ in self._lent)]

    @property
    def records(self) -> list[Record]:
        """The records of these."""
        return [daemon.record for daemon in self.daemons]

    def __call__(  # noqa: PLR0913 - what a daemon may be asked to be
        self,
        name: str = "",
        *,
        image: str = "",
        mode: str = "",
        args: Sequence[str] = (),
        snapshot: str = "",
        start: bool = False,
        **settings: Any,
    ) -> Daemon:
        """Start one more daemon.

        Where tests have dind_fresh, one of its spares is taken if it is what would be started: no
        name and no setting of its own is asked for, and there is no proxy.

        Args:
            name: The daemon's name, by which the factory's other daemons reach it: lower-case
                letters, digits and `-`, not `fresh-` first. By default it is made up.
            image: The daemon's image; by default that of `dind_daemon`.
            mode: The daemon's mode; by default that of `dind_daemon`.
            args: Further dockerd arguments.
            snapshot: The name of a snapshot (`Daemon.snapshot`), a copy of which it is.
            start: Start the containers that ran when the snapshot was taken, in their order, and
                wait for the health of those that have a health check.
            settings: Further settings, named as the options are, such as `load` or `memory`; not
                those of the whole run, such as `keep` or `reuse`.

        Raises:
            SettingsError: an argument has a value that it can't have, or no effect.
            DindError: the daemon can't be had; its start has left nothing behind.
        """
        given = {"name": name, "image": image, "mode": mode}
        arguments.demand("dind_factory", **given, snapshot=snapshot, start=start)
        _demand_name("dind_factory", name)
        chosen = self._chosen(image=image, mode=mode, args=args, **settings)
        frozen = self._found(snapshot) if snapshot else None
        with self._unavailable(chosen):
            if frozen is not None:
                self._demand_snapshots(chosen, frozen)
            lent = None if name or frozen is not None else self._spare(chosen)
            if lent is None:
                name = name or f"extra-{next(self._numbers)}"
                daemon = self._run.start(name, chosen, frozen)
                end = daemon.stop
            else:
                daemon, end = lent
        try:
            # The outer engine itself, in mode socket, has no container to be reached by name.
            if isolates(daemon.mode):
                self._connect(daemon, self._run.path, chosen)
            if frozen is not None and start:
                daemon._start_again(frozen)
        except BaseException:
            end()
            raise
        if lent is not None:
            self._lent.append(lent)
        self._started(daemon, chosen)
        return daemon

    def snapshot(
        self,
        name: str,
        prepare: Callable[[Daemon], object],
        *,
        key: object = None,
        **settings: Any,
    ) -> None:
        """Have a snapshot of a daemon that is prepared, once for all processes of the run.

        Args:
            name: The snapshot's name.
            prepare: Prepares a daemon that is given to it, which ends then. It is not called where
                the run has the snapshot already, or, with a key, an earlier run has made it.
            key: What the snapshot's contents depend on besides the source of `prepare`, the
                daemon's image, settings and the images of `load`: what JSON can have, such as a
                list of checksums; empty for nothing more. With one, the snapshot stays for later
                runs, which use it as long as all of this is the same. None: it is for this run.
            settings: Those of the daemon, as of a further daemon: `image`, `mode`, `args`, and what
                is named as the options are.

        Raises:
            SettingsError: an argument has a value that it can't have, or no effect.
            SnapshotFailed: it can't be taken.
            DindError: the daemon can't be had.
        """
        from . import preparing

        wanted = preparing.wanted(name, prepare, key)
        chosen = self._chosen(**settings)
        with self._unavailable(chosen):
            self._demand_snapshots(chosen)
        preparing.Preparation(self._run, chosen, partial(self, **settings)).have(wanted)

    def _found(self, name: str) -> Snapshot:
        """Return the snapshot of this name.

        Raises:
            SettingsError: the run has none of this name.
        """
        from ..daemon import snapshots

        return snapshots.find(self._run.shared, name)

    def _demand_snapshots(self, settings: Settings, snapshot: Snapshot | None = None) -> None:
        """Check that daemons of these settings can have snapshots, and this one.

        Raises:
            SettingsError: they can't.
        """
        from ..store.seeding import demand_store
        from ..store.snapshots import without_isolation

        demand_store(settings)
        mode = self._run.choice(settings, proved=False).mode
        if not isolates(mode):
            raise without_isolation(mode)
        engine = self._run.engine(settings).url
        if snapshot is not None and snapshot.engine != engine:
            raise SettingsError(
                f"dind_factory: the snapshot {snapshot.name!r} is on another engine than the "
                "daemon is to be.",
                evidence=f"It is on {snapshot.engine}, the daemon's outer engine is {engine}.",
                remedy=["Leave host out.", "Take a snapshot on that engine, too."],
            )

    def _begin(self, kind: str, nodes: int) -> None:
        """Begin the start of a cluster in the background, the first of its kind; see `_given`.

        Args:
            kind: Its kind, as the method is named that starts it.
            nodes: How many nodes it has.
        """
        from .background import BackgroundStart

        # What it is told of belongs to the thread that runs tests.
        told: list[Callable[[], object]] = []
        beside = copy.copy(self)
        beside._started = lambda *known: told.append(partial(self._started, *known))
        beside._formed = lambda *known: told.append(partial(self._formed, *known))
        make = beside._maker(kind)
        self._begun[kind] = nodes, BackgroundStart(self._settings, lambda _: make(nodes)), told

    def _given(self, kind: str, nodes: int) -> Any:
        """Return the cluster of this kind that was begun, or start one."""
        begun, background, told = self._begun.get(kind, (0, None, []))
        if background is None or begun != nodes or not background.is_in_this_process:
            return self._maker(kind)(nodes)
        del self._begun[kind]
        found = background.result(self._run.progress)
        for tell in told:
            tell()
        return found

    def _maker(self, kind: str) -> Callable[[int], Any]:
        """Return what starts a cluster of this kind for the run."""
        return self._swarm if kind == "swarm" else self._kubernetes

    def _abandon(self) -> None:
        """End the starts of clusters that nobody has asked for."""
        for kind, (_, background, _) in self._begun.items():
            if not background.is_in_this_process:
                continue
            self._run.finish(background, _FIRST[kind])
            # What failed has left nothing; what can't be ended now, the end of the run ends.
            with contextlib.suppress(Exception):
                if background.wait(0):
                    self._forget(background.result())
        self._begun.clear()

    def _forget(self, cluster: Swarm | Kubernetes) -> None:
        """End a cluster that nobody has asked for: a guess is not kept, but what is reused is."""
        daemons = cluster._daemons
        if not any(map(_is_reused, daemons)):
            self._clusters.remove(cluster)
            cluster.stop()
            for daemon in daemons:
                directories.remove(daemon.record.home.path)

    def swarm(self, nodes: int = 3, managers: int = 1, **settings: Any) -> Swarm:
        """Start a swarm: daemons side by side, joined, and each of them Ready.

        Args:
            nodes: How many nodes it has.
            managers: How many of these are managers: of 3 the loss of one is survived.
            settings: Those of each node's daemon, as of a further daemon: `image`, `mode`, `args`,
                and what is named as the options are.

        Raises:
            SettingsError: an argument has a value that it can't have, or no effect.
            DindError: it can't be had; what was started for it is gone.
        """
        return self._swarm(nodes, managers, lasts=False, **settings)

    def _swarm(
        self, nodes: int, managers: int = 1, *, lasts: bool = True, **settings: Any
    ) -> Swarm:
        """As `swarm`; `lasts` as of `_kubernetes`."""
        from . import swarms

        swarms.demand(nodes, managers, settings)
        began = time.time()
        chosen = self._chosen(**settings)
        if lasts:
            chosen = chosen.replace(keep=self._settings.keep, reuse=self._settings.reuse)
        with self._unavailable(chosen):
            engine = self._run.engine(chosen)
            mode = self._run.choice(chosen, proved=False).mode
            swarms.demand_room(engine, nodes, mode, is_there=bool(chosen.reuse))
            if "forward" not in settings and swarms.are_reached(engine):
                chosen = chosen.replace(forward="off")
        # One more of a swarm that is reused is this run's alone.
        further = chosen.replace(keep="never", reuse="") if chosen.reuse else chosen
        maker = swarms.Maker(
            name=swarms.REUSED if chosen.reuse else f"swarm{next(self._swarm_numbers)}",
            run=self._run,
            settings=chosen,
            have=self._have,
            start=partial(self._start_node, settings=further),
            connect=partial(self._connect, settings=chosen),
            started=lambda daemon: self._started(daemon, chosen),
        )
        swarm = maker.make(int(nodes), int(managers))
        self._clusters.append(swarm)
        self._formed(swarm, chosen, began)
        return swarm

    def kubernetes(
        self,
        nodes: int = 1,
        *,
        image: str = "",
        version: str = "",
        failover: str = "default",
        name: str = "",
        **settings: Any,
    ) -> Kubernetes:
        """Start a Kubernetes cluster: its nodes are containers in one further daemon.

        It is ready when it is handed over: each node is, pods have a service account, DNS answers,
        and the scheduler knows all nodes.

        Args:
            nodes: How many nodes it has, the server among them.
            image: Their image: rancher/k3s, or one that keeps the contract of docs/kubernetes.md;
                by default that of `--dind-kubernetes-image`.
            version: A version of Kubernetes in full, such as "1.33.4", for which the image of
                rancher/k3s that has it is taken; by default the one of the image.
            failover: `"fast"` has the pods of a node that is gone start elsewhere in seconds, where
                `"default"`, which is Kubernetes' own, takes minutes.
            name: The name of the daemon; by default it is made up.
            settings: Those of the daemon, as of a further one: `mode`, `memory`, and what is named
                as the options are; `load` has the images that each node is to have.

        Raises:
            SettingsError: an argument has a value that it can't have, or no effect.
            DindError: it can't be had; what was started for it is gone.
        """
        how = {"image": image, "version": version, "failover": failover, "name": name}
        return self._kubernetes(nodes, **how, lasts=False, **settings)

    def _kubernetes(  # noqa: PLR0913 - what a cluster may be asked to be
        self,
        nodes: int,
        *,
        image: str = "",
        version: str = "",
        failover: str = "default",
        name: str = "",
        lasts: bool = True,
        **settings: Any,
    ) -> Kubernetes:
        """As `kubernetes`; `lasts` says whether it is the run's own.

        `--dind-keep` and `--dind-reuse` are for that.
        """
        from . import clusters, swarms

        arguments.demand("kubernetes", name=name)
        _demand_name("kubernetes", name)
        image = clusters.image_of(image or self._settings.kubernetes_image, version)
        clusters.demand(nodes, image, failover, settings)
        began = time.time()
        chosen = self._chosen(**settings)
        if lasts:
            chosen = chosen.replace(keep=self._settings.keep, reuse=self._settings.reuse)
        with self._unavailable(chosen):
            engine = self._run.engine(chosen)
            mode = self._run.choice(chosen, proved=False).mode
            reused = bool(chosen.reuse)
            clusters.demand_room(engine, nodes, mode, chosen.memory, is_there=reused)
            if "forward" not in settings and swarms.are_reached(engine):
                chosen = chosen.replace(forward="off")
        name = name or f"kubernetes{next(self._cluster_numbers)}"
        connect: Callable[[Daemon], None] = partial(
            self._connect, place=self._run.path, settings=chosen
        )
        if chosen.reuse or chosen.keep != "never":
            # The network goes with the run, and with it the resolver that nodes would ask.
            connect = _leave_alone
        maker = clusters.Maker(
            name=clusters.REUSED if chosen.reuse else name,
            run=self._run,
            settings=chosen,
            have=self._have,
            connect=connect,
            started=lambda daemon: self._started(daemon, chosen),
        )
        cluster = maker.make(int(nodes), image, failover)
        self._clusters.append(cluster)
        self._formed(cluster, chosen, began)
        return cluster

    def _start_node(self, name: str, origin: Origin | None = None, *, settings: Settings) -> Daemon:
        """Start a daemon that is not on the factory's network yet."""
        with self._unavailable(settings):
            return self._run.start(name, settings, origin)

    def _have(self, settings: Settings, contents: Contents) -> None:
        """Have daemons with these contents: made, or those of the name that `reuse` gives."""
        from .reuse import InUse

        if settings.reuse:
            # Where others use some that are no good, this run has its own.
            with contextlib.suppress(InUse), self._unavailable(settings):
                self._run.reused(settings, contents)
                return
            settings = settings.replace(reuse="")
        contents.make(partial(self._start_node, settings=settings))

    def _chosen(
        self, *, image: str = "", mode: str = "", args: Sequence[str] = (), **settings: Any
    ) -> Settings:
        """Return the settings of a further daemon.

        Raises:
            SettingsError: one has a value that it can't have, or no effect.
        """
        if not isinstance(args, (list, tuple)):
            raise bad("arg", args, [f"a list of values, such as [{shown(args)}]"])
        # Two daemons can't have the same port of the engine's machine.
        usual = self._settings.replace(publish=[], reuse="", keep="never")
        chosen = usual.replace(
            **{
                "arg": [*usual.arg, *args],
                **({"image": image} if image else {}),
                **({"mode": mode} if mode else {}),
                **settings,
            }
        )
        _demand_effect(usual, chosen)
        return chosen

    def _connect(self, daemon: Daemon, place: Path, settings: Settings) -> None:
        """Connect a daemon to the network of the daemons in a directory, on its engine.

        Raises:
            DindError: the engine refuses to.
        """
        from docker.errors import APIError

        engine = self._run.engine(settings)
        network = layout.network_name(place)
        try:
            self._make_network(place, engine)
            engine.client.api.connect_container_to_network(
                daemon.id, network, aliases=[daemon.name]
            )
            names.tell(engine, daemon.id, self._run.progress)
        except APIError as error:
            raise DindError(
                f"dind_factory: the daemon {daemon.name!r} cannot be connected to the network "
                f"{network}, in which daemons reach each other by name.",
                evidence=f"{engine.url}: {error.explanation or error}",
                remedy=[
                    "Look at the engine's networks: docker network ls. Those that nobody uses are "
                    "removed by docker network prune.",
                ],
            ) from error

    def _make_network(self, place: Path, engine: Engine) -> None:
        """Make the network of a directory on this engine, if there is none."""
        from docker.errors import APIError

        with self._lock:
            if (engine, place) in self._networks:
                return
            name, mark = layout.network_name(place), place / layout.NETWORK
            # The reaper, which ends the run in this process's place, is told before there is one.
            with mark.open("a") as note:
                note.write(f"{engine.url}\n")
            ours = labels.make(place.name, mode="", keep="never", home=mark)
            ours |= labels.of_container(engine.own_container_id)
            ours[labels.ROLE] = "network"
            api: Any = engine.client.api
            try:
                # Older engines make a second one of the same name unless told otherwise.
                api.create_network(
                    name,
                    driver="bridge",
                    options=subnets.options(api.networks()),
                    labels=ours,
                    check_duplicate=True,
                )
            except APIError as error:
                # Two URLs may lead to one engine, which has the network by the other one then.
                if error.status_code != HTTPStatus.CONFLICT or not _has(api, name, ours):
                    raise
            self._networks.append((engine, place))

    def close(self, *, failed: bool = False) -> None:
        """End all daemons of the factory, and remove their network.

        The run's own clusters stay, where `--dind-keep` or `--dind-reuse` says so.

        Args:
            failed: Whether a test failed, which keeps them with `keep="on-failure"`.
        """
        from docker.errors import APIError

        self._abandon()
        patience = self._run.patience
        stay: dict[str, Path] = {}
        for cluster in self._clusters:
            there = [one for one in cluster._daemons if _stays(one, failed=failed)]
            stay |= {one.id: one.record.home.path.parent for one in there}
            if there:
                # What is left in it, the next run that takes it up removes.
                with contextlib.suppress(Exception):
                    patience.within(cluster._leave)
            cluster.close()
        try:
            for _, end in self._lent:
                end()
            for daemon in self._run.daemons:
                # What is not ended now, the end of the run tells of.
                if daemon.id not in stay:
                    patience.within(daemon.stop)
            for engine, place in self._networks:
                if place in stay.values():
                    continue
                # What is still in its way, the reaper or the next run's sweep removes.
                with contextlib.suppress(APIError):
                    name = layout.network_name(place)
                    patience.within(partial(engine.client.api.remove_network, name))
        finally:
            # A daemon that can't be removed holds up neither the others nor the leases.
            self._kept = self._run.close(failed=failed)


def _leave_alone(daemon: Daemon) -> None:
    """Do nothing with a daemon."""


def _stays(daemon: Daemon, *, failed: bool) -> bool:
    """Tell whether a daemon of a cluster outlives the run, given whether a test failed."""
    from .starter import is_kept

    found = records.read(daemon.record.home)
    return found is not None and (bool(found[1].reuse) or is_kept(found[1], failed=failed))


def _is_reused(daemon: Daemon) -> bool:
    """Tell whether a daemon is for runs of a name."""
    found = records.read(daemon.record.home)
    return found is not None and bool(found[1].reuse)


def _demand_name(call: str, name: str) -> None:
    """Check the name of a daemon; an empty one is made up.

    Raises:
        SettingsError: it can't have this one.
    """
    is_valid = _NAME.fullmatch(name) and name not in _TAKEN and not name.startswith(PREFIX)
    if name and not is_valid:
        raise SettingsError(
            f"{call}: {shown(name)} is not a valid name.",
            evidence="Valid: 1 to 22 of a-z, 0-9 and -, the first not -, but for "
            f"{', '.join(sorted(_TAKEN))}, and {PREFIX}…, as dind_fresh's are named.",
            remedy=["Give a valid name, or none."],
        )


def _demand_effect(usual: Settings, chosen: Settings) -> None:
    """Check that no setting is given that is one of the whole run: it would have no effect.

    Args:
        usual: The settings that a daemon has unless told otherwise.
        chosen: Those that it is to have.

    Raises:
        SettingsError: one is.
    """
    for name in usual.of_run():
        value = getattr(chosen, name)
        if value != getattr(usual, name):
            raise SettingsError(
                f"dind_factory: {name}={value!r} can't be had for a further daemon.",
                evidence="It is a setting of the run, or of the daemon that dind_daemon gives; "
                "the factory's daemons end with the session.",
                remedy=[
                    f"Leave {name} out.",
                    f"Set it for the run: --dind-{name}, or dind_config.",
                ],
            )


def _has(api: Any, name: str, ours: Mapping[str, str]) -> bool:
    """Tell whether the network of this name on an engine is this run's."""
    from docker.errors import NotFound

    try:
        found = api.inspect_network(name)["Labels"] or {}
    except NotFound:
        return False
    same = (labels.RUN, labels.OWNER, labels.HOME)
    return all(found.get(label) == ours[label] for label in same)
