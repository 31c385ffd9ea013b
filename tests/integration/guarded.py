"""A guard of a test's own, and a crowd of objects that are none of its business."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import socket
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import docker

from conftest import NESTED_IMAGE
from pytest_dind.guard import launch
from pytest_dind.guard.config import GuardConfig
from pytest_dind.lifetime import labels
from pytest_dind.lifetime.layout import KEPT, LEASE, SOCKET
from pytest_dind.lifetime.lease import Lease

from ..support import until
from .traces import FOREIGN

# The engine of the run, which is not the machine's usual one in all checks.
ENGINE = os.environ.get("DOCKER_HOST", "/var/run/docker.sock").removeprefix("unix://")
_SECONDS = 60


class Guarded:
    """A guard on an engine, used by this process, in a directory of its own."""

    def __init__(self, *allow: str, guard: str = "own", engine: str = ENGINE) -> None:
        self.base = Path(tempfile.mkdtemp(prefix="dg", dir="/tmp"))
        self.root = self.base / "project"
        self.root.mkdir()
        self.run = uuid4().hex[:8]
        self.home = self.base / "runs" / self.run / "main"
        self.home.mkdir(parents=True, mode=0o700)
        self.lease = Lease(self.home / LEASE)
        self.socket = self.home / SOCKET
        self.url = f"unix://{self.socket}"
        self.labels = labels.make(self.run, mode="socket", keep="never", home=self.home)
        config = GuardConfig(
            home=str(self.home),
            socket=str(self.socket),
            lease=str(self.home / LEASE),
            kept=str(self.home / KEPT),
            engine=engine,
            labels=self.labels,
            guard=guard,
            allow=allow,
            roots=(str(self.root),),
        )
        assert launch.start(config, _SECONDS), self.log()
        self.client = docker.DockerClient(base_url=self.url, version="auto")

    def log(self) -> str:
        """What the guard refused, a line each."""
        with contextlib.suppress(OSError):
            return (self.home / "log").read_text()
        return ""

    def end(self) -> None:
        """Let go of the guard, and wait until it and all that it made are gone."""
        self.client.close()
        self.lease.release()
        until(lambda: not launch.is_alive(self.home), _SECONDS, "the guard has ended")
        shutil.rmtree(self.base, ignore_errors=True)

    def send(self, raw: bytes) -> tuple[int, Any]:
        """Send bytes as they are; the answer's status, and its body as JSON where it is that."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_SECONDS)
            connection.connect(str(self.socket))
            with contextlib.suppress(OSError):
                connection.sendall(raw)
            return answer(connection)


def answer(connection: socket.socket) -> tuple[int, Any]:
    """The answer on a connection that ends with it: its status, and its body."""
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while more := connection.recv(65536):
            data += more
    if not data:
        return 0, ""
    head, _, rest = data.partition(b"\r\n\r\n")
    try:
        return int(head.split()[1]), json.loads(rest)
    except ValueError:
        return int(head.split()[1]), rest.decode(errors="replace")


def request(
    method: str,
    path: str,
    body: Any = None,
    headers: Sequence[str] = (),
) -> bytes:
    """A well-formed request, with JSON where a body is given that is not bytes."""
    raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", "Host: docker", *headers]
    if body is not None and not any(line.lower().startswith("content-type") for line in headers):
        lines.append("Content-Type: application/json")
    lines.append(f"Content-Length: {len(raw)}")
    return "\r\n".join([*lines, "", ""]).encode() + raw


