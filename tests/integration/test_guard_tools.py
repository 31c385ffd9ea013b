"""What people use, through a guard: docker-py, the docker CLI, and docker compose."""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import docker
import pytest
from docker.errors import APIError, NotFound
from docker.utils import version_lt

from conftest import DAEMON_IMAGE, NESTED_IMAGE
from pytest_dind.guard import launch
from pytest_dind.lifetime import labels

from ..support import until
from .guarded import ENGINE, Crowd, Guarded, guarded

# The crowd, and the guard, take seconds to make: one worker has all that use them.
pytestmark = pytest.mark.xdist_group("guard_tools")

_SECONDS = 120
# The CLI of Debian's engine speaks to BuildKit itself; newer ones leave that to a plugin.
_OLD_CLI = "/usr/bin/docker"
_BUILDX_ALONE = 23


@pytest.fixture(scope="module")
def guard(crowd: Crowd) -> Iterator[Guarded]:
    """A guard."""
    with guarded() as made:
        yield made


@pytest.fixture(autouse=True)
def _emptied(guard: Guarded) -> Iterator[None]:
    """Leave nothing in the run that the tests share: the next may be any of them."""
    yield
    api: Any = guard.client.api
    api.prune_containers()
    api.prune_networks()
    named = {} if version_lt(api.api_version, "1.42") else {"all": True}
    api.prune_volumes(filters=named)


@pytest.fixture
def name() -> str:
    """A name that nothing has yet."""
    return f"guarded-{uuid4().hex[:8]}"


def _cli(
    guard: Guarded,
    *arguments: str,
    stdin: str = "",
    check: bool = True,
    **variables: str,
) -> str:
    """The output of a tool on the guard's socket."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("DOCKER_")}
    done = subprocess.run(
        ["docker", *arguments],
        env={**inherited, "DOCKER_HOST": guard.url, **variables},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    assert not check or done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{guard.log()}"
    return done.stdout if check else done.stdout + done.stderr


def _labels(kind: str, identity: str) -> dict[str, str]:
    """The labels of something, as the engine itself has them."""
    client = docker.DockerClient(base_url=f"unix://{ENGINE}")
    try:
        api: Any = client.api
        details = getattr(api, f"inspect_{kind}")(identity)
    finally:
        client.close()
    return (details.get("Config") or details).get("Labels") or {}


def _assert_stamped(kind: str, identity: str, guard: Guarded) -> None:
    found = _labels(kind, identity)
    assert found[labels.HOME] == str(guard.home)
    assert found[labels.RUN] == guard.run
    assert found[labels.ROLE] == kind


def test_run_with_docker_py(guard: Guarded) -> None:
    """A container is run, with its output; nothing of it stays."""
    assert guard.client.containers.run(NESTED_IMAGE, "echo hi", remove=True) == b"hi\n"
    assert guard.client.containers.list(all=True) == []


def test_all_that_is_made_is_stamped(guard: Guarded, name: str) -> None:
    """Container, network, volumes with a name and without, and image carry the run's labels."""
    network = guard.client.networks.create(name, labels={"mine": "1"})
    volume = guard.client.volumes.create(name)
    image, _ = guard.client.images.build(
        fileobj=io.BytesIO(f"FROM {NESTED_IMAGE}\nVOLUME /declared\n".encode()), tag=name
    )
    container = guard.client.containers.run(
        str(image.id),
        ["sleep", "1000"],
        detach=True,
        network=name,
        labels={"mine": "1", labels.HOME: "/elsewhere"},
        volumes={name: {"bind": "/named"}, f"{name}-new": {"bind": "/new"}},
        mounts=[docker.types.Mount("/anonymous", None)],
    )
    try:
        _assert_stamped("network", str(network.id), guard)
        _assert_stamped("volume", volume.name, guard)
        _assert_stamped("volume", f"{name}-new", guard)
        _assert_stamped("image", str(image.id), guard)
        _assert_stamped("container", str(container.id), guard)
        assert _labels("container", str(container.id))["mine"] == "1"
        points = {point["Destination"]: point["Name"] for point in container.attrs["Mounts"]}
        assert points.keys() == {"/named", "/new", "/anonymous", "/declared"}
        for volume_name in points.values():
            _assert_stamped("volume", volume_name, guard)
        assert list(container.attrs["NetworkSettings"]["Networks"]) == [name]
    finally:
        container.remove(force=True, v=True)
        network.remove()
    assert {volume.name for volume in guard.client.volumes.list()} == {name, f"{name}-new"}
    guard.client.images.remove(name)


