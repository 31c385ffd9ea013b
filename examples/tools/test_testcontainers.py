"""testcontainers-python: its containers run in the daemon, and their ports are reached."""

from .conftest import Run, package

PROGRAM = """
import sys, time, urllib.request
from testcontainers.core.container import DockerContainer

serve = ["sh", "-c", "echo contained >/index.html; exec httpd -f -p 80 -h /"]
with DockerContainer(sys.argv[1]).with_command(serve).with_exposed_ports(80) as web:
    url = f"http://{web.get_container_host_ip()}:{web.get_exposed_port(80)}/"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + 20
    while True:
        try:
            print(opener.open(url, timeout=2).read().decode())
            break
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
"""


def test_testcontainers(run_python: Run, image: str) -> None:
    """A container's published port is where testcontainers says; the daemon needs no Ryuk."""
    package("testcontainers")
    found = run_python(PROGRAM, image, TESTCONTAINERS_RYUK_DISABLED="true")
    assert "contained" in found
