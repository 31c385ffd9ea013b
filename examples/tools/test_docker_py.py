"""docker-py, as a program under test uses it."""

from .conftest import Run

PROGRAM = """
import sys, docker
client = docker.from_env()
print(client.containers.run(sys.argv[1], ["echo", "hi"], remove=True))
"""


def test_from_env(run_python: Run, image: str) -> None:
    """`docker.from_env()` leads to the daemon."""
    assert run_python(PROGRAM, image) == "b'hi\\n'\n"