def test_lists_show_ones_own(guard: Guarded, crowd: Crowd, name: str) -> None:
    """Lists have the run's own alone; networks those of every engine too, and images all."""
    container = guard.client.containers.create(NESTED_IMAGE, "true", name=name)
    network = guard.client.networks.create(name)
    try:
        assert [found.name for found in guard.client.containers.list(all=True)] == [name]
        assert guard.client.containers.list(all=True, filters={"name": crowd.mark}) == []
        names = {found.name for found in guard.client.networks.list()}
        assert names == {"bridge", "host", "none", name}
        assert crowd.mark not in str(guard.client.volumes.list())
        tags = [tag for image in guard.client.images.list() for tag in image.tags]
        assert crowd.image in tags
        usage = guard.client.df()
        assert [found["Id"] for found in usage["Containers"]] == [container.id]
        assert crowd.mark not in str(usage["Volumes"])
        assert "foreign" not in str(guard.client.networks.get("bridge").attrs["Containers"])
    finally:
        container.remove()
        network.remove()


def test_prune_is_confined(guard: Guarded, crowd: Crowd, name: str) -> None:
    """Prunes remove the run's own alone, and report only that."""
    api: Any = guard.client.api
    container = guard.client.containers.create(NESTED_IMAGE, "true")
    guard.client.networks.create(name)
    guard.client.volumes.create(name)
    dockerfile = f"FROM {NESTED_IMAGE}\nLABEL name={name}\n".encode()
    image, _ = guard.client.images.build(fileobj=io.BytesIO(dockerfile))

    assert api.prune_containers()["ContainersDeleted"] == [container.id]
    assert name in api.prune_networks()["NetworksDeleted"]
    # Since API 1.42 volumes with names are pruned on request only.
    named = {} if version_lt(api.api_version, "1.42") else {"all": True}
    assert name in api.prune_volumes(filters=named)["VolumesDeleted"]
    assert {"Deleted": image.id} in api.prune_images()["ImagesDeleted"]
    assert api.prune_builds()["CachesDeleted"] is None
    assert _cli(guard, "system", "prune", "--all", "--force", "--volumes")
    crowd.assert_untouched()


def test_events(guard: Guarded, crowd: Crowd, name: str) -> None:
    """Events are those of the run's own containers, networks and volumes."""
    began = int(time.time())
    crowd.container.exec_run("true")
    guard.client.volumes.create(name).remove()
    guard.client.networks.create(name).remove()
    guard.client.containers.run(NESTED_IMAGE, "true", name=name, remove=True)
    stream = guard.client.events(since=began, until=int(time.time()) + 1, decode=True)
    # All see the images of the engine, so also what happens to them.
    found = [
        (event["Type"], event["Action"], event["Actor"])
        for event in stream
        if event["Type"] != "image"
    ]

    kinds = {(kind, action) for kind, action, _ in found}
    assert {("container", "create"), ("container", "die"), ("network", "create")} <= kinds
    assert {("volume", "create"), ("volume", "destroy"), ("network", "destroy")} <= kinds
    assert crowd.mark not in str(found)
    assert str(crowd.container.id) not in str(found)


def test_names_ids_and_prefixes(guard: Guarded, crowd: Crowd, name: str) -> None:
    """A container goes by name, id, and the id's beginning; another's by none of them."""
    container = guard.client.containers.create(NESTED_IMAGE, "true", name=name)
    theirs = crowd.container
    try:
        for key in (name, str(container.id), container.short_id):
            assert guard.client.containers.get(key).id == container.id
        for key in (str(theirs.name), str(theirs.id), theirs.short_id, "nobody"):
            with pytest.raises(NotFound, match=f"No such container: {key}"):
                guard.client.containers.get(key)
    finally:
        container.remove()


