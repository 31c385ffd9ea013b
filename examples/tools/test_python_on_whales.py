"""python-on-whales, which runs the docker CLI."""

from .conftest import Run, package

PROGRAM = """
import sys
from python_on_whales import docker
print(docker.run(sys.argv[1], ["echo", "hi"], remove=True))
"""


def test_python_on_whales(run_python: Run, docker_cli: str, image: str) -> None:
    """Its commands go to the daemon."""
    package("python_on_whales")
    assert run_python(PROGRAM, image) == "hi\n"
