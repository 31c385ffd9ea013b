"""A real registry, Debian's docker-registry, in a daemon of its own: pushed to and pulled from."""

from __future__ import annotations

import shutil

import pytest

from conftest import NESTED_IMAGE

from .projects import Project
from .traces import Traces

_REGISTRY = shutil.which("docker-registry")


@pytest.mark.requires_isolation
@pytest.mark.skipif(_REGISTRY is None, reason="docker-registry is missing: apt install it")
def test_registry(project: Project, traces: Traces) -> None:
    """Pushed from one daemon, pulled by name in a second, and through it as a mirror in a third."""
    project.write(
        f"""
        import io, tarfile, time
        from contextlib import closing

        import docker, pytest

        IMAGE = {NESTED_IMAGE!r}
        CONFIG = '''
        version: 0.1
        storage: {{filesystem: {{rootdirectory: /var/lib/registry}}}}
        http: {{addr: 0.0.0.0:5000}}
        '''

        @pytest.fixture(scope="session")
        def registry(dind_factory):
            daemon = dind_factory("registry", load=[IMAGE])
            packed = io.BytesIO()
            with tarfile.open(fileobj=packed, mode="w") as tar:
                tar.add({_REGISTRY!r}, "registry")
            daemon.container.put_archive("/usr/local/bin", packed.getvalue())
            daemon.exec(["sh", "-c", "cat >/etc/registry.yml"], stdin=CONFIG)
            daemon.exec(["sh", "-c", "registry serve /etc/registry.yml >/var/log/r 2>&1 &"])
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