def test_attach_and_half_close(guard: Guarded) -> None:
    """The end of stdin arrives, and what comes after it still comes back."""
    script = "cat; echo after; echo err >&2"
    out = _cli(guard, "run", "--rm", "-i", NESTED_IMAGE, "sh", "-c", script, stdin="in\n")

    assert out == "in\nafter\n"


def test_large_stream_both_ways(guard: Guarded) -> None:
    """Megabytes go in and out of a container whole."""
    text = "".join(f"{number}\n" for number in range(300_000))

    assert _cli(guard, "run", "--rm", "-i", NESTED_IMAGE, "cat", stdin=text) == text


def test_exec_logs_stats_cp(guard: Guarded, name: str, tmp_path: Path) -> None:
    """The CLI's other streams: exec, logs -f, stats, and cp both ways."""
    _cli(guard, "run", "--detach", "--name", name, NESTED_IMAGE, "sleep", "1000")
    try:
        assert _cli(guard, "exec", "-i", name, "cat", stdin="x" * 100_000) == "x" * 100_000
        assert "exit status" not in _cli(guard, "exec", name, "sh", "-c", "exit 3", check=False)
        (tmp_path / "file").write_text("content\n")
        _cli(guard, "cp", str(tmp_path / "file"), f"{name}:/file")
        _cli(guard, "cp", f"{name}:/file", str(tmp_path / "back"))
        assert (tmp_path / "back").read_text() == "content\n"
        assert name in _cli(guard, "stats", "--no-stream", name)
        assert "sleep" in _cli(guard, "top", name)
        assert "/file" in _cli(guard, "diff", name)
        assert _cli(guard, "ps", "--format", "{{.Names}}").split() == [name]
        _cli(guard, "rename", name, f"{name}-2")
        _cli(guard, "restart", "-t", "0", f"{name}-2")
        _cli(guard, "update", "--memory", "64m", "--memory-swap", "64m", f"{name}-2")
    finally:
        _cli(guard, "rm", "--force", name, f"{name}-2", check=False)


def test_follow_logs_to_their_end(guard: Guarded) -> None:
    """`logs -f` has each line as it comes, and ends with the container."""
    container = guard.client.containers.run(
        NESTED_IMAGE, ["sh", "-c", "read line; echo $line; echo last"], stdin_open=True, detach=True
    )
    try:
        lines: list[bytes] = []
        following = threading.Thread(
            target=lambda: lines.extend(container.logs(stream=True, follow=True))
        )
        following.start()
        stdin: Any = container.attach_socket(params={"stdin": 1, "stream": 1})
        stdin._sock.sendall(b"first\n")
        following.join(_SECONDS)
        stdin._sock.close()
        stdin._response.close()
        assert b"".join(lines) == b"first\nlast\n"
    finally:
        container.remove(force=True)


def test_client_that_leaves(guard: Guarded, name: str) -> None:
    """A client that leaves in the midst of `logs -f` leaves no connection to the engine behind."""
    _cli(guard, "run", "--detach", "--name", name, NESTED_IMAGE, "sleep", "1000")
    pid = launch.pid((guard.home / "guard").read_text())

    def sockets() -> int:
        """How many the guard has; 3 where it is idle: it listens, and its loop has a pair."""
        links = [str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir()]
        return len([link for link in links if link.startswith("socket:")])

    try:
        guard.client.close()
        until(lambda: sockets() == 3, 10, "it is idle")
        process = subprocess.Popen(["docker", "--host", guard.url, "logs", "-f", name])
        until(lambda: sockets() >= 5, 10, "it follows")
        process.kill()
        process.wait()
        until(lambda: sockets() == 3, 10, "both connections are closed")
    finally:
        _cli(guard, "rm", "--force", name)


