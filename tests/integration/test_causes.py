"""Known causes, made for real: what the daemon, the engine and a registry say is recognised."""

from __future__ import annotations

import contextlib
import http.server
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pytest
import trustme
from docker.errors import APIError
from docker.types import IPAMConfig, IPAMPool

from conftest import NESTED_IMAGE
from pytest_dind import BuildFailed, Daemon, DaemonExited, ImageUnavailable
from pytest_dind.causes import cause_of
from pytest_dind.engine.engine import Engine
from pytest_dind.engine.images import ImageSource

from .conftest import StartDaemon

pytestmark = pytest.mark.requires_isolation


def _cause(call: Callable[[], object]) -> str:
    """The name of the cause that a call of a docker client fails for."""
    with pytest.raises(APIError) as caught:
        call()
    cause = cause_of(str(caught.value.explanation))
    assert cause is not None, caught.value.explanation
    return cause.name


@contextlib.contextmanager
def _refusing_registry(authority: trustme.CA | None = None, address: str = "") -> Iterator[int]:
    """A registry that has had too many requests, without TLS or with; gives its port."""

    class Refusal(http.server.BaseHTTPRequestHandler):
        def _refuse(self) -> None:
            error = {"code": "TOOMANYREQUESTS", "message": "You have reached your pull rate limit."}
            body = json.dumps({"errors": [error]}).encode()
            self.send_response(429)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_HEAD = _refuse  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Keep quiet."""

    class Server(http.server.ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            """Keep quiet: a client that does not trust the certificate hangs up."""

    with Server((address or "127.0.0.1", 0), Refusal) as server:
        if authority is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            authority.issue_cert(address).configure_cert(context)
            server.socket = context.wrap_socket(
                server.socket, server_side=True, do_handshake_on_connect=False
            )
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def test_full_disk(dind_daemon: Daemon, tmp_path: Path) -> None:
    """A build that fills a file system fails with that as the cause, and how to make room."""
    step = "RUN dd if=/dev/zero of=/dev/shm/x bs=1M count=99"
    (tmp_path / "Dockerfile").write_text(f"FROM {NESTED_IMAGE}\n{step}\n")
    with pytest.raises(BuildFailed) as caught:
        dind_daemon.build(tmp_path, "full")

    assert caught.value.evidence.startswith("Cause: A file system of the engine or of the daemon")
    assert "No space left on device" in caught.value.evidence
    assert caught.value.remedy[0].startswith("Make room")


def test_address_pools(dind_client: docker.DockerClient, dind_clean: None) -> None:
    """A daemon that has no subnet left says so in words that are known."""
    for number, pool in enumerate(dind_client.info()["DefaultAddressPools"]):
        config = IPAMConfig(pool_configs=[IPAMPool(subnet=pool["Base"])])
        dind_client.networks.create(f"all{number}", ipam=config)

    assert _cause(lambda: dind_client.networks.create("one-more")) == "address-pools"


def test_taken(dind_client: docker.DockerClient, dind_clean: None) -> None:
    """A subnet, a name and a port that are taken already are told apart."""
    subnet = IPAMConfig(pool_configs=[IPAMPool(subnet="10.222.0.0/24")])
    dind_client.networks.create("one", ipam=subnet)
    assert _cause(lambda: dind_client.networks.create("two", ipam=subnet)) == "subnet-clash"

    def run(name: str) -> None:
        dind_client.containers.run(
            NESTED_IMAGE, ["sleep", "60"], name=name, detach=True, ports={"80/tcp": 8080}
        )

    run("first")
    assert _cause(lambda: run("first")) == "name-taken"
    assert _cause(lambda: run("second")) == "port-taken"


def test_platform(dind_client: docker.DockerClient) -> None:
    """An image for another platform is known as that."""
    create = dind_client.containers.create
    assert _cause(lambda: create(NESTED_IMAGE, platform="linux/s390x")) == "platform"


def test_certificate(dind_daemon: Daemon, dind_client: docker.DockerClient) -> None:
    """A registry's certificate that nobody trusts is known as that, and plain HTTP as itself."""
    address = dind_daemon.gateway
    pull = dind_client.images.pull
    with _refusing_registry(trustme.CA(), address) as port:
        assert _cause(lambda: pull(f"{address}:{port}/thing:1")) == "unknown-authority"
    with _refusing_registry(address=address) as port:
        assert _cause(lambda: pull(f"{address}:{port}/thing:1")) == "plain-http"


@pytest.mark.usefixtures("mode")
def test_rate_limit(engine: Engine) -> None:
    """A pull that a registry refuses for their number fails with that as the cause."""
    with _refusing_registry() as port, pytest.raises(ImageUnavailable) as caught:
        ImageSource(engine.client, print).ensure(f"127.0.0.1:{port}/thing:1")

    assert caught.value.evidence.startswith("Cause: The registry has had too many pulls")
    assert caught.value.remedy[0].startswith("Log in (docker login)")


def test_option_of_dockerd(start: StartDaemon) -> None:
    """A daemon that ends for an option is told with the option's name, and what to do first."""
    with pytest.raises(DaemonExited) as caught:
        start(arg=["--nonsense"])

    assert caught.value.evidence.startswith("Cause: dockerd refuses an option")
    assert "unknown flag: --nonsense" in caught.value.evidence
    assert caught.value.remedy[0].startswith("Leave out the --dind-arg")
