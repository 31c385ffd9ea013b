"""Several images in one run: a daemon of each, and what tests and workers have of them."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator

import pytest

from conftest import DAEMON_IMAGE
from pytest_dind import __main__ as command
from pytest_dind.engine.engine import Engine
from pytest_dind.lifetime import directories

from .projects import Project
from .traces import FOREIGN, Traces

# In mode socket, several images are an error.
pytestmark = pytest.mark.requires_isolation

# Of each worker's own, which tags and untags them.
_NAME = f"{FOREIGN}{os.getpid()}"
_FIRST, _SECOND = f"{_NAME}:1-dind", f"{_NAME}:2-dind"
_IMAGES = (f"--dind-image={_FIRST}", f"--dind-image={_SECOND}")
_NOTE = """
    import pytest

    def test_it(dind_daemon, dind_client, dind_config, request, worker_id):
        assert dind_client.ping()
        with open("ids", "a") as file:
            print(dind_config.image, dind_daemon.name, dind_daemon.id, worker_id, file=file)
"""
_READY = re.compile(r"^dind: daemon '(\S+)' ready in ", re.MULTILINE)


@pytest.fixture(scope="module", autouse=True)
def _images(engine: Engine) -> Iterator[None]:
    """The daemon's image under two names."""
    image = engine.client.images.get(DAEMON_IMAGE)
    for name in (_FIRST, _SECOND):
        image.tag(name)
    yield
    for name in (_FIRST, _SECOND):
        engine.client.images.remove(name)


def _notes(project: Project) -> list[list[str]]:
    """Of each test its image, and the name and the id of its daemon, and the worker."""
    return [line.split() for line in (project.path / "ids").read_text().splitlines()]


def _table(output: str) -> list[list[str]]:
    """The rows of the table: the image, the version, and how many passed, failed, were skipped."""
    head = "dind: engine * Docker * passed  failed  skipped"
    rows = output[re.search(head, output).end() :].splitlines()[1:3]  # type: ignore[union-attr]
    return [row.split()[1:] for row in rows]


def test_each_test_on_each_engine(project: Project, traces: Traces) -> None:
    """Both daemons run side by side; ids, the table, and what tests leave tell them apart."""
    project.write(
        _NOTE
        + f"""
    @pytest.mark.requires_engine(">=99")
    def test_new(dind_daemon): pass

    @pytest.fixture(scope="session")
    def of_session(dind_client):
        dind_client.volumes.create("wider")

    def test_leaves(dind_client, of_session):
        assert [one.name for one in dind_client.volumes.list()] == ["wider"]
        dind_client.volumes.create("left")

    def test_fails_on_the_second(dind_daemon, request):
        assert "{_NAME}-2" not in request.node.name

    @pytest.mark.dind_images("{_FIRST}")
    def test_marked(dind_daemon, dind_client, request):
        assert dind_daemon.name == "main"
        assert sorted(one.name for one in dind_client.volumes.list()) == ["left", "wider"]
    """
    )
    # One goes back to the first daemon in the end.
    project.write(
        """
        def pytest_collection_modifyitems(items):
            items.sort(key=lambda item: item.originalname == "test_marked")
        """,
        "conftest.py",
    )
    output = project.run(*_IMAGES, "-v", "-rs", code=1)
    notes = _notes(project)

    assert [note[0] for note in notes] == [_FIRST, _SECOND]
    assert notes[0][1] == "main"
    assert re.fullmatch(rf"{_NAME}-2-[0-9a-f]{{4}}", notes[1][1])
    assert _READY.findall(output) == [notes[0][1], notes[1][1]]
    (first, version, *counts), (second, _, *others) = _table(output)
    assert (first, *counts) == (_FIRST, "4", "0", "1")
    assert (second, *others) == (_SECOND, "2", "1", "1")
    assert version.partition(".")[0].isdigit()
    assert f"test_it[{_NAME}-2] PASSED" in output
    assert "requires_engine: the daemon's engine is " in output
    for name in ("1", "2"):
        assert output.count(f"test_leaves[{_NAME}-{name}]: volume left") == 1
    wider = re.findall("fixtures of a wider scope: (.*)", output)
    assert wider == ["volume wider", "volume wider"]
    traces.assert_nothing_left(seconds=1)