def test_classic_build(guard: Guarded, name: str) -> None:
    """A build by the older builder is labelled, over what its Dockerfile says."""
    dockerfile = f'FROM {NESTED_IMAGE}\nRUN echo built >/made\nLABEL "{labels.HOME}"=/elsewhere\n'
    _cli(guard, "build", "--tag", name, "-", stdin=dockerfile, DOCKER_BUILDKIT="0")
    try:
        _assert_stamped("image", name, guard)
        assert _cli(guard, "run", "--rm", name, "cat", "/made") == "built\n"
    finally:
        _cli(guard, "rmi", name)


def test_buildkit_build(guard: Guarded, name: str, tmp_path: Path) -> None:
    """A build by BuildKit, with its session over h2c, is labelled too."""
    version = _cli(guard, "version", "--format", "{{.Client.Version}}", program=_OLD_CLI)
    if int(version.partition(".")[0]) >= _BUILDX_ALONE:
        pytest.skip(f"{_OLD_CLI} {version.strip()} speaks to BuildKit by buildx alone")
    (tmp_path / "file").write_text("sent\n")
    (tmp_path / "Dockerfile").write_text(f"FROM {NESTED_IMAGE}\nCOPY file /file\n")
    _cli(guard, "build", "-t", name, str(tmp_path), program=_OLD_CLI, DOCKER_BUILDKIT="1")
    try:
        _assert_stamped("image", name, guard)
        assert _cli(guard, "run", "--rm", name, "cat", "/file") == "sent\n"
    finally:
        _cli(guard, "rmi", name)


def test_commit_import_and_tag(guard: Guarded, crowd: Crowd, name: str, tmp_path: Path) -> None:
    """What is committed and imported is labelled; a name given to another's image goes again."""
    _cli(guard, "run", "--name", name, NESTED_IMAGE, "sh", "-c", "echo x >/x")
    _cli(guard, "commit", name, f"{name}:committed")
    _assert_stamped("image", f"{name}:committed", guard)
    archive = tmp_path / "root.tar"
    _cli(guard, "export", "--output", str(archive), name)
    _cli(guard, "import", str(archive), f"{name}:imported")
    _assert_stamped("image", f"{name}:imported", guard)
    _cli(guard, "tag", crowd.image, f"{name}:tagged")
    _cli(guard, "rm", name)
    for tag in ("committed", "imported", "tagged"):
        _cli(guard, "rmi", f"{name}:{tag}")
    crowd.assert_untouched()


def test_save_and_load(guard: Guarded, name: str, tmp_path: Path) -> None:
    """An image is saved and loaded; what was loaded first by this run may be removed."""
    dockerfile = f"FROM {NESTED_IMAGE}\nLABEL name={name}\n"
    _cli(guard, "build", "--tag", name, "-", stdin=dockerfile, DOCKER_BUILDKIT="0")
    _cli(guard, "save", "--output", str(tmp_path / "image.tar"), name)
    _cli(guard, "rmi", name)

    assert name in _cli(guard, "load", "--input", str(tmp_path / "image.tar"))
    _cli(guard, "rmi", name)


def test_load_over_a_name_of_ones_own(guard: Guarded, name: str, tmp_path: Path) -> None:
    """An archive takes a name from another image of the same run."""
    for number in (1, 2):
        dockerfile = f"FROM {NESTED_IMAGE}\nLABEL name={name} number={number}\n"
        _cli(guard, "build", "--tag", name, "-", stdin=dockerfile, DOCKER_BUILDKIT="0")
        if number == 1:
            _cli(guard, "save", "--output", str(tmp_path / "image.tar"), name)

    assert name in _cli(guard, "load", "--input", str(tmp_path / "image.tar"))
    assert guard.client.images.get(name).labels["number"] == "1"


