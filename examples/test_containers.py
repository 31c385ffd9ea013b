"""Nested containers: one that runs a command, and one that serves two ports."""

import http.client
from collections.abc import Iterator

import docker
import pytest
from docker.models.containers import Container

from pytest_dind import Address, ContainerFailed, Daemon

SERVE = """
mkdir -p /www/front /www/back
echo "the front" >/www/front/index.html
echo "the back" >/www/back/index.html
httpd -p 80 -h /www/front
httpd -p 81 -h /www/back
"""


@pytest.fixture
def web(dind_client: docker.DockerClient, image: str) -> Iterator[Container]:
    """A nested container with HTTP servers on two ports, both published."""
    container = dind_client.containers.run(
        image, ["sleep", "3600"], detach=True, ports={"80/tcp": None, "81/tcp": None}
    )
    # Each httpd goes to the background once it listens.
    assert container.exec_run(["sh", "-ec", SERVE]).exit_code == 0
    yield container
    container.remove(force=True)


def get(address: Address) -> str:
    """The page at the address, asked for without a proxy."""
    connection = http.client.HTTPConnection(*address, timeout=10)
    try:
        connection.request("GET", "/")
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def test_a_nested_container_runs(dind_client: docker.DockerClient, image: str) -> None:
    """A container in the daemon runs a command, and its output comes back."""
    assert dind_client.containers.run(image, ["echo", "hi"], remove=True) == b"hi\n"


def test_both_published_ports_answer(dind_daemon: Daemon, web: Container) -> None:
    """`address()` says where the test process reaches each published port."""
    assert get(dind_daemon.address(web, 80)) == "the front\n"
    assert get(dind_daemon.address(web, 81)) == "the back\n"


def test_a_service_is_waited_for(
    dind_daemon: Daemon, dind_client: docker.DockerClient, image: str
) -> None:
    """`wait_for()` waits until a server accepts connections, and fails at once when it ends."""
    server = dind_client.containers.run(image, ["httpd", "-f", "-p", "80"], detach=True)
    dind_daemon.wait_for(server, port=80, timeout=10)
    server.remove(force=True)

    broken = dind_client.containers.run(image, ["sh", "-c", "echo no config; exit 2"], detach=True)
    with pytest.raises(ContainerFailed, match="no config"):
        dind_daemon.wait_for(broken, port=80)
    broken.remove()
