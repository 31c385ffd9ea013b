"""The names that engines give and take. Each begins with a letter or digit, so none is a path."""

from __future__ import annotations

import re

from ..http.refusal import malformed

_TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"

OBJECT = r"[A-Za-z0-9][A-Za-z0-9_.-]*"
"""A container, network or volume, by name or id."""
IMAGE = rf"{OBJECT}(?:[/:@]{_TAG}){{0,30}}"
"""An image, by name, digest or id."""
EXEC = r"[0-9a-f]{64}"
"""A command in a container, by id."""

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
    """An image's name as engines list it: without what is understood, with the tag that is.

    Raises:
        Refusal: it is no image's name.
    """
    if tag and has_tag(repository):
        # An engine would put the one in the other's place.
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
    """Whether an image's name says which tag or digest it means."""
    return "@" in name or ":" in name.rpartition("/")[2]