def test_load_of_the_oldest_format(guard: Guarded, crowd: Crowd, tmp_path: Path) -> None:
    """An archive of before Docker 1.10 takes a name without a word, and it goes back as well."""
    layer, archive = io.BytesIO(), tmp_path / "image.tar"
    tarfile.open(fileobj=layer, mode="w").close()
    image = "ab" * 32
    repository, _, tag = crowd.image.rpartition(":")
    files = {
        f"{image}/VERSION": b"1.0",
        f"{image}/json": json.dumps({"id": image, "created": "2026-01-01T00:00:00Z"}).encode(),
        f"{image}/layer.tar": layer.getvalue(),
        "repositories": json.dumps({repository: {tag: image}}).encode(),
    }
    with tarfile.open(archive, "w") as tar:
        for path, content in files.items():
            entry = tarfile.TarInfo(path)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    api: Any = crowd.client.api
    before = api.images(all=True, quiet=True)
    said = _cli(guard, "load", "--input", str(archive), check=False)

    assert "the name is the host's" in said
    assert set(api.images(all=True, quiet=True)) == set(before)
    crowd.assert_untouched()


def test_load_that_fails_beside_a_build(guard: Guarded, crowd: Crowd) -> None:
    """A name that the host's own build takes while a load fails stays with what was built."""
    api: Any = guard.client.api
    taken, content = f"{crowd.mark}-built:1", io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        entry = tarfile.TarInfo("no image")
        entry.size = 1_000_000
        tar.addfile(entry, io.BytesIO(bytes(entry.size)))

    def archive() -> Iterator[bytes]:
        yield content.getvalue()[:500_000]
        dockerfile = f"FROM {NESTED_IMAGE}\nLABEL built={uuid4().hex}\n"
        crowd.client.images.build(fileobj=io.BytesIO(dockerfile.encode()), tag=taken, rm=True)
        yield content.getvalue()[500_000:]

    crowd.client.api.tag(crowd.image, taken)
    try:
        said = api._post(api._url("/images/load"), data=archive()).text
        assert "error" in said or "no such file" in said, said
        assert "built" in crowd.client.images.get(taken).labels
    finally:
        crowd.client.images.remove(taken, noprune=True)


def test_name_that_an_image_has(guard: Guarded) -> None:
    """An image of the host is given the name that it has: nothing changes."""
    _cli(guard, "tag", NESTED_IMAGE, NESTED_IMAGE)


def test_load_over_a_name_of_the_host(guard: Guarded, crowd: Crowd, tmp_path: Path) -> None:
    """An archive with a name that the host's image has: the name stays, and the load says so."""
    crowd.client.images.build(
        fileobj=io.BytesIO(f"FROM {NESTED_IMAGE}\nLABEL other={crowd.mark}\n".encode()),
        tag=f"{crowd.mark}-other:1",
        rm=True,
    )
    api: Any = crowd.client.api
    taken = f"{crowd.mark}-taken:1"
    try:
        api.tag(f"{crowd.mark}-other:1", taken)
        (tmp_path / "image.tar").write_bytes(b"".join(api.get_image(taken)))
        api.remove_image(taken)
        api.tag(crowd.image, taken)
        said = _cli(guard, "load", "--input", str(tmp_path / "image.tar"), check=False)

        assert "the name is the host's" in said
        assert api.inspect_image(taken)["Id"] == api.inspect_image(crowd.image)["Id"]
    finally:
        for tag in (taken, f"{crowd.mark}-other:1"):
            api.remove_image(tag, noprune=True)


def test_pull_of_what_is_there(guard: Guarded) -> None:
    """A pull of an image that the host has is answered without one, and says so."""
    assert "is the host's, and is taken as it is" in _cli(guard, "pull", NESTED_IMAGE)
    assert guard.client.images.pull(NESTED_IMAGE).tags


def test_bind_of_the_project(guard: Guarded) -> None:
    """A directory of the project is bound under its own path; a missing one is an error."""
    (guard.root / "file").write_text("here\n")
    (guard.root / "link").symlink_to(guard.root / "file")
    bind = f"{guard.root}:/project"

    assert _cli(guard, "run", "--rm", "-v", bind, NESTED_IMAGE, "cat", "/project/file") == "here\n"
    assert "Read-only" in _cli(
        guard, "run", "--rm", "-v", f"{bind}:ro", NESTED_IMAGE, "touch", "/project/x", check=False
    )
    missing = guard.root / "missing"
    said = _cli(guard, "run", "--rm", "-v", f"{missing}:/x", NESTED_IMAGE, "true", check=False)
    assert f"bind source path does not exist: {missing}" in said
    assert not missing.exists()


