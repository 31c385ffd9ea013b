"""What tests leave in the daemon: removed by dind_clean, and reported otherwise."""

from __future__ import annotations

import contextlib
from typing import Any
from uuid import uuid4

import docker
import pytest

from conftest import NESTED_IMAGE
from pytest_dind.engine.engine import Engine

from .projects import Project

_HELPERS = """
    import docker, pytest, time
    from conftest import IMAGE

    def sleep(client, image=IMAGE, **options):
        return client.containers.run(image, ["sleep", "600"], detach=True, init=True, **options)

    def names(client):
        return (
            sorted(found.name for found in client.containers.list(all=True, ignore_removed=True)),
            sorted({net.name for net in client.networks.list()} - {"bridge", "host", "none"}),
            sorted(volume.name for volume in client.volumes.list()),
        )
    """


@pytest.fixture
def helped(project: Project) -> Project:
    """A project with helpers, whose daemon has the nested image."""
    project.write(_HELPERS, "helpers.py")
    project.write(f"IMAGE = {NESTED_IMAGE!r}", "conftest.py")
    project.options = (*project.options, "--dind-load", NESTED_IMAGE)
    return project


# Paused containers are frozen control groups.
@pytest.mark.cgroups
def test_all_that_a_test_adds(helped: Project) -> None:
    """Containers in every state, networks and volumes of a test go; what was before is intact."""
    helped.write(
        """
        from helpers import *

        @pytest.fixture(scope="session")
        def before(dind_client):
            network = dind_client.networks.create("kept")
            dind_client.volumes.create("kept")
            sleep(dind_client, name="kept", network="kept", volumes=["kept:/kept"])
            sleep(dind_client, name="kept-paused").pause()
            return names(dind_client)

        def test_adds(before, dind_clean, dind_client, dind_daemon):
            network = dind_client.networks.create("new")
            network.connect("kept")
            dind_client.volumes.create("new")
            volumes = ["new:/x", "implicit:/y", "/z"]
            sleep(dind_client, name="running", network="new", volumes=volumes)
            sleep(dind_client, name="paused").pause()
            dind_client.containers.run(
                IMAGE, ["false"], detach=True, name="restarting", restart_policy={"Name": "always"}
            )
            dind_client.containers.create(IMAGE, name="created")
            dind_client.containers.run(IMAGE, ["true"], detach=True, name="exited").wait()
            run = ["docker", "run", "-d", "--rm", "--name", "cli"]
            dind_daemon.exec([*run, IMAGE, "sleep", "600"])

        def test_after(before, dind_client):
            assert names(dind_client) == before
            assert dind_client.containers.get("kept").status == "running"
            assert dind_client.containers.get("kept-paused").status == "paused"
            for name in ("kept", "kept-paused"):
                dind_client.containers.get(name).remove(force=True)
            dind_client.networks.get("kept").remove()
            dind_client.volumes.get("kept").remove()
        """
    )
    output = helped.run()

    assert "2 passed" in output
    assert "left behind" not in output


def test_fixtures_of_the_test(helped: Project) -> None:
    """A test's other fixtures end before its things go; wider ones keep what they made."""
    helped.write(
        """
        from helpers import *

        @pytest.fixture(autouse=True)
        def own(dind_client):
            container = sleep(dind_client, name="own")
            yield
            container.remove(force=True)

        @pytest.fixture(scope="module")
        def late(dind_client):
            yield sleep(dind_client, name="late")
            dind_client.containers.get("late").remove(force=True)

        def test_asks_late(dind_clean, dind_client, request):
            sleep(dind_client, name="mine")
            request.getfixturevalue("late")
            sleep(dind_client, name="mine-too")

        def test_after(dind_client):
            assert names(dind_client)[0] == ["late", "own"]
        """
    )
    assert "left behind" not in helped.run()


@pytest.mark.parametrize(
    "options", [(), ("-n1", "--dind-leaks=fail")], ids=["own", "shared and labelled"]
)
def test_daemon_that_nobody_names(helped: Project, options: tuple[str, ...]) -> None:
    """A fixture that asks for the daemon as it runs, and no test by name, keeps its things."""
    helped.write(
        """
        from helpers import *

        @pytest.fixture(scope="session")
        def database(request):
            client = request.getfixturevalue("dind_client")
            return client, sleep(client, name="database")

        @pytest.fixture
        def emptied(request, database):
            request.getfixturevalue("dind_clean")

        def test_one(database, emptied):
            sleep(database[0], name="mine")

        def test_two(database):
            assert names(database[0])[0] == ["database"]
            database[1].remove(force=True)
        """
    )
    output = helped.run(*options)

    assert "2 passed" in output
    assert "left behind" not in output


