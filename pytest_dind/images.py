"""Images: made sure of on the outer engine, and brought from there into a daemon."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from . import transfer
from .errors import ImageUnavailable
from .files import Files

if TYPE_CHECKING:
    import docker

BROUGHT = "images"
"""In a daemon's home: the images that came from the outer engine, an id and a name a line."""

_CHUNK = 256 * 1024
_DOWNLOADING = "Downloading"

Say = Callable[[str], None]
"""Where a line on what takes long goes."""


def ensure(engine: docker.DockerClient, name: str, say: Say) -> dict[str, Any]:
    """What the outer engine knows of an image, pulled first when it is missing.

    Raises:
        ImageUnavailable: it is missing and cannot be pulled, or its name is none.
    """
    found = find(engine, name)
    if found is None:
        _pull(engine, name, say)
        api: Any = engine.api
        found = dict(api.inspect_image(name))
    return found


def find(engine: docker.DockerClient, name: str) -> dict[str, Any] | None:
    """What the outer engine knows of an image; None when it is missing.

    Raises:
        ImageUnavailable: its name is none.
    """
    from docker.errors import APIError, ImageNotFound, NullResource

    api: Any = engine.api
    try:
        found: dict[str, Any] = api.inspect_image(name)
    except ImageNotFound:
        return None
    except NullResource as error:
        raise _no_name(name, "It is empty.") from error
    except APIError as error:
        if error.status_code != HTTPStatus.BAD_REQUEST:
            raise
        raise _no_name(name, error.explanation or str(error)) from error
    return found


def _pull(engine: docker.DockerClient, name: str, say: Say) -> None:
    from docker.errors import APIError
    from docker.utils import parse_repository_tag

    repository, tag = parse_repository_tag(name)
    say(f"pulling {name}")
    # By the ids of layers: the bytes that are here, and that there will be.
    layers: dict[str, tuple[int, int]] = {}
    pace = transfer.Pace()
    try:
        for event in engine.api.pull(repository, tag=tag or "latest", stream=True, decode=True):
            if "error" in event:
                raise _cannot_pull(name, event["error"])
            detail = event.get("progressDetail") or {}
            if event.get("status") == _DOWNLOADING and detail.get("total"):
                layers[event["id"]] = detail["current"], detail["total"]
            elif event.get("id") in layers:
                # Its download is complete, and what is told of it now is something else.
                layers[event["id"]] = 2 * layers[event["id"]][1:]
            if layers and pace.due():
                here, total = map(sum, zip(*layers.values(), strict=True))
                say(f"pulling {name}: {here / transfer.MEGA:.0f} of {total / transfer.MEGA:.0f} MB")
    except APIError as error:
        raise _cannot_pull(name, error.explanation or str(error)) from error
    say(f"pulled {name}")


def _no_name(name: str, evidence: str) -> ImageUnavailable:
    return ImageUnavailable(
        f"{name!r} is not an image's name.",
        evidence=evidence,
        remedy=["Write it as docker images does, in small letters: name:tag, or host:port/name."],
    )


def _cannot_pull(name: str, evidence: str) -> ImageUnavailable:
    return ImageUnavailable(
        f"The image {name!r} is not on the outer engine and cannot be pulled.",
        evidence=evidence,
        remedy=[
            "Check the name for a typing error.",
            f"Put it there by other means: docker load, or docker build -t {name} .",
            "Check the way to the registry, and docker login.",
        ],
    )


def bring(
    engine: docker.DockerClient,
    daemon: docker.DockerClient,
    names: Sequence[str],
    files: Files,
    say: Say,
) -> None:
    """Have images of the outer engine in a daemon, in their present state; load what is not.

    What came from outside is noted in the daemon's home, by the ids it has there: the same image
    has other ids in other kinds of image store.

    Raises:
        ImageUnavailable: one is missing outside and cannot be pulled.
    """
    had = _noted(files.read(BROUGHT) or "")
    wanted = {name: str(ensure(engine, name, say)["Id"]) for name in names}
    lacking = [
        name for name, id_ in wanted.items() if had.get(name) != id_ or not _id(daemon, name)
    ]
    load(engine, daemon, lacking, say)
    _note(files, had | wanted)


def noted(files: Files, daemon: docker.DockerClient) -> dict[str, str]:
    """The names that were brought into a daemon so far, each with the id it has there."""
    found = {name: _id(daemon, name) for name in _noted(files.read(BROUGHT) or "")}
    return {name: id_ for name, id_ in found.items() if id_}


def drop(
    daemon: docker.DockerClient, before: Mapping[str, str], names: Sequence[str], files: Files
) -> None:
    """Remove what was brought into a daemon before and is not wanted, or was replaced.

    Args:
        daemon: The daemon.
        before: What `noted` gave before the present images were brought.
        names: The images that are wanted.
        files: The daemon's files.
    """
    from docker.errors import APIError

    for name, id_ in before.items():
        if name in names and _id(daemon, name) == id_:
            continue
        # A conflict: it has another name that is wanted.
        with contextlib.suppress(APIError):
            daemon.images.remove(id_ if name in names else name)
    brought = _noted(files.read(BROUGHT) or "")
    _note(files, {name: id_ for name, id_ in brought.items() if name in names})


def _note(files: Files, brought: Mapping[str, str]) -> None:
    files.write(BROUGHT, "".join(f"{id_} {name}\n" for name, id_ in brought.items()))


def _noted(note: str) -> dict[str, str]:
    pairs = (line.partition(" ") for line in note.splitlines())
    return {name: id_ for id_, _, name in pairs}


def _id(daemon: docker.DockerClient, name: str) -> str:
    """The id that an image has in a daemon; empty when it is not there."""
    from docker.errors import ImageNotFound

    api: Any = daemon.api
    try:
        return str(api.inspect_image(name)["Id"])
    except ImageNotFound:
        return ""


def load(
    engine: docker.DockerClient, daemon: docker.DockerClient, names: Sequence[str], say: Say
) -> list[str]:
    """Stream images from the outer engine into a daemon, all in one, without a file in between.

    Returns:
        What the daemon says it has of them: names, or the ids of those without.

    Raises:
        ImageUnavailable: one is missing outside and cannot be pulled.
    """
    if not names:
        return []
    from docker.errors import APIError
    from requests.exceptions import RequestException

    sizes = [int(ensure(engine, name, say).get("Size", 0)) for name in names]
    api: Any = engine.api
    try:
        # docker-py's own call takes one name alone.
        answer = api._get(
            api._url("/images/get"),
            params={"names": list(names)},
            stream=True,
            # An engine may write the whole archive somewhere before it sends the first of it.
            timeout=transfer.SILENCE_SECONDS,
        )
        with contextlib.closing(answer):
            archive = api._stream_raw_result(answer, _CHUNK, False)
            return transfer.send(daemon, archive, _listed(names), say, total=sum(sizes))
    except (APIError, RequestException) as error:
        raise transfer.refused(_listed(names), str(error)) from error


def _listed(names: Sequence[str]) -> str:
    return f"The image {names[0]!r}" if len(names) == 1 else f"The images {', '.join(names)}"
