"""aiodocker, the asyncio client."""

from .conftest import Run, package

PROGRAM = """
import asyncio, sys
import aiodocker

async def main():
    async with aiodocker.Docker() as docker:
        config = {"Image": sys.argv[1], "Cmd": ["echo", "hi"]}
        container = await docker.containers.run(config)
        await container.wait()
        print("".join(await container.log(stdout=True)), end="")
        await container.delete()

asyncio.run(main())
"""


def test_aiodocker(run_python: Run, image: str) -> None:
    """`aiodocker.Docker()` leads to the daemon."""
    package("aiodocker")
    assert run_python(PROGRAM, image) == "hi\n"