def test_marker_that_a_hook_gives(helped: Project) -> None:
    """A marker given as tests are collected holds; with bad arguments it is that test's error."""
    helped.write(
        f"""
        import pytest

        IMAGE = {NESTED_IMAGE!r}

        def pytest_collection_modifyitems(items):
            items[0].add_marker(pytest.mark.dind_clean)
            items[2].add_marker(pytest.mark.dind_clean(image=True))
        """,
        "conftest.py",
    )
    helped.write(
        """
        from helpers import *

        def test_one(dind_client):
            sleep(dind_client, name="mine")

        def test_two(dind_client):
            assert names(dind_client)[0] == []

        def test_three(dind_client):
            raise AssertionError("the marker is not valid")
        """
    )
    output = helped.run(code=1)

    assert "2 passed, 1 error" in output
    assert "the marker dind_clean(image=True) is not valid" in output
    assert "Valid arguments, by name: build_cache, images." in output


@pytest.mark.requires_isolation
def test_images_on_request(helped: Project) -> None:
    """New images and names go when asked for; moved names are put back; else images stay."""
    helped.write(
        """
        from helpers import *

        def build(daemon, path, tag, text):
            (path / "Dockerfile").write_text(f"FROM {IMAGE}\\nRUN echo {text} >/text\\n")
            return daemon.build(path, tag)

        def test_keeps(dind_clean, tmp_path):
            build(dind_clean, tmp_path, "kept", "one")

        @pytest.mark.dind_clean(images=True, build_cache=True)
        def test_builds(dind_daemon, dind_client, tmp_path):
            build(dind_daemon, tmp_path, "new", "two")
            build(dind_daemon, tmp_path, "kept", "three")
            dind_client.images.get(IMAGE).tag("other")

        def test_after(dind_client):
            tags = sorted(tag for image in dind_client.images.list() for tag in image.tags)
            assert tags == ["kept:latest", IMAGE]
            text = dind_client.containers.run("kept", ["cat", "/text"], remove=True)
            assert text == b"one\\n"
        """
    )
    assert "3 passed" in helped.run()


def test_workers_at_once(helped: Project) -> None:
    """Under xdist a test's things go, by whatever tool made, and no other worker's."""
    common = """
        from helpers import *
        import pathlib, subprocess

        HERE = pathlib.Path(__file__).parent

        @pytest.fixture(scope="session")
        def kept(dind_client, worker_id):
            yield sleep(dind_client, name=f"kept-{worker_id}")
            dind_client.containers.get(f"kept-{worker_id}").remove(force=True)

        def wait_for(name):
            deadline = time.monotonic() + 20
            while not (HERE / name).exists():
                assert time.monotonic() < deadline, name
                time.sleep(0.01)

        def make(client, daemon, env, name):
            client.networks.create(name)
            sleep(client, name=name, volumes=[name + "-implicit:/y"])
            run = ["docker", "run", "-d", "--name"]
            daemon.exec([*run, name + "-exec", IMAGE, "sleep", "600"])
            subprocess.run([*run, name + "-cli", IMAGE, "sleep", "600"], env=env, check=True)
            (HERE / (name + "-made")).touch()

        def of(client, name):
            return [found for some in names(client) for found in some if found.startswith(name)]

        ALL = ["{0}", "{0}-cli", "{0}-exec", "{0}", "{0}-implicit"]
        """
    helped.write(
        common
        + """
        def test_it(dind_clean, dind_client, dind_env, kept):
            make(dind_client, dind_clean, dind_env, "one")
            wait_for("two-made")

        def test_after(dind_client, kept):
            assert of(dind_client, "one") == []
            assert of(dind_client, "two") == [name.format("two") for name in ALL]
            assert len(of(dind_client, "kept-")) == 2
            (HERE / "one-gone").touch()
        """,
        "test_one.py",
    )
    helped.write(
        common
        + """
        def test_it(dind_clean, dind_client, dind_env, kept):
            make(dind_client, dind_clean, dind_env, "two")
            wait_for("one-gone")

        def test_after(dind_client, kept):
            assert of(dind_client, "two") == []
        """,
        "test_two.py",
    )
    output = helped.run("-n", "2", "--dist", "loadfile")

    assert "4 passed" in output
    assert "left behind" not in output


