"""Archives of images, as `docker save` writes them, on their way into a daemon."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..causes import explained
from ..errors import ImageUnavailable, SettingsError
from ..validation import is_image, shown
from . import steps, streams

if TYPE_CHECKING:
    import docker

_CHUNK = 256 * 1024
_LOADED = ("Loaded image: ", "Loaded image ID: ")
_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.zst", ".tar.bz2")


def demand_sources(sources: Iterable[object]) -> None:
    """Check that each source is an image's name or an archive's path.

    Raises:
        SettingsError: one is neither.
    """
    for source in sources:
        if not _is_source(source):
            raise SettingsError(
                f"load: {shown(source)} is neither an image's name nor an archive's path.",
                evidence=f"Its type is {type(source).__name__}. An image's name is in lower case, "
                "but for its registry and its tag.",
                remedy=[
                    "Give names and paths, each as an argument of its own: load(*names).",
                    "Give a docker-py image by its name or id: image.id.",
                ],
            )


def _is_source(source: object) -> bool:
    if not isinstance(source, (str, os.PathLike)):
        return False
    path = os.fspath(source)
    if not isinstance(path, str) or not is_archive(source):
        return is_image(path)
    try:
        # A RuntimeError: `~user` of a user that there isn't.
        return "\0" not in path and bool(os.fsencode(Path(path).expanduser()))
    except (RuntimeError, UnicodeEncodeError):
        return False


def is_archive(image: str | os.PathLike[str]) -> bool:
    """Whether a source is an archive's path: a `Path`, or text that no image is named like."""
    if isinstance(image, os.PathLike):
        return True
    return image.startswith(("/", "./", "../", "~")) or image.endswith(_SUFFIXES)


def load(
    daemon: docker.DockerClient, path: str | os.PathLike[str], progress: streams.Progress
) -> list[str]:
    """Load an archive, compressed or not, into a daemon.

    Returns:
        The names of the images in it, and the ids of those without a name.

    Raises:
        ImageUnavailable: it can't be read, is no archive of images, or has one for another
            platform than the daemon's.
    """
    found = Path(path).expanduser()
    what = f"The archive {str(found)!r}"
    try:
        with found.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            loaded = send(daemon, iter(lambda: file.read(_CHUNK), b""), what, progress, total=size)
    except OSError as error:
        raise ImageUnavailable(
            f"{what} cannot be read.",
            evidence=str(error),
            remedy=["Check the path.", "Give an image by its name, without / at the start."],
        ) from error
    if not loaded:
        raise refused(what, "The daemon found no image in it.")
    _demand_platform(daemon, loaded, what)
    return loaded


def _demand_platform(daemon: docker.DockerClient, loaded: Sequence[str], what: str) -> None:
    """Check that images just loaded are for the daemon's platform, and remove them if not.

    Looked at in the daemon: in the archive the platform may come last, and compressed.

    Raises:
        ImageUnavailable: one is for another platform.
    """
    from docker.errors import APIError

    api: Any = daemon.api
    engine = api.version()
    own = f"{engine['Os']}/{engine['Arch']}"
    others = {}
    for name in loaded:
        details = api.inspect_image(name)
        platform = f"{details['Os']}/{details['Architecture']}"
        if platform != own:
            others[name] = platform
    for name in others:
        with contextlib.suppress(APIError):
            api.remove_image(name)
    if others:
        told = "\n".join(f"{name}: {platform}" for name, platform in others.items())
        raise ImageUnavailable(
            f"{what} is for another platform than the daemon's, {own}.",
            evidence=f"The images in it that can't run there:\n{told}",
            remedy=[
                f"Make it of an image for {own}: docker pull --platform {own}, then docker save.",
                "Build the image for it: docker build --platform "
                f"{own}, or Daemon.build, which builds for the daemon's platform.",
            ],
        )


def send(
    daemon: docker.DockerClient,
    archive: Iterable[bytes],
    what: str,
    progress: streams.Progress,
    *,
    total: int,
) -> list[str]:
    """Send an archive to a daemon; gives the names or ids of the images that it has loaded.

    Args:
        daemon: The daemon.
        archive: The archive's bytes.
        what: The archive, or its images, for texts.
        progress: Writes a progress line.
        total: The bytes of the images, about as many as the archive has.

    Raises:
        ImageUnavailable: the daemon refuses it.
    """
    api: Any = daemon.api
    usual, api.timeout = api.timeout, streams.SILENCE_SECONDS
    loaded = []
    step = steps.Step(progress, f"loading {what[0].lower()}{what[1:]}", silent=True)
    try:
        with step:
            for event in streams.read(lambda: api.load_image(counted(archive, step, total))):
                step.tick()
                line = str(event.get("stream", "")).strip()
                for start in filter(line.startswith, _LOADED):
                    # Podman's one line has them all.
                    loaded += line.removeprefix(start).split(",")
    except streams.Failed as error:
        raise refused(what, str(error)) from error
    finally:
        api.timeout = usual
    return loaded


def refused(what: str, evidence: str) -> ImageUnavailable:
    """The error for an archive that a daemon does not take."""
    error = ImageUnavailable(
        f"{what} could not be loaded into the daemon.",
        evidence=evidence,
        remedy=[
            "Check that the engine's disk has room (docker system df).",
            "Make an archive with docker save; one of docker export is no image.",
        ],
    )
    return explained(error)


def counted(archive: Iterable[bytes], step: steps.Step, total: int) -> Iterator[bytes]:
    """The same bytes, told of while they are sent.

    Args:
        archive: The bytes of an archive of images.
        step: What tells of them.
        total: The bytes of the images, about as many as it has.
    """
    sent = 0
    for chunk in archive:
        yield chunk
        sent += len(chunk)
        step.at(sent, total if total > sent else 0)
        step.tick()
    step.at(sent, detail="all sent")
