"""Images: made sure of on the outer engine, and brought from there into a daemon."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from ..errors import ImageUnavailable
from ..lifetime import layout
from ..lifetime.files import Files
from . import streams, transfer

if TYPE_CHECKING:
    import docker

PULL_SILENCE_SECONDS = 300
"""What may pass in a pull without anything new. An engine that extracts a large layer on a slow
disk is quiet for minutes, so this tells a registry that is dead from one that is slow, no more."""

_CHUNK = 256 * 1024
_DOWNLOADING = "Downloading"

Progress = Callable[[str], None]
"""Where a line on what takes long goes."""


class Supply:
    """Images of the outer engine for one daemon; the time that pulls take is kept apart.

    Attributes:
        engine: A client on the outer engine.
        progress: Where a line on what takes long goes.
        pulled: Seconds that pulls took so far; 0 where nothing was missing.
    """

    def __init__(self, engine: docker.DockerClient, progress: Progress) -> None:
        self.engine = engine
        self.progress = progress
        self.pulled = 0.0
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds since this was made, without the pulls: a slow registry is no slow daemon."""
        return time.monotonic() - self._began - self.pulled

    def ensure(self, name: str) -> dict[str, Any]:
        """What the outer engine knows of an image, pulled first when it is missing.

        Raises:
            ImageUnavailable: it is missing and cannot be pulled, or its name is none.
        """
        found = find(self.engine, name)
        if found is not None:
            return found
        began = time.monotonic()
        try:
            _pull(self.engine, name, self.progress)
        finally:
            self.pulled += time.monotonic() - began
        found = find(self.engine, name)
        if found is None:
            raise _cannot_pull(name, "The engine says that it has pulled it, but does not have it.")
        return found


def ensure(engine: docker.DockerClient, name: str, progress: Progress) -> dict[str, Any]:
    """The same for an image whose pull nobody times."""
    return Supply(engine, progress).ensure(name)


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


@dataclass(frozen=True)
class _Layer:
    """A layer on its way: the bytes that are here, and all that there will be."""

    here: int
    total: int


def _pull(engine: docker.DockerClient, name: str, progress: Progress) -> None:
    progress(f"pulling {name}")
    layers: dict[str, _Layer] = {}
    # By ids, the last that was told: an engine may repeat it for as long as nothing comes.
    last: dict[str, dict[str, Any]] = {}
    pace, moved = transfer.Pace(), time.monotonic()
    try:
        for event in streams.read(lambda: _told_of_pull(engine, name)):
            id_ = str(event.get("id", ""))
            if last.get(id_) != event:
                last[id_], moved = event, time.monotonic()
            elif time.monotonic() - moved > PULL_SILENCE_SECONDS:
                raise _silent(name, f"The engine repeats itself: {event}.")
            detail = event.get("progressDetail") or {}
            if event.get("status") == _DOWNLOADING and detail.get("total"):
                layers[id_] = _Layer(detail["current"], detail["total"])
            elif id_ in layers:
                # Its download is complete, and what is told of it now is something else.
                layers[id_] = _Layer(layers[id_].total, layers[id_].total)
            if layers and pace.due():
                here = sum(layer.here for layer in layers.values())
                total = sum(layer.total for layer in layers.values())
                progress(
                    f"pulling {name}: {here / transfer.MEGA:.0f} of {total / transfer.MEGA:.0f} MB"
                )
    except streams.Silent as error:
        raise _silent(name, str(error)) from error
    except streams.Failed as error:
        raise _cannot_pull(name, str(error)) from error
    progress(f"pulled {name}")


def _told_of_pull(engine: docker.DockerClient, name: str) -> Iterator[Any]:
    """The events of a pull; docker-py's own call would wait for the next one for ever."""
    from docker import auth
    from docker.utils import parse_repository_tag

    repository, tag = parse_repository_tag(name)
    registry, _ = auth.resolve_repository_name(repository)
    api: Any = engine.api
    login = auth.get_config_header(api, registry)
    answer = api._post(
        api._url("/images/create"),
        params={"fromImage": repository, "tag": tag or "latest"},
        headers={"X-Registry-Auth": login} if login else {},
        stream=True,
        timeout=PULL_SILENCE_SECONDS,
    )
    with contextlib.closing(answer):
        api._raise_for_status(answer)
        yield from api._stream_helper(answer, decode=True)


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


def _silent(name: str, evidence: str) -> ImageUnavailable:
    return ImageUnavailable(
        f"The image {name!r} is not on the outer engine and cannot be pulled: its registry has "
        f"sent nothing for {PULL_SILENCE_SECONDS:g} s.",
        evidence=evidence,
        remedy=[
            "Try again: an engine keeps the layers that it has.",
            f"Look from the engine's machine what the registry does: docker pull {name}",
            "Check the way to the registry: its proxy, its mirror, its name server.",
            f"Put it there by other means: docker load, or docker build -t {name} .",
        ],
    )


def bring(supply: Supply, daemon: docker.DockerClient, names: Sequence[str], files: Files) -> None:
    """Have images of the outer engine in a daemon, in their present state; load what is not.

    What came from outside is noted in the daemon's home, by the ids it has there: the same image
    has other ids in other kinds of image store.

    Raises:
        ImageUnavailable: one is missing outside and cannot be pulled.
    """
    had = _noted(files.read(layout.IMAGES) or "")
    wanted = {name: str(supply.ensure(name)["Id"]) for name in names}
    lacking = [
        name for name, id_ in wanted.items() if had.get(name) != id_ or not _id(daemon, name)
    ]
    load(supply.engine, daemon, lacking, supply.progress)
    _note(files, had | wanted)


def noted(files: Files, daemon: docker.DockerClient) -> dict[str, str]:
    """The names that were brought into a daemon so far, each with the id it has there."""
    found = {name: _id(daemon, name) for name in _noted(files.read(layout.IMAGES) or "")}
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
    brought = _noted(files.read(layout.IMAGES) or "")
    _note(files, {name: id_ for name, id_ in brought.items() if name in names})


def _note(files: Files, brought: Mapping[str, str]) -> None:
    files.write(layout.IMAGES, "".join(f"{id_} {name}\n" for name, id_ in brought.items()))


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
    engine: docker.DockerClient,
    daemon: docker.DockerClient,
    names: Sequence[str],
    progress: Progress,
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

    sizes = [int(ensure(engine, name, progress).get("Size", 0)) for name in names]
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
            return transfer.send(daemon, archive, _listed(names), progress, total=sum(sizes))
    except (APIError, RequestException) as error:
        raise transfer.refused(_listed(names), str(error)) from error


def _listed(names: Sequence[str]) -> str:
    return f"The image {names[0]!r}" if len(names) == 1 else f"The images {', '.join(names)}"
