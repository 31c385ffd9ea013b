"""The suite that shows what works on an engine in a mode, from a test's point of view.

It is run by `pytest-dind conformance`. The first line of a test's docstring is its line in the
table. It needs one image, the first of `--dind-load`, in which there is busybox or the like.
"""

from __future__ import annotations

import contextlib
import http.server
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.request import ProxyHandler, build_opener

import pytest

from pytest_dind.engine.engine import Engine

if TYPE_CHECKING:
    import docker
    from docker.models.containers import Container

    from pytest_dind import Daemon, Settings
    from pytest_dind.runs.factory import Factory

_SECONDS = 30
_PAGE = "it is served"
_HOST = "host.docker.internal"
_SERVE = ["sh", "-ec", f"mkdir /www; echo {_PAGE} >/www/index.html; exec httpd -f -p 80 -h /www"]

Ended = Callable[..., "tuple[Path, int, str]"]
"""A test and further options of pytest, to its run's directory, its exit code, and its output."""


@pytest.fixture(scope="session")
def image(dind_config: Settings) -> str:
    """The image of nested containers."""
    return dind_config.load[0]


@pytest.fixture
def serving(dind_client: docker.DockerClient, image: str) -> Iterator[Container]:
    """A nested container that serves a page on a published port."""
    container = dind_client.containers.run(image, _SERVE, detach=True, ports={"80/tcp": None})
    yield container
    container.remove(force=True)


def _page(host: str, port: int) -> str:
    """The page at an address; asked for again until it is served."""
    ask = build_opener(ProxyHandler({})).open
    deadline = time.monotonic() + _SECONDS
    while True:
        try:
            with ask(f"http://{host}:{port}/", timeout=5) as answer:
                return str(answer.read().decode().strip())
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def test_container(dind_client: docker.DockerClient, image: str) -> None:
    """Containers run, and their output comes back."""
    container = dind_client.containers.run(image, ["echo", "hi"], detach=True)
    try:
        assert container.wait()["StatusCode"] == 0
        assert container.logs() == b"hi\n"
    finally:
        container.remove(force=True)


def test_command(dind_daemon: Daemon) -> None:
    """`exec` runs docker's CLI beside the daemon."""
    command = ["docker", "version", "--format", "{{.Server.Version}}"]
    assert dind_daemon.exec(command).stdout.strip() == dind_daemon.version


def test_build(dind_daemon: Daemon, image: str, tmp_path: Path) -> None:
    """Images are built."""
    (tmp_path / "Dockerfile").write_text(f"FROM {image}\nRUN echo built >/built\n")
    dind_daemon.build(tmp_path, tag="conformance:built")
    with contextlib.closing(dind_daemon.client()) as client:
        try:
            assert client.containers.run("conformance:built", ["cat", "/built"], remove=True) in (
                b"built\n",
                b"",
            )
        finally:
            client.images.remove("conformance:built", force=True)


def test_address(dind_daemon: Daemon, serving: Container) -> None:
    """`address` leads to a published port."""
    assert _page(*dind_daemon.address(serving, 80)) == _PAGE


def test_loopback(dind_client: docker.DockerClient, image: str) -> None:
    """A published port is on this machine's loopback, as with an engine of its own."""
    container = dind_client.containers.run(image, _SERVE, detach=True, ports={"80/tcp": None})
    try:
        container.reload()
        published = container.ports["80/tcp"] or []
        assert published, "the engine tells of no port that the container's leads from"
        port = int(published[0]["HostPort"])
        try:
            assert _page("127.0.0.1", port) == _PAGE
        except OSError as error:
            pytest.fail(f"port {port} of 127.0.0.1 does not lead there: {error}")
    finally:
        container.remove(force=True)


def test_files(dind_client: docker.DockerClient, image: str, tmp_path: Path) -> None:
    """Files of the suite are bind-mounted, and what is written is there for the test."""
    (tmp_path / "here").write_text("from the test\n")
    script = ["sh", "-ec", "cat /files/here >/files/there"]
    container = dind_client.containers.create(image, script, volumes=[f"{tmp_path}:/files"])
    try:
        container.start()
        container.wait()
        said = " ".join(container.logs().decode().split())
        there = tmp_path / "there"
        assert there.exists(), f"nothing was written to the test's directory: {said}"
        assert there.read_text() == "from the test\n"
    finally:
        container.remove(force=True)


def test_way_back(dind_client: docker.DockerClient, image: str) -> None:
    """A container calls a server in the test by `host.docker.internal`."""
    with _hook() as (port, called):
        container = dind_client.containers.run(
            image,
            ["timeout", "20", "wget", "-q", "-O", "-", f"http://{_HOST}:{port}/called"],
            extra_hosts={_HOST: "host-gateway"},
            detach=True,
        )
        try:
            container.wait()
            said = " ".join(container.logs().decode().split())
            assert called == ["/called"], f"the test was not reached: {said}"
        finally:
            container.remove(force=True)


@contextlib.contextmanager
def _hook() -> Iterator[tuple[int, list[str]]]:
    """A server on all addresses: its port, and the paths that it was asked for."""
    called: list[str] = []

    class Hook(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            called.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"thanks")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with http.server.ThreadingHTTPServer(("0.0.0.0", 0), Hook) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            yield server.server_port, called
        finally:
            server.shutdown()
            serving.join()