def test_network_by_a_part_of_its_id(guard: Guarded, name: str) -> None:
    """A container is on it once, under its name, as without a guard."""
    network = _cli(guard, "network", "create", name).strip()
    _cli(guard, "create", "--name", name, "--network", network[:12], NESTED_IMAGE, "true")
    _cli(guard, "start", "--attach", name)

    found = json.loads(_cli(guard, "inspect", name))[0]["NetworkSettings"]["Networks"]
    _cli(guard, "rm", name)
    assert {key: on["NetworkID"] for key, on in found.items()} == {name: network}


def test_namespaces_of_ones_own(guard: Guarded, name: str) -> None:
    """Containers of the run may share namespaces and volumes, and be linked."""
    run = ("run", "--rm")
    _cli(guard, "run", "-d", "--name", name, "-v", "/shared", NESTED_IMAGE, "sleep", "1000")
    try:
        assert "sleep" in _cli(guard, *run, "--pid", f"container:{name}", NESTED_IMAGE, "ps")
        _cli(guard, *run, "--network", f"container:{name}", NESTED_IMAGE, "true")
        _cli(guard, *run, "--link", f"{name}:other", NESTED_IMAGE, "true")
        mounts = _cli(guard, *run, "--volumes-from", name, NESTED_IMAGE, "cat", "/proc/mounts")
        assert "/shared" in mounts
    finally:
        _cli(guard, "rm", "--force", "--volumes", name)


def test_allowed_things() -> None:
    """What is allowed passes, and nothing else."""
    with guarded("privileged", "bind:/etc", "cap:NET_ADMIN", "host-uts") as guard:
        run = ("run", "--rm")
        for options in (
            ["--privileged"],
            ["--volume", "/etc/hostname:/x:ro"],
            ["--cap-add", "NET_ADMIN"],
            ["--uts", "host"],
        ):
            _cli(guard, "create", *options, NESTED_IMAGE, "true")
        said = _cli(guard, *run, "--pid", "host", NESTED_IMAGE, "true", check=False)
        assert "--dind-guard-allow=host-pid" in said


def test_guard_that_only_labels(crowd: Crowd, name: str) -> None:
    """With `label` all is seen and passed on, and what is made is labelled all the same."""
    with guarded(guard="label") as guard:
        assert str(crowd.container.name) in _cli(guard, "ps", "--format", "{{.Names}}")
        _cli(guard, "create", "--privileged", "--pid", "host", "--name", name, NESTED_IMAGE)
        _assert_stamped("container", name, guard)
        status, _ = guard.send(b"GET /containers/../json HTTP/1.1\r\nHost: x\r\n\r\n")
        assert status == 400


_COMPOSE = f"""
services:
  one:
    image: {NESTED_IMAGE}
    command: sh -c 'echo from-one >/data/x; exec sleep 1000'
    volumes: [data:/data]
    networks: [inner]
  two:
    image: {NESTED_IMAGE}
    command: sleep 1000
    volumes: [data:/data, "./:/project:ro", /anonymous]
    networks: [inner]
    depends_on: [one]
  three:
    image: {NESTED_IMAGE}
    command: sleep 1000
    network_mode: service:one
networks: {{inner: {{}}}}
volumes: {{data: {{}}}}
"""


