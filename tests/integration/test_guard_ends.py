"""How guards end: what their tests made goes with the last user, and nothing else does."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.errors import APIError

from conftest import DAEMON_IMAGE, NESTED_IMAGE
from pytest_dind.engine import flavor
from pytest_dind.engine.engine import Engine
from pytest_dind.guard import launch
from pytest_dind.lifetime import labels

from ..support import remove_tree, until
from .guarded import Crowd, guarded
from .projects import Project, Run

# The crowd takes seconds to make: one worker has all that use it.
pytestmark = pytest.mark.xdist_group("guard_ends")

_SECONDS = 30
# One of each kind, and a name for an image of the host.
_MAKES = f"""
    import signal

    def test_it(dind_client, dind_daemon):
        dind_client.networks.create("ends-net")
        dind_client.volumes.create("ends-vol")
        dind_client.containers.run(
            "{NESTED_IMAGE}", ["sleep", "1000"], detach=True, network="ends-net",
            volumes={{"ends-vol": {{"bind": "/x"}}}}, restart_policy={{"Name": "always"}},
        )
        container = dind_client.containers.create("{NESTED_IMAGE}", "true")
        container.commit("ends-committed")
        dind_client.images.get("{NESTED_IMAGE}").tag("ends-tagged")
        dind_daemon.exec(["docker", "ps"])
        open("made", "w").close()
        signal.pause()
"""


@pytest.fixture
def crowd() -> Iterator[Crowd]:
    """Somebody else's objects, which stay as they are."""
    made = Crowd()
    yield made
    made.assert_untouched()
    made.remove()


@pytest.fixture
def room_project(room: Path) -> Iterator[Project]:
    """A project in mode socket."""
    with Project(room, "--dind-image", DAEMON_IMAGE, "--dind-mode", "socket") as project:
        yield project


def _of_room(engine: Engine, room: Path) -> list[str]:
    """What is on the engine with the labels of a run in this room, and the names of the test."""
    api: Any = engine.client.api
    filters = {"label": labels.HOME}
    found = [
        *api.containers(all=True, filters=filters),
        *api.networks(filters=filters),
        *(api.volumes(filters=filters)["Volumes"] or []),
        *api.images(all=True, filters=filters),
    ]
    tags = [tag for image in api.images() for tag in image["RepoTags"] or [] if "ends-" in tag]
    return tags + [
        str(item.get("Id") or item["Name"])
        for item in found
        if item["Labels"][labels.HOME].startswith(f"{room}/")
    ]


def _guards(room: Path) -> list[int]:
    """The processes of guards in this room."""
    found = [launch.pid(path.read_text()) for path in room.rglob("*/*/guard")]
    assert None not in found
    return [pid for pid in found if pid is not None]


def _made(project: Project) -> Run:
    project.write(_MAKES)
    process = project.start()
    project.reached("made", process)
    return process


def _remove_all(project: Project) -> None:
    subprocess.run(
        [sys.executable, "-m", "pytest_dind", "rm", "--all"],
        env={**os.environ, "TMPDIR": str(project.temp)},
        check=True,
    )


def _assert_gone(engine: Engine, room: Path) -> None:
    until(lambda: not _of_room(engine, room), _SECONDS, "all is gone from the engine")
    until(lambda: not list(room.rglob("pytest-dind-*/*/")), _SECONDS, "no directory is left")


@pytest.mark.engines
def test_usual_end(room_project: Project, room: Path, engine: Engine, crowd: Crowd) -> None:
    """At the end of a run all that its tests made is gone, and the guard with it."""
    room_project.write(_MAKES.replace("signal.pause()", "pass"))
    room_project.run()

    assert _of_room(engine, room) == []
    assert list(room.rglob("pytest-dind-*/*/")) == []
    crowd.assert_untouched()


@pytest.mark.engines
def test_filters_of_volumes(engine: Engine, crowd: Crowd) -> None:
    """Lists and prunes leave out volumes of others, also those with a label that is asked for."""
    with guarded() as guard:
        api: Any = guard.client.api
        guard.client.volumes.create("ends-vol")
        assert [volume.name for volume in guard.client.volumes.list()] == ["ends-vol"]
        theirs = guard.client.volumes.list(filters={"label": "whose", "dangling": True})
        assert crowd.mark not in str(theirs)
        # One that removes what any one of several filters selects is not let.
        takes_all = not flavor.is_podman(engine.client.api)
        with contextlib.nullcontext() if takes_all else pytest.raises(APIError, match="refused"):
            assert not api.prune_volumes(filters={"label": "whose"})["VolumesDeleted"]
    crowd.assert_untouched()