def test_workers_share_each(project: Project, traces: Traces) -> None:
    """All of xdist's workers have the same daemons; the table counts the tests of all."""
    project.write(_NOTE)
    output = project.run(*_IMAGES, "-n2", "--dist=each")
    notes = _notes(project)

    assert len({(image, worker) for image, _, _, worker in notes}) == 4
    assert len({(image, id_) for image, _, id_, _ in notes}) == 2
    assert sorted(_READY.findall(output)) == sorted({name for _, name, _, _ in notes})
    assert [row[2:] for row in _table(output)] == [["2", "0", "0"]] * 2
    traces.assert_nothing_left(seconds=1)


@pytest.mark.parametrize("cause", ["memory", "port"])
def test_one_after_the_other(project: Project, traces: Traces, engine: Engine, cause: str) -> None:
    """Where two daemons can't be side by side, one ends before the next starts; all are told of.

    That is so where memory is short, and where both would have the same port of the machine. The
    one that is asked for again is started anew.
    """
    options = []
    if cause == "port":
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            options = [f"--dind-publish={free.getsockname()[1]}"]
    project.write(
        f"""
        import contextlib, docker, pytest

        @pytest.fixture
        def others(request, dind_daemon):
            with contextlib.closing(docker.DockerClient({engine.url!r})) as outer:
                run = dind_daemon.container.name.removesuffix(dind_daemon.name)
                return [one.name for one in outer.containers.list(filters={{"name": run}})]

        def test_it(others, dind_daemon): assert others == [dind_daemon.container.name]

        @pytest.mark.dind_images({_FIRST!r})
        def test_again(others, dind_daemon): assert others == [dind_daemon.container.name]
        """
    )
    # In this order, the first daemon is needed after the second one.
    project.write(
        f"""
        import pytest_dind.hooks.matrix

        if {cause!r} == "memory":
            pytest_dind.hooks.matrix.NEEDED = 1 << 60

        def pytest_collection_modifyitems(items):
            items.sort(key=lambda item: item.name)
            items.append(items.pop(0))
        """,
        "conftest.py",
    )
    output = project.run(*_IMAGES, *options, "-v")

    assert len(_READY.findall(output)) == 3
    assert [name == "main" for name in _READY.findall(output)] == [True, False, True]
    traces.assert_nothing_left(seconds=1)


def test_loss_of_one(project: Project, traces: Traces) -> None:
    """A daemon that is gone fails the tests that need it; those of the other one go on."""
    project.write(
        f"""
        import pytest

        def test_kills(dind_daemon, request):
            if "{_NAME}-1" in request.node.name:
                dind_daemon.container.kill()
        def test_it(dind_client): assert dind_client.ping()
        """
    )
    output = project.run(*_IMAGES, code=1)

    assert "DaemonLost: The daemon 'main' " in output
    assert "3 passed, 1 error" in output
    assert [row[2:4] for row in _table(output)] == [["1", "1"], ["2", "0"]]
    traces.assert_nothing_left()


def test_reuse(
    project: Project, traces: Traces, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each image's daemon is reused, under a name of its own."""
    project.write(_NOTE)
    try:
        first = project.run(*_IMAGES, "--dind-reuse=matrix")
        # The daemon of the one image is not taken for one of other settings.
        assert "reuse: " not in first
        project.run(*_IMAGES, "--dind-reuse=matrix")
        ids = [id_ for _, _, id_, _ in _notes(project)]
        assert ids[:2] == ids[2:]
        assert sorted(traces.containers()) == sorted(ids[:2])
    finally:
        base = project.temp / f"pytest-dind-{os.getuid()}"
        monkeypatch.setattr(directories, "base", lambda: base)
        assert command.main(["rm", "--all", f"--host={engine.url}"]) == 0
