"""How the adapter for an image is found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...errors import ImageUnavailable
from .adapter import Adapter, entrypoint
from .k3s import K3s
from .node import LABEL, VERSION, NodeImage

_ADAPTERS: tuple[Adapter, ...] = (NodeImage(), K3s())
CONTRACT = "docs/kubernetes.md"


def adapter(image: str, details: Mapping[str, Any]) -> Adapter:
    """The adapter for an image.

    Args:
        image: The image's name.
        details: What the engine tells of it.

    Raises:
        ImageUnavailable: it is no node's.
    """
    config = details.get("Config") or {}
    for one in _ADAPTERS:
        if one.takes(config):
            return one
    other = (config.get("Labels") or {}).get(LABEL)
    said = f"the label {LABEL}={other}, where {VERSION} is known" if other else f"no label {LABEL}"
    raise ImageUnavailable(
        f"The image {image!r} is not one of a Kubernetes node.",
        evidence=f"It has {said}, and its entrypoint is not k3s: "
        f"{' '.join(entrypoint(config)) or 'none'}.",
        remedy=[
            "Use rancher/k3s: --dind-kubernetes-image=rancher/k3s:TAG, or kubernetes(image=...).",
            f"Have the image keep the contract of {CONTRACT}, and say so by its label: "
            f"{LABEL}={VERSION}.",
        ],
    )
