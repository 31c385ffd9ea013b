"""Images brought into nodes: read once, and given to the containerd of each node side by side."""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from ..causes import explained
from ..engine import archives, digests, images, steps, streams
from ..engine import exec as exec_module
from ..errors import ImageUnavailable
from .node import KubernetesNode

if TYPE_CHECKING:
    import docker

_CHUNK = 256 * 1024
# Of each node: one that is slower than the others holds them up rather than memory.
_AHEAD = 16
_IMAGES = ("ctr", "--namespace", "k8s.io", "images")
_IMPORT = (*_IMAGES, "import", "-")
_LIST = (*_IMAGES, "list")


def load(
    outer: docker.DockerClient,
    nodes: Sequence[KubernetesNode],
    sources: Sequence[str | os.PathLike[str]],
    progress: streams.Progress,
) -> None:
    """Bring images into nodes, but for those that each of them has.

    Args:
        outer: A client on the engine that has them, or pulls them.
        nodes: The nodes.
        sources: As `Daemon.load` takes them.
        progress: Writes a progress line.

    Raises:
        ImageUnavailable: one can't be had, or a node does not take it.
    """
    engine = images.ImageSource(outer, progress)
    named = [str(one) for one in sources if not archives.is_archive(one)]
    lacking = _lacking(nodes, {name: engine.ensure(name) for name in named})
    if lacking:
        with engine.archive(lacking) as (chunks, size):
            _send(nodes, chunks, f"the images {', '.join(lacking)}", size, progress)
    for source in filter(archives.is_archive, sources):
        path = Path(source).expanduser()
        what = f"the archive {str(path)!r}"
        try:
            with path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                _send(nodes, _chunks(file), what, size, progress)
        except OSError as error:
            raise ImageUnavailable(
                f"{what[0].upper()}{what[1:]} cannot be read.",
                evidence=str(error),
                remedy=["Check the path.", "Give an image by its name, without / at the start."],
            ) from error


def _lacking(
    nodes: Sequence[KubernetesNode], wanted: Mapping[str, Mapping[str, Any]]
) -> dict[str, Mapping[str, Any]]:
    """Those of these images, by their names, that not each node has under its name.

    Args:
        nodes: The nodes.
        wanted: What the outer engine tells of each image.
    """
    if not wanted:
        return {}
    with ThreadPoolExecutor(len(nodes)) as pool:
        lists = list(pool.map(_listed, nodes))
    return {
        name: details
        for name, details in wanted.items()
        if not all(digests.full(name) in names and details["Id"] in ids for names, ids in lists)
    }


def _listed(node: KubernetesNode) -> tuple[set[str], set[str]]:
    """The names of the images of a node's containerd, in full; and the ids that they may have.

    For kubelet it has a name more for each image, the digest of its config, which is the id that
    most engines know it by. Those that keep images in containerd take the digest of its manifest.
    """
    done = node._run(exec_module.Command(_LIST))
    rows = [line.split() for line in done.stdout.decode(errors="replace").splitlines()]
    names = {row[0] for row in rows}
    return names, names | {word for row in rows for word in row if word.startswith("sha256:")}


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK):
        yield chunk


def _send(
    nodes: Sequence[KubernetesNode],
    chunks: Iterable[bytes],
    what: str,
    size: int,
    progress: streams.Progress,
) -> None:
    """Send an archive to all nodes at once."""
    readers = [_Reader() for _ in nodes]
    with (
        steps.Step(progress, f"loading {what} into {len(nodes)} nodes", silent=True) as step,
        ThreadPoolExecutor(len(nodes) + 1) as pool,
    ):
        fed = pool.submit(_feed, chunks, readers, step, size)
        done = [
            pool.submit(_import, node, reader, what)
            for node, reader in zip(nodes, readers, strict=True)
        ]
        for one in done:
            one.result()
        fed.result()


def _feed(chunks: Iterable[bytes], readers: Sequence[_Reader], step: steps.Step, size: int) -> None:
    sent = 0
    try:
        for chunk in chunks:
            for reader in readers:
                reader.put(chunk)
            sent += len(chunk)
            step.at(sent, size if size > sent else 0)
            step.tick()
    finally:
        for reader in readers:
            reader.put(b"")


def _import(node: KubernetesNode, reader: _Reader, what: str) -> None:
    try:
        done = node._run(exec_module.Command(_IMPORT, stdin=reader))
    finally:
        reader.stop()
    if done.returncode:
        raise explained(
            ImageUnavailable(
                f"The node {node.name!r} does not take {what}.",
                evidence=(done.stdout + done.stderr).decode(errors="replace"),
                remedy=[
                    "Give an image, or an archive that docker save made, for the nodes' platform.",
                    "Check that the engine's disk has room (docker system df).",
                ],
            )
        )


class _Reader:
    """What one node is to read, of which only some is in memory."""

    def __init__(self) -> None:
        self._chunks: queue.Queue[bytes] = queue.Queue(_AHEAD)
        self._stopped = threading.Event()

    def put(self, chunk: bytes) -> None:
        """Add a chunk, once there is room; an empty one is the end."""
        while not self._stopped.is_set():
            with contextlib.suppress(queue.Full):
                self._chunks.put(chunk, timeout=0.5)
                return

    def __iter__(self) -> Iterator[bytes]:
        while chunk := self._chunks.get():
            yield chunk

    def stop(self) -> None:
        """Take no more: what reads it has ended."""
        self._stopped.set()