class Crowd:
    """Objects of somebody else's on the engine: compared before and after."""

    def __init__(self) -> None:
        self.mark = f"{FOREIGN}{uuid4().hex[:8]}"
        self.client = docker.DockerClient(base_url=f"unix://{ENGINE}")
        api: Any = self.client.api
        self.network = self.client.networks.create(f"{self.mark}-net", labels={"whose": "theirs"})
        self.client.networks.create(f"{self.mark}-net2")
        self.volume = self.client.volumes.create(f"{self.mark}-vol")
        self.client.volumes.create(f"{self.mark}-vol2", labels={"whose": "theirs"})
        # As another run's tests make them in mode socket.
        theirs = {labels.ROLE: "volume", labels.HOME: f"/elsewhere/{self.mark}/main"}
        self.client.volumes.create(f"{self.mark}-vol3", labels=theirs)
        self.container = self.client.containers.run(
            NESTED_IMAGE,
            ["sh", "-c", "echo theirs >/data/file; exec sleep 100000"],
            name=f"{self.mark}-running",
            detach=True,
            network=self.network.name,
            volumes={self.volume.name: {"bind": "/data"}},
        )
        self.client.containers.create(NESTED_IMAGE, "true", name=f"{self.mark}-created")
        self.client.containers.run(
            NESTED_IMAGE, "true", name=f"{self.mark}-exited", detach=True
        ).wait()
        self.exec = api.exec_create(self.container.id, ["sleep", "1"])["Id"]
        self.image = f"{self.mark}-image:1"
        self._build(self.image, "1")
        self._build("", "2")
        api.tag(self.image, f"{self.mark}-image", "2")
        self.before = self.state()

    def _build(self, tag: str, text: str) -> None:
        dockerfile = f"FROM {NESTED_IMAGE}\nLABEL mark={self.mark}-{text}\n"
        self.client.images.build(fileobj=io.BytesIO(dockerfile.encode()), tag=tag or None, rm=True)

    def state(self) -> dict[str, Any]:
        """All that carries the crowd's mark: ids, names, and what could be done to them."""
        api: Any = self.client.api
        return {
            "containers": [
                (
                    item["Id"],
                    item["Name"],
                    item["State"]["Status"],
                    item["State"]["StartedAt"],
                    item["HostConfig"]["RestartPolicy"],
                    item["HostConfig"]["Memory"],
                    sorted(item["NetworkSettings"]["Networks"]),
                )
                for item in sorted(
                    map(api.inspect_container, self._ids(api.containers(all=True))),
                    key=lambda item: str(item["Id"]),
                )
                if self.mark in item["Name"]
            ],
            "networks": sorted(
                (net["Id"], net["Name"], str(net["Labels"]), sorted(self._on(net["Id"])))
                for net in api.networks()
                if self.mark in net["Name"]
            ),
            "volumes": sorted(
                (volume["Name"], str(volume["Labels"]), volume["CreatedAt"])
                for volume in api.volumes()["Volumes"] or []
                if self.mark in volume["Name"]
            ),
            "images": sorted(
                (image["Id"], sorted(image["RepoTags"] or []))
                for image in api.images(all=True)
                if self.mark in str(image["RepoTags"]) or self.mark in str(image["Labels"])
            ),
            "built-in": sorted(
                (net["Id"], net["Name"])
                for net in api.networks()
                if net["Name"] in ("bridge", "none", "host")
            ),
            "test images": sorted(
                (tag, image["Id"])
                for image in api.images()
                for tag in image["RepoTags"] or []
                if tag in (NESTED_IMAGE, "pytest-dind/daemon:test")
            ),
            "file": self._file(),
        }

    def _file(self) -> bytes:
        # Not by a command in the container: it takes the engine ten times as long.
        stream, _ = self.container.get_archive("/data/file")
        with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as tar:
            file = tar.extractfile("file")
            assert file is not None
            return file.read()

    def _ids(self, listed: list[dict[str, Any]]) -> list[str]:
        return [item["Id"] for item in listed if self.mark in str(item["Names"])]

    def _on(self, network: str) -> list[str]:
        api: Any = self.client.api
        return list(api.inspect_network(network)["Containers"] or {})

    def assert_untouched(self) -> None:
        """Compare it with what it was."""
        assert self.state() == self.before

    def remove(self) -> None:
        """Remove it all."""
        api: Any = self.client.api
        state = self.state()
        for identity, *_ in state["containers"]:
            api.remove_container(identity, force=True, v=True)
        for identity, *_ in state["networks"]:
            api.remove_network(identity)
        for name, *_ in state["volumes"]:
            api.remove_volume(name)
        for identity, _ in state["images"]:
            api.remove_image(identity, force=True, noprune=True)
        self.client.close()


def left_of(engine: Any, guarded: Guarded) -> list[Any]:
    """All on the engine that carries the labels of a guard's run."""
    filters = {"label": f"{labels.HOME}={guarded.home}"}
    api: Any = engine.api
    return [
        *api.containers(all=True, filters=filters),
        *api.networks(filters=filters),
        *(api.volumes(filters=filters)["Volumes"] or []),
        *api.images(all=True, filters=filters),
    ]


@contextlib.contextmanager
def guarded(*allow: str, guard: str = "own", engine: str = ENGINE) -> Iterator[Guarded]:
    """A guard for the time of this context; in the end nothing of it is left on the engine."""
    made = Guarded(*allow, guard=guard, engine=engine)
    try:
        yield made
    finally:
        made.end()
    client = docker.DockerClient(base_url=f"unix://{engine}")
    try:
        assert left_of(client, made) == []
    finally:
        client.close()


def archive(**files: str) -> bytes:
    """A tar archive of files, by name."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text.encode())
            tar.addfile(entry, io.BytesIO(text.encode()))
    return raw.getvalue()