def test_limit(dind_client: docker.DockerClient, image: str) -> None:
    """A container's memory is limited."""
    assert dind_client.info().get("MemoryLimit"), "the engine has no memory controller"
    files = "/sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes"
    container = dind_client.containers.create(
        image, ["sh", "-c", f"cat {files} 2>/dev/null"], mem_limit="64m"
    )
    try:
        container.start()
        container.wait()
        limit = container.logs().decode().strip()
        assert limit == str(64 << 20), f"its control group's limit is {limit or 'not to be seen'}"
    finally:
        container.remove(force=True)


def test_networks(dind_client: docker.DockerClient, image: str) -> None:
    """Containers of a network find each other by name."""
    network = dind_client.networks.create("conformance")
    try:
        server = dind_client.containers.run(
            image, _SERVE, name="conformance-server", network="conformance", detach=True
        )
        try:
            ask = "until wget -q -O - http://conformance-server/; do sleep 0.1; done"
            client = dind_client.containers.run(
                image, ["timeout", "20", "sh", "-c", ask], network="conformance", detach=True
            )
            try:
                client.wait()
                assert _PAGE in client.logs().decode()
            finally:
                client.remove(force=True)
        finally:
            server.remove(force=True)
    finally:
        network.remove()


def test_own(dind_client: docker.DockerClient, dind_config: Settings, image: str) -> None:
    """What others have on the engine is not seen."""
    with contextlib.closing(Engine(dind_config.host)) as engine:
        others = _ids(engine)
        ours = dind_client.containers.create(image, ["true"])
        try:
            seen = {c.id for c in dind_client.containers.list(all=True)}
            assert seen == {ours.id}, f"there are {len(seen)} to be seen instead of one"
        finally:
            ours.remove(force=True)
        assert ours.id not in others


def _ids(engine: Engine) -> set[str]:
    """The ids of an engine's containers; none is inspected, since it may be gone by then."""
    return {str(item["Id"]) for item in engine.client.api.containers(all=True)}


@pytest.mark.requires_isolation
def test_restart(dind_daemon: Daemon, dind_client: docker.DockerClient, image: str) -> None:
    """A restarted daemon has its containers still."""
    container = dind_client.containers.create(image, ["true"])
    dind_daemon.restart()
    dind_client.containers.get(str(container.id)).remove()


@pytest.mark.requires_isolation
def test_several(dind_factory: Factory, image: str) -> None:
    """Further daemons have the images, and nested containers reach them by name."""
    with contextlib.ExitStack() as stack:
        for name in ("conformance-2", "conformance-1"):
            daemon = dind_factory(name=name)
            stack.callback(daemon.stop)
        client = stack.enter_context(contextlib.closing(daemon.client()))
        ask = ["ping", "-c", "1", "-W", "10", "conformance-2"]
        container = client.containers.run(image, ask, detach=True)
        assert container.wait()["StatusCode"] == 0, container.logs().decode()


def test_workers(ended: Ended, dind_config: Settings) -> None:
    """Xdist's workers share one daemon."""
    pytest.importorskip("xdist", reason="xdist is not installed")
    test = """
        import pytest

        @pytest.mark.parametrize("number", range(4))
        def test_it(dind_daemon, number, request):
            path = request.config.rootpath / request.config.workerinput["workerid"]
            path.write_text(dind_daemon.host)
    """
    directory, code, output = ended(test, "-p", "xdist", "-n2")
    assert code == 0, output
    assert len({path.read_text() for path in directory.glob("gw*")}) == 1


def test_killed(ended: Ended, dind_config: Settings) -> None:
    """A run that is killed leaves nothing behind."""
    test = """
        import os, signal

        def test_it(dind_daemon, dind_client, dind_config, request):
            nested = dind_client.containers.run(dind_config.load[0], ["sleep", "600"], detach=True)
            outer = dind_daemon.container.id if dind_daemon.container else nested.id
            request.config.rootpath.joinpath("made").write_text(outer)
            os.kill(os.getpid(), signal.SIGKILL)
    """
    directory, code, output = ended(test)
    assert code == -signal.SIGKILL, output
    made = (directory / "made").read_text()
    deadline = time.monotonic() + _SECONDS
    with contextlib.closing(Engine(dind_config.host)) as engine:
        while made in _ids(engine):
            assert time.monotonic() < deadline, f"the container {made[:12]} is there still"
            time.sleep(0.1)


@pytest.fixture
def ended(tmp_path: Path, dind_config: Settings, dind_mode: str, dind_daemon: Daemon) -> Ended:
    """Runs of pytest within this one, on the same engine, in the same mode; where that works."""

    def run(test: str, *options: str) -> tuple[Path, int, str]:
        (tmp_path / "test_it.py").write_text(textwrap.dedent(test))
        run = subprocess.run(
            [
                *(sys.executable, "-m", "pytest", "-p", "pytest_dind.plugin", "-q"),
                *(f"--rootdir={tmp_path}", f"--dind-host={dind_config.host}"),
                *(f"--dind-mode={dind_mode}", f"--dind-image={dind_config.image}"),
                *(f"--dind-load={image}" for image in dind_config.load),
                *options,
                str(tmp_path / "test_it.py"),
            ],
            env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=300,
            check=False,
            text=True,
        )
        return tmp_path, run.returncode, run.stdout

    return run
