"""Images that are named by their digest: `name@sha256:…`, `name:tag@sha256:…`.

No archive of images keeps such a name, and an engine gives it to an image by a pull alone. With a
storage driver of its own it keeps the names in one file, which it reads when it starts.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from . import streams
from .images import find

if TYPE_CHECKING:
    import docker

_CONTAINERD = "io.containerd."


def is_by_digest(name: str) -> bool:
    """Whether an image is named by its digest."""
    return "@" in name


def split(name: str) -> tuple[str, str, str]:
    """The repository, the tag, empty without one, and the digest."""
    named, _, digest = name.partition("@")
    head, slash, last = named.rpartition("/")
    short, _, tag = last.partition(":")
    return f"{head}{slash}{short}", tag, digest


def reference(name: str) -> str:
    """The name as engines keep it: without the tag, and without what is the default."""
    repository, _, digest = split(name)
    return f"{_short(repository)}@{digest}"


def _short(name: str) -> str:
    for default in ("docker.io/", "index.docker.io/", "library/"):
        name = name.removeprefix(default)
    return name


def tag(daemon: docker.DockerClient, name: str, id_: str) -> None:
    """Give an image a tag of no other use, where that makes an engine find it by its digest.

    That is so where containerd keeps the images, by their digests: it only asks for a name of the
    same repository.
    """
    status = daemon.info()["DriverStatus"] or []
    if any(str(value).startswith(_CONTAINERD) for _, value in status):
        repository, _, digest = split(name)
        daemon.images.get(id_).tag(repository, digest.replace(":", "-")[:19])


def tell(
    daemon: docker.DockerClient, images: Mapping[str, str], progress: streams.Progress, why: str
) -> None:
    """Tell of images that a daemon has, but not by their names by digest; by their tags instead.

    Args:
        daemon: The daemon.
        images: Their names, each with the id that it has on the outer engine.
        progress: Writes a progress line.
        why: Why it can't have them by these names.
    """
    for name, id_ in images.items():
        if not is_by_digest(name) or find(daemon, name) is not None:
            continue
        repository, tag, _ = split(name)
        found = "its id alone"
        if find(daemon, id_) is not None:
            found = id_
            if tag:
                found = f"{repository}:{tag}"
                daemon.images.get(id_).tag(repository, tag)
        progress(f"the daemon has {name} by {found}, not by its digest: {why}")


def references(
    daemon: docker.DockerClient, wanted: Mapping[str, str], dropped: Iterable[str] = ()
) -> str:
    """The contents of a daemon's file of names, with further ones.

    Args:
        daemon: The daemon.
        wanted: The names by digest that it is to have, each with an image's id there.
        dropped: Names of it that are left out.
    """
    api: Any = daemon.api
    repositories: dict[str, dict[str, str]] = {}
    without = {short for name in dropped for short in (_short(name), f"{_short(name)}:latest")}
    for image in api.images():
        for name in set(_names(image)) - without:
            repository = name.partition("@")[0] if "@" in name else name.rpartition(":")[0]
            repositories.setdefault(repository, {})[name] = image["Id"]
    for name, id_ in wanted.items():
        short = reference(name)
        repositories.setdefault(short.partition("@")[0], {})[short] = id_
    return json.dumps({"Repositories": repositories})


def _names(image: Mapping[str, Any]) -> Iterable[str]:
    names = [*(image.get("RepoTags") or []), *(image.get("RepoDigests") or [])]
    return [name for name in names if "<none>" not in name]
