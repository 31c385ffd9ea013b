"""A real registry, Debian's docker-registry, in a daemon of its own: pushed to and pulled from."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from conftest import NESTED_IMAGE
from pytest_dind.engine.digests import references
from pytest_dind.engine.engine import Engine
from pytest_dind.engine.images import ImageSource
from pytest_dind.lifetime import layout
from pytest_dind.lifetime.files import Directory
from pytest_dind.store.loaded import LoadedImages

from .conftest import StartDaemon
from .projects import Project
from .registries import forget, program, pushed, served
from .traces import Traces


@pytest.mark.requires_isolation
def test_registry(project: Project, traces: Traces) -> None:
    """Pushed from one daemon, pulled by name in a second, and through it as a mirror in a third."""
    project.write(
        f"""
        import io, os, tarfile, time
        from contextlib import closing

        import docker, pytest

        IMAGE = {NESTED_IMAGE!r}
        CONFIG = '''
        version: 0.1
        storage: {{filesystem: {{rootdirectory: /var/lib/registry}}}}
        http: {{addr: 0.0.0.0:5000}}
        '''

        START = '''
        cd /opt/registry
        loader=$(echo ld-*)
        [ ! -e "$loader" ] || set -- "./$loader" --library-path .
        "$@" ./docker-registry serve config.yml >log 2>&1 &
        '''

        @pytest.fixture(scope="session")
        def registry(dind_factory):
            daemon = dind_factory("registry", load=[IMAGE])
            packed = io.BytesIO()
            with tarfile.open(fileobj=packed, mode="w", dereference=True) as tar:
                for path in {program()!r}:
                    tar.add(path, "registry/" + os.path.basename(path))
            daemon.exec(["tar", "-x", "-C", "/opt"], stdin=packed.getvalue())
            daemon.exec(["sh", "-c", "cat >/opt/registry/config.yml"], stdin=CONFIG)
            daemon.exec(["sh", "-c", START])
            return daemon

        def push(daemon, name):
            with closing(daemon.client()) as client:
                client.images.get(IMAGE).tag(name)
                deadline = time.monotonic() + 20
                while True:
                    events = list(client.images.push(name, stream=True, decode=True))
                    errors = [event["error"] for event in events if "error" in event]
                    if not errors:
                        return
                    assert time.monotonic() < deadline, errors
                    time.sleep(0.1)

        def pulled(daemon, name):
            with closing(daemon.client()) as client:
                client.images.pull(name)
                return client.containers.run(name, ["echo", "hi"], remove=True)

        def test_pull_in_another(registry, dind_factory):
            push(registry, "127.0.0.1:5000/mine/thing:1")
            other = dind_factory("other", insecure_registry=["registry:5000"], load=[])
            assert pulled(other, "registry:5000/mine/thing:1") == b"hi\\n"

        def test_pull_through_the_mirror(registry, dind_factory):
            push(registry, "127.0.0.1:5000/mine/mirrored:1")
            other = dind_factory("third", registry_mirror=["http://registry:5000"], load=[])
            assert pulled(other, "mine/mirrored:1") == b"hi\\n"

        def test_registry_that_is_not_trusted(registry, dind_factory):
            push(registry, "127.0.0.1:5000/mine/thing:1")
            other = dind_factory("fourth", load=[])
            with pytest.raises(docker.errors.APIError, match="HTTP response to HTTPS client"):
                pulled(other, "registry:5000/mine/thing:1")
        """
    )
    assert "3 passed" in project.run()
    traces.assert_nothing_left()


@pytest.mark.requires_isolation
def test_by_digest_in_another_store(
    start: StartDaemon, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An image by digest comes into a daemon that gives it another id than the outer engine.

    So it is where one of the two keeps its images in containerd's store. What that store can't have
    by such a name is there by its tag, and a line says why.
    """
    first = start(arg=["--feature=containerd-snapshotter=true"], load=[NESTED_IMAGE], cache="off")
    second = start(load=[NESTED_IMAGE], cache="off")
    with closing(first.daemon.client()) as one, closing(second.daemon.client()) as other:
        digest = str(one.images.get(NESTED_IMAGE).id)
        kept, lost = f"{NESTED_IMAGE}@{digest}", f"mine/other:1@sha256:{'0' * 64}"
        files = Directory(second.home.path)
        loaded = LoadedImages(other, files)
        loaded.bring(ImageSource(one, print), [kept])
        assert loaded.name_by_digest([kept])
        # The other image is made to be named so, as one that was pulled.
        names = {kept: loaded._nameless([kept])[kept], lost: str(other.images.get(NESTED_IMAGE).id)}
        files.write(layout.REFERENCES, references(other, names))
    second.daemon.restart()
    with closing(first.daemon.client()) as one, closing(second.daemon.client()) as other:
        assert other.containers.run(kept, ["echo", "hi"], remove=True) == b"hi\n"
        capsys.readouterr()
        loaded = LoadedImages(one, Directory(tmp_path))
        loaded.bring(ImageSource(other, print), [lost])
        loaded.tell([lost], print)
        assert f"has {lost} by mine/other:1, not by its digest: containerd's store" in (
            capsys.readouterr().out
        )
        assert one.containers.run("mine/other:1", ["echo", "hi"], remove=True) == b"hi\n"


@pytest.mark.requires_isolation
def test_by_digest(project: Project, engine: Engine, traces: Traces, tmp_path: Path) -> None:
    """An image that is named by its digest is pulled once, warm then, and found by that name."""
    project.write(
        """
        def test_it(dind_client, dind_daemon, dind_config):
            (name,) = dind_config.load
            bare = name.replace(":1@", "@")
            for known in (name, bare):
                assert dind_client.containers.run(known, ["echo", "hi"], remove=True) == b"hi\\n"
            dind_daemon.exec(["docker", "run", "--rm", "--pull=never", name, "true"])
            assert bare in dind_client.images.list()[0].attrs["RepoDigests"]
        """
    )
    with served(program()[0], tmp_path) as host:
        name = f"{host}/mine/pinned:1"
        name = f"{name}@{pushed(engine, name)}"
        try:
            output = project.run("--dind-load", name)
            assert "dind: making a warm data-root of the images, once" in output
        except BaseException:
            forget(engine, name)
            raise
    try:
        # The registry is gone.
        output = project.run("--dind-load", name)
        assert "making a warm data-root" not in output
        assert "not by its digest" not in output
        assert "1 passed" in project.run("--dind-load", name, "--dind-cache", "off")
        project.write(
            f"""
            def test_it(dind_daemon, dind_client, capsys):
                (loaded,) = dind_daemon.load({name!r})
                tagged = dind_client.images.get({name.partition("@")[0]!r})
                assert tagged.id == loaded
            """
        )
        output = project.run()
        assert f"the daemon has {name} by {name.partition('@')[0]}, not by its digest" in output
    finally:
        forget(engine, name)
    traces.assert_nothing_left()