def test_name_for_what_was_loaded(room_project: Project, room: Path, engine: Engine) -> None:
    """A loaded image stays under its own name, and loses those that tests gave it."""
    api: Any = engine.client.api
    dockerfile = f"FROM {NESTED_IMAGE}\nLABEL room={room.name}\n".encode()
    engine.client.images.build(fileobj=io.BytesIO(dockerfile), tag="ends-loaded", rm=True)
    (room_project.path / "image.tar").write_bytes(b"".join(api.get_image("ends-loaded")))
    api.remove_image("ends-loaded", noprune=True)
    room_project.write(
        """
        def test_it(dind_client):
            with open("image.tar", "rb") as archive:
                dind_client.images.load(archive)[0].tag("ends-named")
            assert dind_client.images.get("ends-named")
        """
    )
    try:
        for _ in range(2):
            room_project.run()
            assert api.inspect_image("ends-loaded")["RepoTags"] == ["ends-loaded:latest"]
    finally:
        api.remove_image("ends-loaded", noprune=True)


def test_users_are_killed(room_project: Project, room: Path, engine: Engine, crowd: Crowd) -> None:
    """When all users are killed, the guard removes what they made, and then itself."""
    process = _made(room_project)
    (guard,) = _guards(room)
    assert len(_of_room(engine, room)) >= 7
    process.kill()
    process.wait()
    _assert_gone(engine, room)
    until(lambda: not Path(f"/proc/{guard}").exists(), _SECONDS, "the guard has ended")


def test_guard_is_killed(room_project: Project, room: Path, engine: Engine, crowd: Crowd) -> None:
    """When the guard is killed too, the next run's sweep removes what is left."""
    process = _made(room_project)
    for guard in _guards(room):
        os.kill(guard, signal.SIGKILL)
    process.kill()
    process.wait()
    assert _of_room(engine, room)
    room_project.write(
        "def test_it(dind_client): assert dind_client.containers.list(all=True) == []"
    )
    room_project.run()
    _assert_gone(engine, room)


def test_guard_that_dies_in_a_run(room_project: Project, room: Path, engine: Engine) -> None:
    """Tests that need a guard that is gone fail and say so; what they made goes all the same."""
    room_project.write(
        """
        import os, pathlib, signal
        from pytest_dind.guard import launch

        def test_it(dind_client, dind_daemon):
            dind_client.volumes.create("ends-vol")
            home = pathlib.Path(dind_daemon.host.removeprefix("unix://")).parent
            os.kill(launch.pid((home / "guard").read_text()), signal.SIGKILL)

        def test_next(dind_client):
            dind_client.ping()
        """
    )
    output = room_project.run(code=1)

    assert "The daemon 'main' (mode socket) is gone; tests that need it fail." in output
    _assert_gone(engine, room)


def test_factory(room_project: Project, room: Path, engine: Engine) -> None:
    """Each of the factory's daemons is a guard, which shows what was made through it alone."""
    room_project.write(
        """
        import pytest
        from pytest_dind import SettingsError

        def test_it(dind_factory, dind_client):
            one, two = dind_factory("one"), dind_factory(mode="socket")
            for daemon in (one, two):
                daemon.exec(["docker", "volume", "create", f"ends-{daemon.name}"])
            for daemon in (one, two):
                volumes = daemon.exec(["docker", "volume", "ls", "-q"]).stdout.split()
                assert volumes == [f"ends-{daemon.name}"]
            assert dind_client.volumes.list() == []
            with pytest.raises(SettingsError, match="--dind-memory can't be had in mode socket"):
                dind_factory("three", memory="1g")
            one.stop()
            with pytest.raises(Exception, match="is gone"):
                one.exec(["docker", "ps"])
        """
    )
    room_project.run()
    _assert_gone(engine, room)


def test_restart(room_project: Project, room: Path, engine: Engine) -> None:
    """A guard that was restarted knows what its tests made; so does the container of commands."""
    room_project.write(
        """
        def test_it(dind_daemon, dind_client):
            dind_client.volumes.create("ends-vol")
            dind_daemon.exec(["touch", "/kept"])
            dind_daemon.restart()
            assert dind_daemon.exec(["docker", "volume", "ls", "-q"]).stdout == "ends-vol\\n"
            dind_daemon.exec(["ls", "/kept"])
            assert [volume.name for volume in dind_client.volumes.list()] == ["ends-vol"]
        """
    )
    room_project.run()
    _assert_gone(engine, room)


