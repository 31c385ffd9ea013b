"""Builds of Dockerfiles in a daemon."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import BuildFailed
from . import streams

if TYPE_CHECKING:
    import docker

_LAST_LINES = 20


def build(
    daemon: docker.DockerClient,
    path: str | os.PathLike[str],
    tag: str,
    progress: streams.Progress,
    options: dict[str, Any],
) -> str:
    """Build an image of a Dockerfile's directory; gives the image's id.

    Args:
        daemon: The daemon to build in.
        path: The directory.
        tag: The image's name.
        progress: Writes a progress line.
        options: Further ones of docker-py's `build`.

    Raises:
        BuildFailed: the directory can't be read, or a step fails; the last lines of the build are
            in the text.
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
    image, pace = "", streams.Pace()
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