def test_compose(guard: Guarded, crowd: Crowd, name: str) -> None:
    """A project of compose goes up, works, and goes down; all of it is labelled."""
    project = guard.root / name
    project.mkdir()
    (project / "docker-compose.yml").write_text(_COMPOSE)

    def compose(*arguments: str) -> str:
        options = ["--project-directory", str(project), "-f", str(project / "docker-compose.yml")]
        return _cli(guard, "compose", "-p", name, *options, *arguments)

    compose("up", "--detach")
    try:
        containers = guard.client.containers.list(filters={"label": "com.docker.compose.project"})
        assert len(containers) == 3
        for container in containers:
            _assert_stamped("container", str(container.id), guard)
            for point in container.attrs["Mounts"]:
                if point["Type"] == "volume":
                    _assert_stamped("volume", point["Name"], guard)
        _assert_stamped("network", f"{name}_inner", guard)
        assert compose("exec", "-T", "two", "cat", "/data/x") == "from-one\n"
        assert "docker-compose.yml" in compose("exec", "-T", "two", "ls", "/project")
        assert "sleep 1000" in compose("ps")
        compose("restart", "-t", "0")
    finally:
        # The images are the host's, and stay.
        compose("down", "--volumes", "-t", "0", "--rmi", "all")
    assert guard.client.containers.list(all=True) == []
    crowd.assert_untouched()


def _many(url: str, image: str, calls: int) -> int:
    """So many calls at once in this process; how many of them went well."""
    client = docker.DockerClient(base_url=url, version="1.41", max_pool_size=calls)
    errors: list[BaseException] = []

    def call(number: int) -> None:
        try:
            if number % 5:
                client.api.images() if number % 2 else client.api.containers(all=True)
            else:
                client.api.inspect_image(image)  # type: ignore[no-untyped-call]
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=call, args=(number,)) for number in range(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    client.close()
    return calls - len(errors)


def test_200_calls_at_once(guard: Guarded) -> None:
    """200 calls at once from 8 processes go well, each of them."""
    with ProcessPoolExecutor(8) as pool:
        made = [pool.submit(_many, guard.url, NESTED_IMAGE, 25) for _ in range(8)]

        assert sum(future.result(_SECONDS) for future in made) == 200


def test_docker_socket_for_the_tests(guard: Guarded) -> None:
    """A container may have the guarded socket, and is then as guarded as its maker."""
    bind = f"{guard.socket}:/var/run/docker.sock"
    ask = ["-c", "hostname && docker ps --quiet"]
    out = _cli(guard, "run", "--rm", "--entrypoint", "sh", "-v", bind, DAEMON_IMAGE, *ask)

    # Itself, and nothing of the crowd's; a host name is the short form of an id.
    itself, *seen = out.split()
    assert seen == [itself]


def test_engine_error_as_it_is(guard: Guarded) -> None:
    """What the engine refuses itself comes back as the engine says it."""
    with pytest.raises(APIError, match="No such image"):
        guard.client.containers.create("no-such-image:at-all", "true")


def test_answers_that_tools_expect(guard: Guarded, name: str) -> None:
    """What an engine takes without an error, tools get without one here."""
    _cli(guard, "volume", "rm", "--force", name)
    _cli(guard, "builder", "prune", "--all", "--force", DOCKER_BUILDKIT="0")
    name = f"{name} with a space"
    spaced = guard.client.networks.create(name)
    container = guard.client.containers.create(
        NESTED_IMAGE,
        "true",
        network=name,
        networking_config={name: guard.client.api.create_endpoint_config(links={"later": "l"})},
        runtime=guard.client.info()["DefaultRuntime"],
    )
    try:
        assert _cli(guard, "network", "inspect", "-f", "{{.Id}}", name).strip() == spaced.id
    finally:
        container.remove()
        spaced.remove()
    with pytest.raises(APIError, match="not part of a swarm"):
        guard.client.api.leave_swarm()


def test_buildx(guard: Guarded, name: str, tmp_path: Path) -> None:
    """Where it is allowed, tests can remove what it builds; where not, its error tells why."""
    build = ("buildx", "build", "--tag", name, str(tmp_path))
    (tmp_path / "Dockerfile").write_text(f"FROM {NESTED_IMAGE}\nLABEL name={name}\n")
    with guarded("buildkit-grpc") as allowed:
        _cli(allowed, *build)
        _cli(allowed, "rmi", name)
    for refused in (build, ("buildx", "prune", "--all", "--force")):
        said = _cli(guard, *refused, check=False)
        assert "--dind-guard-allow=buildkit-grpc" in said
        assert "DOCKER_BUILDKIT=0" in said
