"""Images on their way into a daemon: archives as streams, with progress, and Dockerfiles built."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import BuildFailed, ImageUnavailable, SettingsError
from . import streams

if TYPE_CHECKING:
    import docker

SILENCE_SECONDS = 600
"""What may pass without a word: an engine that takes an archive answers when all is in its place,
and a step of a build may be quiet for long."""

_CHUNK = 256 * 1024
MEGA = 1_000_000
_SAY_AFTER_SECONDS = 1.0
_LAST_LINES = 20
_LOADED = ("Loaded image: ", "Loaded image ID: ")
_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.zst", ".tar.bz2")


class Pace:
    """Tells when a line on what takes long is due: each second, from now on."""

    def __init__(self) -> None:
        self._told = time.monotonic()

    def due(self) -> bool:
        """Whether one is due now; the next is a second later."""
        now = time.monotonic()
        if now - self._told <= _SAY_AFTER_SECONDS:
            return False
        self._told = now
        return True


def demand_sources(sources: Iterable[object]) -> None:
    """Refuse what is neither an image's name nor an archive's path."""
    for source in sources:
        if not isinstance(source, (str, os.PathLike)):
            raise SettingsError(
                f"load: {source!r} is neither an image's name nor an archive's path.",
                evidence=f"Its type is {type(source).__name__}.",
                remedy=[
                    "Give names and paths, each as an argument of its own: load(*names).",
                    "Give a docker-py image by its name or id: image.id.",
                ],
            )


def is_archive(image: str | os.PathLike[str]) -> bool:
    """Whether it is an archive's path: a `Path`, or text that no image is named like."""
    if isinstance(image, os.PathLike):
        return True
    return image.startswith(("/", "./", "../", "~")) or image.endswith(_SUFFIXES)


def load_archive(
    daemon: docker.DockerClient, path: str | os.PathLike[str], progress: Callable[[str], None]
) -> list[str]:
    """Load an archive, as docker save writes it, compressed or not.

    Returns:
        What the daemon says it has of it: names, or the ids of images without.

    Raises:
        ImageUnavailable: it can't be read, or is no archive of images.
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
    return loaded


def send(
    daemon: docker.DockerClient,
    archive: Iterable[bytes],
    what: str,
    progress: Callable[[str], None],
    *,
    total: int,
) -> list[str]:
    """Send an archive to a daemon; gives the names or ids that it says it has loaded.

    Raises:
        ImageUnavailable: the daemon refuses it.
    """
    api: Any = daemon.api
    usual, api.timeout = api.timeout, SILENCE_SECONDS
    loaded = []
    try:
        for event in streams.read(lambda: api.load_image(_counted(archive, what, progress, total))):
            line = str(event.get("stream", "")).strip()
            loaded += [line.removeprefix(start) for start in _LOADED if line.startswith(start)]
    except streams.Failed as error:
        raise refused(what, str(error)) from error
    finally:
        api.timeout = usual
    return loaded


def refused(what: str, evidence: str) -> ImageUnavailable:
    """The error for an archive that a daemon does not take."""
    return ImageUnavailable(
        f"{what} could not be loaded into the daemon.",
        evidence=evidence,
        remedy=[
            "Check that the engine's disk has room (docker system df).",
            "Make an archive with docker save; one of docker export is no image.",
        ],
    )


def _counted(
    archive: Iterable[bytes], what: str, progress: Callable[[str], None], total: int
) -> Iterator[bytes]:
    """The same bytes; what takes long is told as it goes."""
    sent, pace = 0, Pace()
    for chunk in archive:
        yield chunk
        sent += len(chunk)
        if pace.due():
            # An archive of images that share layers is smaller than they are.
            of = f" of about {total / MEGA:.0f}" if total > sent else ""
            progress(f"loading: {what[0].lower()}{what[1:]}, {sent / MEGA:.0f}{of} MB")


def build(
    daemon: docker.DockerClient,
    path: str | os.PathLike[str],
    tag: str,
    progress: Callable[[str], None],
    options: dict[str, Any],
) -> str:
    """Build a Dockerfile's directory in a daemon; gives the image's id.

    Raises:
        BuildFailed: it can't be read, or a step fails; the last lines of the build are in the text.
    """
    directory = Path(path).expanduser()
    what = f"The image {tag!r} cannot be built of {str(directory)!r}."
    dockerfile = directory / str(options.get("dockerfile") or "Dockerfile")
    if not dockerfile.is_file():
        raise BuildFailed(
            what,
            evidence=f"There is no file {dockerfile}.",
            remedy=["Give the directory of a Dockerfile.", "Name the file: dockerfile=NAME."],
        )
    lines: deque[str] = deque(maxlen=_LAST_LINES)
    api: Any = daemon.api
    image, pace = "", Pace()
    try:
        given = {"rm": True, "forcerm": True, **options}
        told = streams.read(lambda: api.build(path=str(directory), tag=tag, decode=True, **given))
        for event in told:
            image = event.get("aux", {}).get("ID", image)
            text = str(event.get("stream") or event.get("status") or "")
            lines.extend(filter(None, map(str.rstrip, text.splitlines())))
            if lines and pace.due():
                progress(f"building {tag}: {lines[-1]}")
    # An OSError: of the directory, or a file of it.
    except (streams.Failed, OSError) as error:
        lines.append(str(error))
        raise _failed(what, lines) from error
    return image or str(api.inspect_image(tag)["Id"])


def _failed(what: str, lines: Iterable[str]) -> BuildFailed:
    return BuildFailed(
        what,
        evidence="The last lines of the build:\n" + "\n".join(lines),
        remedy=[
            "Mend the step that the lines end with.",
            "An image that FROM names and no registry has: load it into the daemon first.",
        ],
    )