@pytest.mark.parametrize("killed", [False, True])
def test_images_after_a_restart(
    room_project: Project, room: Path, engine: Engine, killed: bool
) -> None:
    """Images of before a restart are the run's own still: steps of a build, and what was loaded."""
    api: Any = engine.client.api
    dockerfile = f"FROM {NESTED_IMAGE}\nLABEL room={room.name}\n".encode()
    engine.client.images.build(fileobj=io.BytesIO(dockerfile), tag="ends-loaded", rm=True)
    (room_project.path / "image.tar").write_bytes(b"".join(api.get_image("ends-loaded")))
    api.remove_image("ends-loaded", noprune=True)
    room_project.write(
        f"""
        import io, os, pathlib, signal
        from pytest_dind.guard import launch

        def test_it(dind_client, dind_daemon):
            steps = b"FROM {NESTED_IMAGE}\\nRUN echo {room.name}\\nRUN echo last\\n"
            built, _ = dind_client.images.build(fileobj=io.BytesIO(steps), tag="ends-built")
            history = [item["Id"] for item in built.history()]
            with open("image.tar", "rb") as archive:
                dind_client.images.load(archive)
            if {killed}:
                home = pathlib.Path(dind_daemon.host.removeprefix("unix://")).parent
                os.kill(launch.pid((home / "guard").read_text()), signal.SIGKILL)
            dind_daemon.restart()
            dind_client.images.remove("ends-loaded")
            steps = [name for name in history[1:] if name != "<missing>"]
            theirs = dind_client.images.get("{NESTED_IMAGE}").id
            own = steps[:steps.index(theirs)]
            assert len(own) >= 2
            pathlib.Path("steps").write_text("\\n".join(own))
        """
    )
    try:
        room_project.run()
    finally:
        if api.images(name="ends-loaded"):
            api.remove_image("ends-loaded")

    steps = (room_project.path / "steps").read_text().split()
    there = {image["Id"] for image in api.images(all=True)}
    assert not there & set(steps)
    _assert_gone(engine, room)


def test_workers(room_project: Project, room: Path, engine: Engine) -> None:
    """Workers share the guard; what each one's test makes goes after it, and nothing else."""
    room_project.write(
        f"""
        import pytest

        @pytest.mark.parametrize("number", range(4))
        def test_it(dind_clean, dind_env, number):
            made = dind_clean.exec(["docker", "volume", "create"]).stdout.strip()
            client = dind_clean.client()
            bind = {{made: {{"bind": "/x"}}}}
            client.containers.run("{NESTED_IMAGE}", ["sleep", "99"], detach=True, volumes=bind)
            client.close()

        def test_other(dind_client):
            dind_client.ping()
        """
    )
    room_project.run("-n2", "--dind-leaks=fail")
    _assert_gone(engine, room)


def test_reused(room_project: Project, room: Path, engine: Engine) -> None:
    """The next run with the same name has the same guard, and what was made through it."""
    room_project.write("def test_it(dind_client): dind_client.volumes.create('ends-vol')")
    try:
        room_project.run("--dind-reuse=again")
        (guard,) = _guards(room)
        room_project.write(
            """
            def test_it(dind_client):
                assert [volume.name for volume in dind_client.volumes.list()] == ["ends-vol"]
            """
        )
        room_project.run("--dind-reuse=again")
        assert _guards(room) == [guard]
    finally:
        _remove_all(room_project)
    _assert_gone(engine, room)


def test_guard_whose_directory_is_removed(room_project: Project, engine: Engine) -> None:
    """A kept guard that nobody can reach any more ends, with what its tests made."""
    room_project.write("def test_it(dind_client): dind_client.volumes.create('ends-vol')")
    room_project.run("--dind-keep=always")
    (guard,) = _guards(room_project.temp)
    for base in room_project.temp.glob("pytest-dind-*"):
        remove_tree(base)
    until(lambda: not Path(f"/proc/{guard}").exists(), _SECONDS, "the guard has ended")
    assert not engine.client.api.volumes(filters={"name": "ends-vol"})["Volumes"]


def test_kept(room_project: Project, room: Path, engine: Engine) -> None:
    """A kept guard serves on with what its tests made, and is removed by the command."""
    room_project.write(_MAKES.replace("signal.pause()", "pass"))
    try:
        output = room_project.run("--dind-keep=always")
        host = next(line for line in output.splitlines() if "DOCKER_HOST=" in line)
        assert "python -m pytest_dind rm pytest-dind-" in output
        client = docker.DockerClient(base_url=host.partition("DOCKER_HOST=")[2])
        assert len(client.containers.list(all=True)) == 2
        client.close()
        # A sweep leaves it alone.
        room_project.write("def test_it(dind_client): assert dind_client.ping()")
        room_project.run()
        assert len(_of_room(engine, room)) >= 7
    finally:
        _remove_all(room_project)
    _assert_gone(engine, room)


def test_container_of_a_tests_image(
    room_project: Project, room: Path, engine: Engine, crowd: Crowd
) -> None:
    """Somebody else's container of an image that a test built inherits labels, and stays."""
    room_project.write(
        f"""
        import io, signal

        def test_it(dind_client):
            dockerfile = io.BytesIO(b"FROM {NESTED_IMAGE}\\nCMD sleep 1000\\n")
            dind_client.images.build(fileobj=dockerfile, tag="ends-built")
            open("made", "w").close()
            signal.pause()
        """
    )
    process = room_project.start()
    room_project.reached("made", process)
    theirs = engine.client.containers.run("ends-built", detach=True)
    try:
        process.kill()
        process.wait()
        until(lambda: not list(room.rglob("pytest-dind-*/*/")), _SECONDS, "the guard has ended")
        theirs.reload()
        assert theirs.status == "running"
        room_project.write("def test_it(dind_client): assert dind_client.ping()")
        room_project.run()
        theirs.reload()
        assert theirs.status == "running"
    finally:
        theirs.remove(force=True)
        engine.client.images.remove("ends-built")
