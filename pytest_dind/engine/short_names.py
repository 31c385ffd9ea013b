"""Short names of images, which Podman completes: its `app:1` is `localhost/app:1` in an archive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import docker


def restore(
    daemon: docker.DockerClient, asked: Mapping[str, Mapping[str, Any]], loaded: Sequence[str]
) -> list[str]:
    """Name images in a daemon as they were asked for, where the outer engine names them otherwise.

    Args:
        daemon: The daemon, which has just loaded them.
        asked: The names that were asked for, each with the image's details on the outer engine.
        loaded: The names by which the daemon has loaded the images.

    Returns:
        The same, with the names that were asked for in place of the completed ones.
    """
    found = list(loaded)
    wanted = {_tagged(name) for name in asked}
    for name, details in asked.items():
        short = _tagged(name)
        if short in found:
            continue
        tags = details.get("RepoTags") or []
        full = next((one for one in found if one in tags and one.endswith(f"/{short}")), "")
        # No name is completed where it is an id or a digest; the daemon may complete it itself.
        if not full or _completes(daemon, short):
            continue
        repository, _, tag = short.rpartition(":")
        daemon.images.get(full).tag(repository, tag)
        if full in wanted:
            found.append(short)
        else:
            daemon.images.remove(full)
            found[found.index(full)] = short
    return found


def _completes(daemon: docker.DockerClient, short: str) -> bool:
    """Whether a daemon finds an image by a short name that the image does not have."""
    from docker.errors import ImageNotFound

    api: Any = daemon.api
    try:
        details = api.inspect_image(short)
    except ImageNotFound:
        return False
    return short not in (details.get("RepoTags") or [])


def _tagged(name: str) -> str:
    """A name with its tag, also where that is the default."""
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"
