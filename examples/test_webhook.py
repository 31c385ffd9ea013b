"""The way back: a nested container calls a server that runs in the test."""

import http.server
import threading
from collections.abc import Iterator
from queue import Queue

import docker
import pytest

CALL = "wget -q -O - --post-data 'it happened' http://host.docker.internal:%d/hook"


class Hook(http.server.BaseHTTPRequestHandler):
    """Notes what is posted."""

    called: "Queue[tuple[str, str]]" = Queue()

    def do_POST(self) -> None:
        """Note the path and the body, and thank for them."""
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.called.put((self.path, body))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"thanks")


@pytest.fixture
def port() -> Iterator[int]:
    """The port of a server on all addresses: containers don't reach the test's loopback."""
    with http.server.ThreadingHTTPServer(("0.0.0.0", 0), Hook) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_a_nested_container_calls_the_test(
    dind_client: docker.DockerClient, image: str, port: int
) -> None:
    """The test's machine has the name that docker's users give it."""
    answer = dind_client.containers.run(
        image,
        ["sh", "-c", CALL % port],
        extra_hosts={"host.docker.internal": "host-gateway"},
        remove=True,
    )
    assert answer == b"thanks"
    assert Hook.called.get(timeout=10) == ("/hook", "it happened")