def test_images_in_a_shared_daemon(helped: Project) -> None:
    """Images of a shared daemon are nobody's: asking for their removal is an error, not a guess."""
    helped.write(
        """
        import pytest

        @pytest.mark.dind_clean(images=True)
        def test_asks(): ...
        """
    )
    output = helped.run("-n", "1", code=1)

    assert "dind_clean cannot remove images or build cache in a daemon that others use" in output
    assert "--dind-scope worker" in output
    helped.run("-n", "1", "--dind-scope", "worker")


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "shared"])
def test_leaks(helped: Project, workers: tuple[str, ...]) -> None:
    """What a test leaves is in the summary with its name, a wider fixture's too; or fails it.

    Of a daemon that others share it is told only where that was asked for.
    """
    helped.write(
        """
        from helpers import *

        @pytest.fixture(scope="session")
        def wider(dind_client):
            dind_client.networks.create("of-a-fixture")

        def test_leaves(wider, dind_client):
            dind_client.volumes.create("of-a-test")

        def test_leaves_nothing(dind_client):
            dind_client.containers.run(IMAGE, ["true"], remove=True)
        """
    )
    output = helped.run(*workers)

    assert ("test_it.py::test_leaves: volume of-a-test" in output) is not bool(workers)
    assert ("fixtures of a wider scope: network of-a-fixture" in output) is not bool(workers)
    assert "test_leaves_nothing:" not in output
    assert "left behind" not in helped.run(*workers, "--dind-leaks", "off")
    failed = helped.run(*workers, "--dind-leaks", "fail", code=1)
    assert "1 error" in failed
    assert "The test test_it.py::test_leaves leaves something in the daemon" in failed


@pytest.mark.parametrize("kind", ["asked for", "of the image"])
def test_volumes_without_a_name(helped: Project, kind: str) -> None:
    """In a shared daemon they go too, also when the test has removed their container alone."""
    helped.write(
        f"""
        from helpers import *

        KIND = {kind!r}

        def test_it(dind_clean, dind_client, tmp_path):
            image, volumes = IMAGE, ["/asked-for"]
            if KIND == "of the image":
                (tmp_path / "Dockerfile").write_text(f"FROM {{IMAGE}}\\nVOLUME /of-the-image\\n")
                image, volumes = dind_clean.build(tmp_path, "with-a-volume"), []
            sleep(dind_client, image=image, volumes=volumes, name="it").remove(force=True)
            assert len(names(dind_client)[2]) == 1

        def test_after(dind_client):
            assert names(dind_client)[2] == []
            if KIND == "of the image":
                dind_client.images.remove("with-a-volume")
        """
    )
    assert "2 passed" in helped.run("-n", "1")


def test_what_others_make_on_the_machines_engine(helped: Project, engine: Engine) -> None:
    """With a guard that only labels, a test is cleaned up after, and nobody else is."""
    name = f"of-somebody-else-{uuid4().hex[:8]}"
    helped.write(
        f"""
        from helpers import *

        def test_it(dind_clean, dind_client):
            engine = docker.DockerClient({engine.url!r})
            engine.volumes.create({name!r})
            engine.networks.create({name!r})
            engine.containers.create(IMAGE, name={name!r})
            engine.close()
            dind_client.volumes.create("mine-" + {name!r})

        def test_after(dind_client):
            found = names(dind_client)
            assert all({name!r} in some for some in found), found
            assert "mine-" + {name!r} not in found[2]
        """
    )
    try:
        output = helped.run("--dind-mode=socket", "--dind-guard=label", "--dind-leaks=fail")
    finally:
        api: Any = engine.client.api
        for remove in (api.remove_container, api.remove_network, api.remove_volume):
            with contextlib.suppress(docker.errors.NotFound):
                remove(name)

    assert "2 passed" in output


@pytest.mark.requires_isolation
def test_look_at_a_daemon_that_restarts(helped: Project) -> None:
    """A test that ends while another restarts the shared daemon costs later ones nothing."""
    helped.write(
        """
        from helpers import *
        import threading

        restarts = []

        def test_ends_meanwhile(dind_daemon, dind_client):
            restarts.append(threading.Thread(target=dind_daemon.restart))
            restarts[0].start()
            deadline = time.monotonic() + 20
            while time.monotonic() < deadline:
                try:
                    dind_client.ping()
                except Exception:
                    return
            raise AssertionError("it does not restart")

        def test_is_cleaned(dind_clean, dind_client):
            restarts[0].join()
            dind_client.volumes.create("mine-too")

        def test_after(dind_client):
            assert names(dind_client)[2] == []
        """
    )
    assert "3 passed" in helped.run("-n", "1")
