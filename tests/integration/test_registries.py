"""A real registry, Debian's docker-registry, in a daemon of its own: pushed to and pulled from."""

from __future__ import annotations

import pytest

from conftest import NESTED_IMAGE

from .projects import Project
from .registries import program
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
            daemon.container.put_archive("/opt", packed.getvalue())
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
