"""Images of the outer engine: found, pulled when they are missing, and loaded into a daemon."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from ..causes import explained
from ..errors import ImageUnavailable
from . import archives, short_names, steps, streams
from .streams import Progress

if TYPE_CHECKING:
    import docker

PULL_SILENCE_SECONDS = 300
"""What may pass in a pull without anything new. An engine that extracts a large layer on a slow
disk is quiet for minutes, so this tells a registry that is dead from one that is slow, no more."""

_CHUNK = 256 * 1024
_DOWNLOADING = "Downloading"
_WAITING = ("Pulling fs layer", "Waiting")


class ImageSource:
    """The outer engine as the source of one daemon's images; the time of pulls is kept apart.

    Args:
        client: A client on the outer engine.
        progress: Writes a progress line.

    Attributes:
        pulled: Seconds that pulls took so far; 0 where no image was missing.
    """

    def __init__(self, client: docker.DockerClient, progress: Progress) -> None:
        self.progress = progress
        self.pulled = 0.0
        self._client = client
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds since this was made, without the pulls: a slow registry is no slow daemon."""
        return time.monotonic() - self._began - self.pulled

    def ensure(self, name: str) -> dict[str, Any]:
        """Pull an image when it is missing; gives its details.

        Raises:
            ImageUnavailable: it is missing and can't be pulled.
        """
        found = find(self._client, name)
        if found is not None:
            return found
        began = time.monotonic()
        try:
            _pull(self._client, name, self.progress)
        finally:
            self.pulled += time.monotonic() - began
        found = find(self._client, name)
        if found is None:
            raise _cannot_pull(name, "The engine says that it has pulled it, but does not have it.")
        return found

    def load(self, daemon: docker.DockerClient, names: Sequence[str]) -> list[str]:
        """Stream images into a daemon, all in one, without a file in between.

        Returns:
            The names of the images that the daemon has loaded, and the ids of those without a name.

        Raises:
            ImageUnavailable: one is missing on the outer engine and cannot be pulled.
        """
        if not names:
            return []
        from docker.errors import APIError
        from requests.exceptions import RequestException

        found = {name: self.ensure(name) for name in names}
        what = f"The image {names[0]!r}" if len(names) == 1 else f"The images {', '.join(names)}"
        try:
            with self.archive(found) as (archive, size):
                loaded = archives.send(daemon, archive, what, self.progress, total=size)
        except (APIError, RequestException) as error:
            raise archives.refused(what, str(error)) from error
        return short_names.restore(daemon, found, loaded)

    @contextlib.contextmanager
    def archive(
        self, images: Mapping[str, Mapping[str, Any]]
    ) -> Iterator[tuple[Iterator[bytes], int]]:
        """An archive of images as it comes, and their bytes, about as many as it has.

        Args:
            images: Their names, each with its details.

        Raises:
            docker.errors.APIError: the engine refuses it.
            requests.exceptions.RequestException: it ends before its end.
        """
        # An image with several names is sent once.
        size = sum({one["Id"]: int(one.get("Size", 0)) for one in images.values()}.values())
        api: Any = self._client.api
        # docker-py's own call takes one name alone.
        answer = api._get(
            api._url("/images/get"),
            params={"names": list(images)},
            stream=True,
            # An engine may write the whole archive somewhere before it sends the first of it.
            timeout=streams.SILENCE_SECONDS,
        )
        with contextlib.closing(answer):
            yield api._stream_raw_result(answer, _CHUNK, False), size


def find(client: docker.DockerClient, name: str) -> dict[str, Any] | None:
    """The details of an image; None when it is missing.

    Raises:
        ImageUnavailable: the name is not an image's.
    """
    from docker.errors import APIError, ImageNotFound, NullResource

    api: Any = client.api
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
    """A layer that is being downloaded: its bytes so far, and all of them."""

    here: int
    total: int


def _pull(client: docker.DockerClient, name: str, progress: Progress) -> None:
    layers: dict[str, _Layer] = {}
    # The last event of each id: an engine may repeat it for as long as nothing new comes.
    last: dict[str, dict[str, Any]] = {}
    moved = time.monotonic()
    try:
        with steps.Step(progress, f"pulling {name}", at_once=True, silent=True) as step:
            for event in streams.read(lambda: _told_of_pull(client, name)):
                id_ = str(event.get("id", ""))
                if last.get(id_) != event:
                    last[id_], moved = event, time.monotonic()
                elif time.monotonic() - moved > PULL_SILENCE_SECONDS:
                    raise _silent(name, f"The engine repeats itself: {event}.")
                detail = event.get("progressDetail") or {}
                if event.get("status") == _DOWNLOADING and detail.get("total"):
                    layers[id_] = _Layer(detail["current"], detail["total"])
                elif id_ in layers:
                    # Its download is complete; later events are about its extraction.
                    layers[id_] = _Layer(layers[id_].total, layers[id_].total)
                if layers:
                    _note(step, layers, last)
                step.tick()
    except streams.Silent as error:
        raise _silent(name, str(error)) from error
    except streams.Failed as error:
        raise _cannot_pull(name, f"{error}\n{proxies(client, 'the engine')}") from error
    progress(f"pulled {name}")


def _note(
    step: steps.Step, layers: Mapping[str, _Layer], last: Mapping[str, Mapping[str, Any]]
) -> None:
    """Note how far a pull is, by its layers and the last event of each."""
    here = sum(layer.here for layer in layers.values())
    total = sum(layer.total for layer in layers.values())
    # The engine downloads a few layers at a time, and tells the size of the others later.
    waiting = sum(id_ not in layers and one.get("status") in _WAITING for id_, one in last.items())
    if waiting:
        step.at(here, detail=f"layers to come: {waiting}")
    else:
        step.at(here, total, detail="unpacking" if here == total else "")


def proxies(client: docker.DockerClient, whose: str) -> str:
    """A line for the error of a pull: the proxies that an engine goes through, if it has any.

    Args:
        client: A client on the engine.
        whose: The engine, as the line names it.
    """
    with contextlib.suppress(Exception):
        info = client.info()
        found = [f"{name} {info[name]}" for name in ("HttpProxy", "HttpsProxy") if info.get(name)]
        if found:
            return f"This may be the answer of {whose}'s proxy: {', '.join(found)}."
    return ""


def _told_of_pull(client: docker.DockerClient, name: str) -> Iterator[Any]:
    """The events of a pull. docker-py's own call would wait for the next one for ever."""
    from docker import auth
    from docker.utils import parse_repository_tag

    repository, tag = parse_repository_tag(name)
    registry, _ = auth.resolve_repository_name(repository)
    api: Any = client.api
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
    error = ImageUnavailable(
        f"The image {name!r} is not on the outer engine and cannot be pulled.",
        evidence=evidence,
        remedy=[
            "Check the name for a typing error.",
            f"Put it there by other means: docker load, or docker build -t {name} .",
            "Check the way to the registry, and docker login.",
        ],
    )
    return explained(error)


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
