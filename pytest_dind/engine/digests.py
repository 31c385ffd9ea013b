"""Images that are named by their digest: `name@sha256:…`, `name:tag@sha256:…`.

No archive of images keeps such a name, and an engine gives it to an image by a pull alone. With a
storage driver of its own it keeps the names in one file, which it reads when it starts.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from . import streams
from .images import find

if TYPE_CHECKING:
    import docker

    from .images import ImageSource

_CONTAINERD = "io.containerd."
_OTHER_DIGEST = (
    "containerd's store, which it has, finds an image by the digest of what was loaded, and the "
    "outer engine's archives have other digests than the registry"
)


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


def full(name: str) -> str:
    """The name with all that is the default, as containerd keeps it."""
    repository, tag, digest = split(name)
    found = _short(repository)
    first, slash, _ = found.partition("/")
    if not slash:
        found = f"docker.io/library/{found}"
    elif not any(one in first for one in ".:") and first != "localhost":
        found = f"docker.io/{found}"
    return f"{found}@{digest}" if digest else f"{found}:{tag or 'latest'}"


def _short(name: str) -> str:
    for default in ("docker.io/", "index.docker.io/", "library/"):
        name = name.removeprefix(default)
    return name


def load(
    source: ImageSource, daemon: docker.DockerClient, names: Sequence[str]
) -> tuple[list[str], dict[str, str]]:
    """Load images into a daemon, and find out which id those named by their digest have there.

    That is not the outer engine's id where one of the two keeps its images in containerd's store
    and the other does not. Each of these images comes in an archive of its own, since an engine
    tells the ids of what it has loaded, and not whose they are.

    Returns:
        The names of the images that the daemon has loaded, and the ids of those without a name;
        and the names by digest, each with the image's id in the daemon.

    Raises:
        ImageUnavailable: one is missing on the outer engine and cannot be pulled.
    """
    loaded = source.load(daemon, [name for name in names if not is_by_digest(name)])
    ids = {}
    for name in filter(is_by_digest, names):
        found = source.load(daemon, [name])
        loaded += found
        for id_ in (*found, str(source.ensure(name)["Id"])):
            details = find(daemon, id_)
            if details is not None:
                ids[name] = str(details["Id"])
                break
    return loaded, ids


def tag(daemon: docker.DockerClient, name: str, id_: str) -> None:
    """Give an image a tag of no other use, where that makes an engine find it by its digest.

    That is so where containerd keeps the images, by their digests: it only asks for a name of the
    same repository.
    """
    repository, _, digest = split(name)
    if id_ == digest and _has_containerd_store(daemon):
        daemon.images.get(id_).tag(repository, digest.replace(":", "-")[:19])


def tell(
    daemon: docker.DockerClient, images: Mapping[str, str], progress: streams.Progress, why: str
) -> None:
    """Tell of images that a daemon has, but not by their names by digest; by their tags instead.

    Args:
        daemon: The daemon.
        images: Their names, each with the id that it has in the daemon.
        progress: Writes a progress line.
        why: Why it can't have them by these names, if it has a storage driver of its own.
    """
    for name, id_ in images.items():
        if find(daemon, name) is not None:
            continue
        if _has_containerd_store(daemon):
            why = _OTHER_DIGEST
        repository, tag, _ = split(name)
        found = id_
        if tag:
            found = f"{repository}:{tag}"
            daemon.images.get(id_).tag(repository, tag)
        progress(f"the daemon has {name} by {found}, not by its digest: {why}")


def _has_containerd_store(daemon: docker.DockerClient) -> bool:
    status = daemon.info()["DriverStatus"] or []
    return any(str(value).startswith(_CONTAINERD) for _, value in status)


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
