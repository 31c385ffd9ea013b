"""What the examples share."""

import pytest

from pytest_dind import Settings


@pytest.fixture(scope="session")
def image(dind_config: Settings) -> str:
    """The image that the daemon has from the start: the first of `--dind-load`."""
    return dind_config.load[0]
