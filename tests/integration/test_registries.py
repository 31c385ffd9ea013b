"""A real registry, Debian's docker-registry, in a daemon of its own: pushed to and pulled from."""

from __future__ import annotations

from pathlib import Path

import pytest

from conftest import NESTED_IMAGE
from pytest_dind.engine.engine import Engine

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
