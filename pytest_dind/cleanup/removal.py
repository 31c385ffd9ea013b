"""The removal of what a test made in a daemon, and of nothing else."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from ..errors import DindError
from .inventory import CONTAINER, NETWORK, VOLUME, Resource, Resources

if TYPE_CHECKING:
    import docker

# Resources that are made or restarted during a round show in the next one.
_ROUNDS = 5
_THREADS = 8
_REMOVED_SECONDS = 10


def remove(client: docker.DockerClient, find: Callable[[], Resources]) -> None:
    """Remove resources in rounds, until none is found any more.

    Args:
        client: On the daemon.
        find: Looks up what there is to remove, for each round.

    Raises:
        DindError: something can't be removed.
    """
    refusals: list[str] = []
    for _ in range(_ROUNDS):
        resources = list(find().values())
        if not resources:
            return
        with ThreadPoolExecutor(_THREADS) as pool:
            refusals = _round(client, resources, pool)
    resources = list(find().values())
    if resources:
        raise DindError(
            f"dind_clean cannot remove {', '.join(map(str, resources))}.",
            evidence="\n".join(refusals),
            remedy=[
                "Stop what makes such things again and again before the test ends.",
                "A container of a wider fixture may use it: let the fixture make it, too.",
            ],
        )


def _round(
    client: docker.DockerClient, resources: list[Resource], pool: ThreadPoolExecutor
) -> list[str]:
    """Remove resources; gives the reasons of those that could not be removed."""

    def of(*kinds: str) -> list[Resource]:
        return [resource for resource in resources if resource.kind in kinds]

    def attempt(some: list[Resource]) -> list[str]:
        return [*filter(None, pool.map(lambda resource: _remove(client, resource), some))]

    # A network takes as long to remove as a container does. Once nothing is connected to it, both
    # can go at the same time; and containers end faster when there is nothing to disconnect.
    ends = [end for ends in pool.map(lambda net: _ends(client, net), of(NETWORK)) for end in ends]
    list(pool.map(lambda end: _disconnect(client, *end), ends))
    # A volume in use can't be removed.
    return attempt(of(CONTAINER, NETWORK)) + attempt(of(VOLUME))


def _ends(client: docker.DockerClient, network: Resource) -> list[tuple[str, str]]:
    """The connections of a network: the containers, also those of wider fixtures, each with it."""
    from docker.errors import APIError

    with contextlib.suppress(APIError):
        found: dict[str, Any] = client.api.inspect_network(network.id)
        return [(container, network.id) for container in found.get("Containers") or {}]
    return []


def _disconnect(client: docker.DockerClient, container: str, network: str) -> None:
    from docker.errors import APIError

    api: Any = client.api
    with contextlib.suppress(APIError):
        api.disconnect_container_from_network(container, network, force=True)


def _remove(client: docker.DockerClient, resource: Resource) -> str:
    """Remove one resource; gives the reason if it could not be removed, else nothing."""
    from docker.errors import APIError, NotFound

    api: Any = client.api
    try:
        if resource.kind == CONTAINER:
            # Three times faster than a removal that has to kill; one that doesn't run is refused.
            with contextlib.suppress(APIError):
                api.kill(resource.id)
            # Of one that restarts it is the end, too; its anonymous volumes go with it.
            api.remove_container(resource.id, force=True, v=True)
        elif resource.kind == NETWORK:
            api.remove_network(resource.id)
        else:
            api.remove_volume(resource.id, force=True)
    except NotFound:
        pass
    except APIError as error:
        # 409: the engine is removing it already, as one with --rm that has ended.
        if resource.kind == CONTAINER and error.status_code == HTTPStatus.CONFLICT:
            with contextlib.suppress(NotFound):
                api.wait(resource.id, condition="removed", timeout=_REMOVED_SECONDS)
        return f"{resource}: {error.explanation}"
    return ""


@dataclass(frozen=True)
class ImageSnapshot:
    """The images and the build cache of a daemon at a moment."""

    tags: dict[str, str]
    ids: frozenset[str]
    cache: frozenset[str]

    @classmethod
    def take(cls, client: docker.DockerClient, *, cache: bool) -> ImageSnapshot:
        """Take a snapshot; of the build cache only on request."""
        api: Any = client.api
        found = api.images()
        tags = {tag: item["Id"] for item in found for tag in item["RepoTags"] or []}
        tags.pop("<none>:<none>", None)
        # Those between two layers of a build, too.
        ids = frozenset(item["Id"] for item in api.images(all=True))
        return cls(tags, ids, frozenset(_cache(api) if cache else ()))


def restore_images(
    client: docker.DockerClient, before: ImageSnapshot, *, images: bool, build_cache: bool
) -> None:
    """Remove images and build cache that a snapshot does not have, and give names back."""
    from docker.errors import APIError
    from docker.utils import parse_repository_tag

    api: Any = client.api
    now = ImageSnapshot.take(client, cache=build_cache)
    if images:
        for tag in now.tags.keys() - before.tags.keys():
            with contextlib.suppress(APIError):
                api.remove_image(tag)
        for tag, id_ in before.tags.items():
            if now.tags.get(tag) != id_ and id_ in now.ids:
                repository, name = parse_repository_tag(tag)
                # In mode socket somebody else may have moved it, who keeps it.
                with contextlib.suppress(APIError):
                    api.tag(id_, repository, name)
        for id_ in ImageSnapshot.take(client, cache=False).ids - before.ids:
            with contextlib.suppress(APIError):
                api.remove_image(id_, force=True)
    for id_ in now.cache - before.cache:
        filters = json.dumps({"id": {id_: True}})
        answer = api._post(api._url("/build/prune"), params={"all": "1", "filters": filters})
        api._raise_for_status(answer)


def _cache(api: Any) -> Iterable[str]:
    answer = api._get(api._url("/system/df"), params={"type": "build-cache", "verbose": "1"})
    found = api._result(answer, True)
    # In one place before `versions.DISK_USAGE`, in the other since, in both for a while.
    items = (found.get("BuildCacheUsage") or {}).get("Items") or found.get("BuildCache") or []
    return [item["ID"] for item in items]
