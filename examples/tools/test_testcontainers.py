"""testcontainers-python: its containers run in the daemon, and their ports are reached."""

import urllib.request

import pytest

from .conftest import Run, package

SERVE = ["sh", "-c", "echo contained >/index.html; exec httpd -f -p 80 -h /"]
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


@pytest.mark.usefixtures("dind_activated")
def test_in_process(image: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The modules of testcontainers, imported whenever, run their containers in the daemon."""
    package("testcontainers")
    import testcontainers.core.config as settings
    from testcontainers.core.container import DockerContainer
    from testcontainers.core.wait_strategies import PortWaitStrategy

    # Its helper, whose image this daemon does not have, is not needed: the daemon goes as a whole.
    monkeypatch.setattr(settings.testcontainers_config, "ryuk_disabled", True)
    container = DockerContainer(image).with_command(SERVE).with_exposed_ports(80)
    with container.waiting_for(PortWaitStrategy(80)) as web:
        url = f"http://{web.get_container_host_ip()}:{web.get_exposed_port(80)}/"
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        assert opener.open(url, timeout=10).read() == b"contained\n"
