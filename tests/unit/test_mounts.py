"""The values of --dind-mount: read, written again, and refused."""

from __future__ import annotations

import re

import pytest

from pytest_dind import mounts
from pytest_dind.lifetime import layout
from pytest_dind.mounts import Mount


@pytest.mark.parametrize(
    ("text", "mount"),
    [
        ("project", Mount("", word="project")),
        ("tmp:ro", Mount("", word="tmp", read_only=True)),
        ("copy:project", Mount("", word="project", copied=True)),
        ("project:/app", Mount("", "/app", word="project")),
        ("project=/a b:/app:ro", Mount("/a b", "/app", read_only=True, word="project")),
        ("/a,b c", Mount("/a,b c")),
        ("./project", Mount("./project")),
        ("data:/x/../y", Mount("data", "/y")),
        (r"/a\:b:ro", Mount("/a:b", read_only=True)),
        ("copy:/a:/b", Mount("/a", "/b", copied=True)),
        ("copy", Mount("copy")),
        ("/usr/src/app", Mount("/usr/src/app")),
        ("/dev/shm/x", Mount("/dev/shm/x")),
        ("/var/lib/jenkins/w", Mount("/var/lib/jenkins/w")),
        ("/etc:/outer/etc", Mount("/etc", "/outer/etc")),
    ],
)
def test_parse(text: str, mount: Mount) -> None:
    """Each form is read as what it means, and what is written of that means the same."""
    assert mounts.parse(text) == mount
    assert mounts.parse(str(mount)) == mount


def test_read_and_write_is_the_default() -> None:
    """`rw` may be said, as docker's own binds have it."""
    assert mounts.parse("/a:rw") == Mount("/a")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "none of the forms"),
        (":/a", "none of the forms"),
        ("/a:", "none of the forms"),
        ("/a:/b:/c", "none of the forms"),
        ("copy:/a:ro", "none of the forms"),
        ("/a:b", "the target b is no absolute path"),
        ("/", "the daemon's own root directory"),
        ("/a:/", "the daemon's own root directory"),
        ("/a:/x/..", "the daemon's own root directory"),
        ("/proc/sys", "its own /proc"),
        ("/a:/var/lib", "its own /var/lib/docker"),
        ("/a:/run/docker.sock", "its own /run/docker.sock"),
        ("/a:/run", "its own /run/docker"),
        ("/dev/shm", "its own /dev"),
        ("/usr", "its programs in /usr/bin"),
        ("/a:/etc", "its programs in /etc"),
    ],
)
def test_refused(text: str, says: str) -> None:
    """What has no form, or would hide what the daemon works with, is refused with the reason."""
    with pytest.raises(ValueError, match=re.escape(says)):
        mounts.parse(text)


@pytest.mark.parametrize(
    "path",
    [
        layout.IN_CONTAINER,
        layout.STORE_IN_CONTAINER,
        layout.DATA_ROOT,
        layout.SOCKET_IN_CONTAINER,
    ],
)
def test_places_of_the_daemon(path: str) -> None:
    """Nothing is mounted on, below or above what the plugin has in the daemon's container."""
    for target in (path, f"{path}/below", path.rpartition("/")[0]):
        assert mounts.unsuitable(target)
