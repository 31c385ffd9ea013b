"""What the cases make on the engine: found, whoever made it, and removed if they left it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import docker
from docker.errors import ImageNotFound, NotFound

from pytest_dind import DindError
from pytest_dind.engine.engine import Engine
from pytest_dind.store import seeding
from pytest_dind.store.contents import Cache

from . import interrupts
from .case import CaseFailed

_REPOSITORY = "pytest-dind/benchmark"


class Traces:
    """The containers of one image name, and the volumes and networks that they used.

    Labels would not do: each tool that is measured sets its own or none. So the cases get the
    image under a name made for this run, which the engine notes with each container, and the
    engine's events tell what a container used, also when it is gone.
    """

    def __init__(self, engine: docker.DockerClient, image: str) -> None:
        self._engine = engine
        self.image = image
        self._since = int(time.time())
        # What is there before the run is nobody's trace, whoever uses it.
        self._before = set(self._volumes_now()) | set(self._networks_now())
        # The warm store outlives runs.
        self._before.add(seeding.VOLUME)
        self._volumes: set[str] = set()
        self._networks: set[str] = set()
        self._made = [image]

    @classmethod
    @contextlib.contextmanager
    def of(cls, engine: docker.DockerClient, image: str) -> Iterator[Traces]:
        """Give `image` a name of its own for a while; at the end nothing made from it is left.

        Raises:
            CaseFailed: the image is not there.
        """
        tag = uuid4().hex[:8]
        name = f"{_REPOSITORY}:{tag}"
        try:
            found = engine.images.get(image)
        except ImageNotFound:
            raise CaseFailed(
                f"The image {image} is not on the engine. Make sure of it with "
                "`python tools/engine.py images`, or name another one with --image."
            ) from None
        traces = cls(engine, name)
        try:
            with interrupts.later():
                found.tag(_REPOSITORY, tag)
            yield traces
        finally:
            with interrupts.later():
                traces.remove()
                traces.forget()

    def double(self, name: str) -> None:
        """Make an image of twice the size: the same files once more, in a layer of its own."""
        repository, _, tag = name.rpartition(":")
        with interrupts.later():
            container = self._engine.containers.create(
                self.image, ["cp -a /usr /double"], entrypoint=["sh", "-c"]
            )
            try:
                container.start()
                if container.wait()["StatusCode"]:
                    raise CaseFailed("no image of twice the size could be made")
                container.commit(repository, tag)
            finally:
                container.remove(force=True, v=True)
            self._made.append(name)

    def forget(self) -> None:
        """Remove the run's images, and what the warm store has of them."""
        engine = Engine()
        try:
            cache = Cache(engine, self.image)
            ours = {root.key for root in cache.roots()[0] if {*self._made} & {*root.images}}
            cache.remove(sorted(ours))
        except DindError as error:
            print(error)
        finally:
            engine.close()
        for name in reversed(self._made):
            # The first is a name of several: the image itself stays.
            with contextlib.suppress(ImageNotFound):
                self._engine.images.remove(name)

    def check(self) -> None:
        """Look at what is left, and remove it.

        Raises:
            CaseFailed: something is.
        """
        with interrupts.later():
            left = self.remove()
        if left:
            raise CaseFailed(f"left on the engine: {', '.join(left)}")

    def remove(self) -> list[str]:
        """Remove what is left, and say what it was."""
        containers = self._containers()
        self._follow()
        # What goes with its container is named too: it was left.
        volumes = sorted(self._volumes.intersection(self._volumes_now()))
        networks = sorted(self._networks.intersection(self._networks_now()))
        for container in containers:
            _remove(self._engine.api.remove_container, container, v=True, force=True)
        for volume in volumes:
            _remove(self._engine.api.remove_volume, volume)
        for network in networks:
            _remove(self._engine.api.remove_network, network)
        self._volumes.clear()
        self._networks.clear()
        return [
            *(f"container {name[:12]}" for name in containers),
            *(f"volume {name}" for name in volumes),
            *(f"network {name[:12]}" for name in networks),
        ]

    def _containers(self) -> list[str]:
        # Not the filter `ancestor`: it would give those of the image's other names too.
        every: list[dict[str, Any]] = self._engine.api.containers(all=True)
        return [str(found["Id"]) for found in every if found["Image"] == self.image]

    def _volumes_now(self) -> list[str]:
        return [str(found["Name"]) for found in self._engine.api.volumes()["Volumes"] or []]

    def _networks_now(self) -> list[str]:
        return [str(found["Id"]) for found in self._engine.api.networks()]

    def _follow(self) -> None:
        """Learn from the engine's events what volumes and networks the containers had."""
        api: Any = self._engine.api
        now = time.time()
        # The fraction matters, and docker-py would cut it off from a number or a date.
        events = list(api.events(since=self._since, until=f"{now:.9f}", decode=True))
        self._since = int(now)
        own = {
            event["Actor"]["ID"]
            for event in events
            if event["Type"] == "container"
            and event["Actor"]["Attributes"].get("image") == self.image
        }
        for event in events:
            actor = event["Actor"]
            if actor["Attributes"].get("container") in own:
                used = self._volumes if event["Type"] == "volume" else self._networks
                used.update({actor["ID"]} - self._before)


def _remove(remove: Callable[..., object], name: str, **options: bool) -> None:
    # One that is missing went with its container, or by itself meanwhile.
    with contextlib.suppress(NotFound):
        remove(name, **options)
