"""The removal of all that a guard's tests left on the engine, found by its labels."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...lifetime import labels
from .journal import GAVE, LABELLED, Journal
from .journal import SWARM as SWARM_JOINED
from .listing import CONTAINERS, labelled
from .roles import IMAGE, NETWORK, SWARM, VOLUME
from .run_labels import created

if TYPE_CHECKING:
    from ...engine.engine import Engine

_NO_NAME = "<none>:<none>"
# An object that is being made when its maker is killed appears after a moment.
_PASSES = 10
_PATIENCE_SECONDS = (0.05, 0.1, 0.2, 0.4)


def purge(engine: Engine, home: Path, container: str = "") -> None:
    """Remove the objects with the labels of a home's daemon, and the names it gave to images.

    Args:
        engine: The outer engine.
        home: The home.
        container: The container that has ended with the home in it: what it noted there is gone.
    """
    api: Any = engine.client.api
    journal = None if container else Journal(home)
    # Where no guard has begun, nothing is known to be this run's.
    since = (journal and journal.since()) or float("inf")
    patience = iter(_PATIENCE_SECONDS)
    if journal:
        _end_swarm(api, str(home), journal)
    for _ in range(_PASSES):
        went = [*_purge(api, (str(home), container), since)]
        if journal:
            went += _take_names_back(api, journal)
        if not went:
            return
        if not any(went):
            # It may be that the engine is removing it, as a container with --rm that has ended.
            seconds = next(patience, None)
            if seconds is None:
                return
            time.sleep(seconds)


def _purge(api: Any, whose: tuple[str, str], since: float) -> Iterator[bool]:
    """Remove the labelled objects; yields for each whether it was removed."""
    from ...engine import containers

    for role in CONTAINERS:
        for container in labelled(api, role, *whose):
            yield _try(containers.remove, api, container["Id"])
    for network in labelled(api, NETWORK, *whose):
        yield _try(api.remove_network, network["Id"])
    for volume in labelled(api, VOLUME, *whose):
        yield _try(api.remove_volume, volume["Name"])
    for image in sorted(labelled(api, IMAGE, *whose), key=lambda item: -int(item["Created"])):
        try:
            parent = api.inspect_image(image["Id"])["Parent"]
        except _not_found():
            continue
        names = [name for name in image["RepoTags"] or [] if name != _NO_NAME]
        for name in names or [image["Id"]]:
            # Not by force: what somebody else has made of it stays, and so does it.
            yield _try(api.remove_image, name, noprune=True)
        _remove_steps(api, parent, since)


def _end_swarm(api: Any, home: str, journal: Journal) -> None:
    """Leave the swarm that the engine joined in the run, or remove what the run made in it."""
    records = [record for record in journal.read() if record[0] in (SWARM_JOINED, LABELLED)]
    if not records:
        return
    node = (api.info().get("Swarm") or {}).get("NodeID")
    if node and any(joined == node for _, joined, _ in records):
        _try(api.leave_swarm, force=True)
    else:
        filters = {"label": [f"{labels.ROLE}={SWARM}", f"{labels.HOME}={home}"]}
        # The services are first: they use the others.
        for listing, removing in (
            (api.services, api.remove_service),
            (api.secrets, api.remove_secret),
            (api.configs, api.remove_config),
        ):
            with contextlib.suppress(_api_error()):
                for item in listing(filters=filters):
                    _try(removing, item["ID"])
    for network in {network for _, _, network in records if network}:
        # With a swarm that the engine still is in, it is in use.
        _try(api.remove_network, network)


def _remove_steps(api: Any, image: str, since: float) -> None:
    """Remove the images of single steps below one that is gone, as far as the run made them.

    The older builder gives them no labels. Older ones are the host's build cache; one that
    something else is made of is not removed by the engine.
    """
    while image:
        try:
            details = api.inspect_image(image)
        except _api_error():
            # It went with what was made of it: Podman says so of a bare id by an error of its own.
            return
        if details["RepoTags"] or created(details) < since:
            return
        if not _try(api.remove_image, image, noprune=True):
            return
        image = details["Parent"]


def _take_names_back(api: Any, journal: Journal) -> Iterator[bool]:
    """Remove the names that tests gave to images that stay; yields whether each was removed."""
    for kind, image, name in dict.fromkeys(journal.read()):
        if kind != GAVE:
            continue
        with contextlib.suppress(_not_found()):
            details = api.inspect_image(name)
            # With its last name an image would go too.
            if details["Id"] == image and len(details["RepoTags"]) > 1:
                yield _try(api.remove_image, name, noprune=True)


def _try(remove: Any, *arguments: Any, **options: Any) -> bool:
    """Try a removal; returns whether it succeeded: objects in use and missing ones stay."""
    try:
        remove(*arguments, **options)
    except _api_error():
        return False
    return True


def _api_error() -> type[Exception]:
    from docker.errors import APIError

    return APIError


def _not_found() -> type[Exception]:
    from docker.errors import NotFound

    return NotFound
