"""The images the tests use, pulled if a registry answers, else made from Debian packages."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import _docker_binary
import _roots
import docker
import docker.errors
import requests
from _connection import reason
from _console import Problem, Step, say, step

DAEMON = "pytest-dind/daemon:test"
NESTED = "pytest-dind/nested:test"
# Of Docker's older releases there are those that Debian's suites have; DAEMON has the newest one's.
SUITES = {"pytest-dind/daemon:20.10": "bookworm", "pytest-dind/daemon:26.1": "trixie"}
SOURCES = {
    DAEMON: "docker:dind",
    NESTED: "busybox:latest",
    "pytest-dind/daemon:20.10": "docker:20.10-dind",
    "pytest-dind/daemon:26.1": "docker:26.1-dind",
    # No suite has these: Go builds their daemons.
    **{name: f"docker:{name.rpartition(':')[2]}-dind" for name in _docker_binary.RELEASES},
}
REGISTRY_SECONDS = 5


def present(client: docker.DockerClient, name: str) -> bool:
    """Tell whether the engine has an image."""
    return image_id(client, name) is not None


def image_id(client: docker.DockerClient, name: str) -> str | None:
    """Give the id of an image the engine has, or None."""
    try:
        return str(client.images.get(name).id)
    except docker.errors.ImageNotFound:
        return None


def ensure(
    client: docker.DockerClient, *, rebuild: bool = False, others: Iterable[str] = ()
) -> None:
    """Make sure of both images, and of those of other releases that are asked for.

    Raises:
        Problem: one is missing, and can be neither pulled nor made here.
    """
    reachable: bool | None = None
    for name in (DAEMON, NESTED, *others):
        before = image_id(client, name)
        if before and not rebuild:
            say(f"{name}: there")
            continue
        if reachable is None:
            reachable = registry_answers(client)
        if not (reachable and pull(client, name)):
            build(client, name)
        say(f"{name}: made")
        if before and before != image_id(client, name):
            with contextlib.suppress(docker.errors.APIError):  # a container may still use it
                client.images.remove(before)


def registry_answers(client: docker.DockerClient) -> bool:
    """Ask the registry through the engine, whose network, proxy and mirrors count."""
    source = SOURCES[DAEMON]
    usual = client.api.timeout
    client.api.timeout = REGISTRY_SECONDS
    try:
        with step(f"asking the registry for {source}"):
            client.images.get_registry_data(source)
    except (docker.errors.DockerException, requests.RequestException) as error:
        say(f"no registry gives it within {REGISTRY_SECONDS} s ({reason(error)})"[:160])
        return False
    finally:
        client.api.timeout = usual
    return True


def take(client: docker.DockerClient, source: str) -> None:
    """Have daemons be of another image, as of an older release; `ensure` keeps it.

    Raises:
        Problem: the engine does not have it, and it can't be pulled.
    """
    if present(client, source):
        client.images.get(source).tag(DAEMON)
    elif not pull(client, DAEMON, source):
        raise Problem(
            f"daemons can't be of {source}",
            "the engine does not have it, and the pull failed, as the line above says",
            "check the name, and give this engine a way to the registry",
        )
    say(f"{DAEMON}: {source}")


def pull(client: docker.DockerClient, name: str, source: str = "") -> bool:
    """Pull an image and give it the project's name; False, and said, if that fails."""
    source = source or SOURCES[name]
    try:
        with step(f"pulling {source} as {name}") as shown:
            for event in client.api.pull(source, stream=True, decode=True):
                if "error" in event:
                    raise docker.errors.APIError(event["error"])
                shown.detail = f"{event.get('status', '')} {event.get('progress', '')}"
            client.images.get(source).tag(name)
    except (docker.errors.DockerException, requests.RequestException) as error:
        say(f"the pull of {source} failed: {reason(error)}"[:160])
        return False
    return True


def build(client: docker.DockerClient, name: str) -> None:
    """Make an image from Debian packages, in a directory that is gone afterwards."""
    with _roots.scratch_directory() as scratch:
        if name in _docker_binary.RELEASES:
            build_of_modules(client, name, scratch)
            return
        if name != NESTED:
            archive = _roots.daemon(scratch, [SUITES[name]] if name in SUITES else _roots.SUITES)
            changes = ['CMD ["dockerd"]', "VOLUME /var/lib/docker"]
        else:
            archive = _roots.nested(scratch)
            changes = ['CMD ["sh"]']
        import_archive(client, archive, name, changes)


def build_of_modules(client: docker.DockerClient, name: str, scratch: Path) -> None:
    """Make an image whose daemon Go builds here; all else in it is as in the usual one."""
    _docker_binary.RELEASES[name].build(scratch)
    copied = " ".join(_docker_binary.PROGRAMS)
    (scratch / "Dockerfile").write_text(f"FROM {DAEMON}\nCOPY {copied} /usr/local/bin/\n")
    with step(f"making {name}"):
        client.images.build(path=str(scratch), tag=name, rm=True)


def import_archive(
    client: docker.DockerClient, archive: Path, name: str, changes: list[str]
) -> None:
    """Stream a root into the engine as an image."""
    repository, _, tag = name.partition(":")
    title = f"importing {name}, {archive.stat().st_size >> 20} MB"
    with step(title) as shown, archive.open("rb") as file:
        chunks = _counted(iter(lambda: file.read(1 << 20), b""), shown)
        answer = client.api.import_image_from_stream(
            chunks, repository=repository, tag=tag, changes=changes
        )
    if not present(client, name):
        lines = [json.loads(line) for line in answer.splitlines() if line.strip()]
        raise Problem(
            f"the engine did not import {name}",
            "\n".join(str(line.get("error", line)) for line in lines),
            "look into the engine's log, and whether its disk is full",
        )


def copy(source: docker.DockerClient, target: docker.DockerClient) -> None:
    """Stream from one engine to another what the other lacks."""
    for name in (DAEMON, NESTED):
        wanted = image_id(source, name)
        if wanted is None or wanted == image_id(target, name):
            continue
        with step(f"copying {name}") as shown:
            stream: Any = _counted(source.api.get_image(name), shown)
            target.images.load(stream)


def _counted(chunks: Iterable[bytes], shown: Step) -> Iterator[bytes]:
    """Pass data on, and show how much it was so far."""
    sent = 0
    for chunk in chunks:
        sent += len(chunk)
        shown.detail = f"{sent >> 20} MB"
        yield chunk
