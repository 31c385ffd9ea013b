"""Snapshots of a daemon: what is in one, what it must not be taken of, and its containers."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..backends import engine_errors, records
from ..backends.records import write_json
from ..engine import containers
from ..errors import SettingsError, SnapshotFailed
from ..lifetime import layout, reaper
from ..store import seeding, snapshots
from ..store.snapshots import Snapshot, Wanted

if TYPE_CHECKING:
    import docker

    from ..backends.protocol import Backend, Record
    from ..engine.streams import Progress

_DRIVERS = ("overlay2", "overlayfs")
_OWN_NETWORKS = ("bridge", "host", "none")
_HEALTHY = "Healthcheck"


def known(run: Path) -> list[Snapshot]:
    """The snapshots that a run has, the latest last; there may be earlier ones of the same name."""
    files = sorted(run.glob(f"{layout.SNAPSHOT}*.json"), key=lambda file: file.stat().st_mtime_ns)
    found = (Snapshot.from_json(file.read_text()) for file in files)
    return [snapshot for snapshot in found if snapshot is not None]


def note(run: Path, snapshot: Snapshot) -> None:
    """Let the processes of a run know of a snapshot."""
    write_json(run / f"{snapshot.key}.json", dataclasses.asdict(snapshot))


def take(
    record: Record,
    backend: Backend,
    client: docker.DockerClient,
    progress: Progress,
    wanted: Wanted,
) -> Snapshot:
    """Take a snapshot of a daemon, whose running containers are paused for it.

    Args:
        record: The daemon.
        backend: Its backend.
        client: A client on it.
        progress: Where a line on what takes long goes.
        wanted: The snapshot.

    Raises:
        DindError: it can't be taken; nothing of it is left, and the daemon is as it was.
    """
    name = wanted.name
    found = records.read(record.home)
    if found is None:
        raise engine_errors.gone(record.home, FileNotFoundError("There is no record of it."))
    settings = found[1]
    seeding.demand_store(settings)
    has_cluster = (record.home.path / layout.KUBECONFIG).exists()
    _demand_fit(client.info(), name, has_cluster=has_cluster)
    running = _running(client, name)
    container = backend.container(record)
    details: Any = container.attrs if container is not None else {}
    snapshot = Snapshot(
        name=name,
        key=wanted.key,
        mode=record.mode,
        image=settings.image,
        image_id=details.get("Image", ""),
        engine=reaper.engine_of(record.home.path),
        version=record.version,
        arg=settings.arg,
        running=tuple(item["Id"] for item in running),
        images=tuple(sorted(tag for image in client.images.list() for tag in image.tags)),
        once=wanted.once,
        networks=any(one["Name"] not in _OWN_NETWORKS for one in client.api.networks()),
    )
    mark = record.home.path / layout.RESTARTING
    try:
        # It does not answer meanwhile, which is no loss.
        mark.touch()
        with _paused(client, running, name):
            backend.freeze(record, settings, snapshot, progress)
    finally:
        mark.unlink(missing_ok=True)
    return snapshot


def _demand_fit(info: dict[str, Any], name: str, *, has_cluster: bool) -> None:
    """Check that a daemon can have a snapshot taken of it.

    Args:
        info: What the daemon says of itself.
        name: The snapshot's name.
        has_cluster: Whether it has a Kubernetes cluster in it.

    Raises:
        SnapshotFailed: it can't.
    """
    root, driver = info.get("DockerRootDir", ""), info.get("Driver", "")
    swarm = (info.get("Swarm") or {}).get("LocalNodeState", "inactive")
    if swarm != "inactive":
        evidence = f"It is in a swarm (its state there is {swarm}), whose nodes know its address."
        remedy = [
            "Take the snapshot before docker swarm init, or after docker swarm leave --force."
        ]
    elif has_cluster:
        evidence = (
            "The nodes of a Kubernetes cluster are in it. A copy has another address, which the "
            "certificate of the cluster's API does not name, and its nodes have ended."
        )
        remedy = [
            "Have the next run find the cluster again: --dind-reuse=NAME.",
            "Have nodes begin with images: --dind-load, or kubernetes(load=[...]); they are in the "
            "warm store from then on.",
        ]
    elif driver not in _DRIVERS:
        evidence = f"Its storage driver is {driver}; layers are shared by {', '.join(_DRIVERS)}."
        remedy = ["Leave out the argument that chooses the storage driver: --dind-arg."]
    elif root != layout.DATA_ROOT:
        evidence = f"Its data-root is {root}, where the store does not look."
        remedy = [f"Leave it at {layout.DATA_ROOT}: --dind-arg, or the image's daemon.json."]
    else:
        return
    raise SnapshotFailed(
        f"No snapshot {name!r} can be taken of the daemon.", evidence=evidence, remedy=remedy
    )


def _running(client: docker.DockerClient, name: str) -> list[dict[str, Any]]:
    """The containers that run, in the order in which they have started.

    Raises:
        SnapshotFailed: one is between two states.
    """
    listed = client.api.containers(all=True)
    amid = [item["Names"][0].lstrip("/") for item in listed if item["State"] == "restarting"]
    if amid:
        raise SnapshotFailed(
            f"No snapshot {name!r} can be taken of the daemon while containers restart.",
            evidence=f"These restart again and again: {', '.join(amid)}.",
            remedy=["Stop them, or mend what they fail on: docker logs NAME."],
        )
    details = [
        containers.inspect(client, item["Id"])
        for item in listed
        if item["State"] in ("running", "paused")
    ]
    return sorted(filter(None, details), key=lambda item: str(item["State"]["StartedAt"]))


@contextmanager
def _paused(
    client: docker.DockerClient, running: Sequence[dict[str, Any]], name: str
) -> Iterator[None]:
    """Have containers paused in this context; those that were paused already stay so.

    Raises:
        SnapshotFailed: one can't be paused.
    """
    from docker.errors import APIError

    paused: list[str] = []
    try:
        for item in running:
            if item["State"].get("Paused"):
                continue
            try:
                client.api.pause(item["Id"])
            except APIError as error:
                # It may have ended by itself just now.
                now = containers.inspect(client, item["Id"])
                if not now or not now["State"]["Running"]:
                    continue
                raise SnapshotFailed(
                    f"No snapshot {name!r} can be taken of the daemon: its container "
                    f"{item['Name'].lstrip('/')} runs, and can't be paused.",
                    evidence=str(error.explanation or error),
                    remedy=["Stop it before: docker stop NAME."],
                ) from error
            paused.append(item["Id"])
        yield
    finally:
        for one in paused:
            with contextlib.suppress(APIError):
                client.api.unpause(one)


def find(run: Path, name: str) -> Snapshot:
    """The snapshot of this name.

    Args:
        run: The directory of the run.
        name: The name.

    Raises:
        SettingsError: the run has none of this name.
    """
    snapshots.demand_name("snapshot", name)
    there = {snapshot.name: snapshot for snapshot in known(run)}
    if name in there:
        return there[name]
    names = ", ".join(map(repr, there)) or "none yet"
    raise SettingsError(
        f"There is no snapshot {name!r}.",
        evidence=f"The snapshots of this run: {names}.",
        remedy=[
            f"Take it before: daemon.snapshot({name!r}), or dind_factory.snapshot({name!r}, "
            "prepare), as in a fixture of session scope that the test asks for.",
            "Give the name of one that there is.",
        ],
    )


def has_health_check(details: dict[str, Any]) -> bool:
    """Whether a container has a health check that can be waited for."""
    test = ((details.get("Config") or {}).get(_HEALTHY) or {}).get("Test") or []
    return bool(test) and test[0] != "NONE"


def start_again(client: docker.DockerClient, snapshot: Snapshot, wait_healthy: Any) -> None:
    """Start the containers that ran when a snapshot was taken, and wait for their health.

    Args:
        client: A client on a daemon that has started from the snapshot.
        snapshot: The snapshot.
        wait_healthy: Waits for the health of the container of this id.

    Raises:
        DindError: one does not start, or does not get healthy.
    """
    from docker.errors import APIError

    checked = []
    for one in snapshot.running:
        details = containers.inspect(client, one)
        name = details.get("Name", one).lstrip("/")
        try:
            client.api.start(one)
        except APIError as error:
            raise SnapshotFailed(
                f"The container {name} of the snapshot {snapshot.name!r} does not start again.",
                evidence=str(error.explanation or error),
                remedy=[
                    "Start the daemon without start=True, and look at the container: docker "
                    f"inspect {name}."
                ],
            ) from error
        if has_health_check(details):
            checked.append(one)
    for one in checked:
        wait_healthy(one)
