"""The names that engines accept. None is a path: each has a letter or digit first, or no slash."""

from __future__ import annotations

import re

from ..http.refusal import malformed

_TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"

OBJECT = r"[A-Za-z0-9][A-Za-z0-9_.-]*"
"""The name or id of a container or volume."""
NETWORK = r"[^/]+"
"""The name or id of a network, whose name may have any character, such as a space."""
IMAGE = rf"{OBJECT}(?:[/:@]{_TAG}){{0,30}}"
"""The name, digest or id of an image."""
EXEC = r"[0-9a-f]{64}"
"""The id of a command in a container."""

_HUB = ("docker.io/", "index.docker.io/")
_LIBRARY = "library/"
_IMAGE_TAG = re.compile(rf"(sha256:)?{_TAG}")


def is_object(name: str) -> bool:
    """Whether a container, network or volume can have this name."""
    return re.fullmatch(OBJECT, name) is not None


def is_image(name: str) -> bool:
    """Whether an image can have this name."""
    return re.fullmatch(IMAGE, name) is not None


def full(repository: str, tag: str = "") -> str:
    """An image's name as engines list it: without the default registry, with the default tag.

    Raises:
        Refusal: it is no image's name.
    """
    if tag and has_tag(repository):
        if repository.endswith(("@" if ":" in tag else ":") + tag):
            return full(repository)
        # An engine would replace the one by the other.
        raise malformed(f"{repository!r} has a tag already, and {tag!r} is another")
    name = f"{repository}@{tag}" if ":" in tag else f"{repository}:{tag}" if tag else repository
    if not is_image(name) or (tag and not _IMAGE_TAG.fullmatch(tag)):
        raise malformed(f"{name!r} is no image's name")
    for prefix in _HUB:
        name = name.removeprefix(prefix)
    if name.count("/") == 1:
        name = name.removeprefix(_LIBRARY)
    return name if has_tag(name) else f"{name}:latest"


def has_tag(name: str) -> bool:
    """Whether an image's name has a tag or a digest."""
    return "@" in name or ":" in name.rpartition("/")[2]
