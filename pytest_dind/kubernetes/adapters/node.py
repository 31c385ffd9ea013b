"""Images that keep the contract of docs/kubernetes.md, and say so by their label."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .adapter import NodeSpec, Plan, is_address

LABEL = "pytest-dind.kubernetes-node"
"""Its value is the version of the contract."""
VERSION = "1"
SHARED = "/cluster"
"""Where the volume is that nodes share."""
BASE = "/store/base"
"""Where the directory of containerd is that nodes begin with."""


class NodeImage:
    """Images that keep the contract."""

    kubeconfig = f"{SHARED}/admin.kubeconfig"

    def takes(self, config: Mapping[str, Any]) -> bool:
        """Whether an image is of this kind."""
        return (config.get("Labels") or {}).get(LABEL) == VERSION

    def node(self, plan: Plan, index: int) -> NodeSpec:
        """The container of a node."""
        environment = {
            "NODE_INDEX": str(index),
            "NODE_SERVER": plan.server,
            "FAILOVER": plan.failover,
            "SANS": ",".join(f"{_kind(name)}:{name}" for name in plan.names),
        }
        volumes = {"cluster": SHARED, **({plan.base: f"{BASE}:ro"} if plan.base else {})}
        return NodeSpec(["agent" if index else "server"], environment, volumes)

    def importer(self, base: str) -> NodeSpec | None:
        """The container that makes what nodes begin with."""
        return NodeSpec(["images"], {}, {base: BASE})


def _kind(name: str) -> str:
    return "IP" if is_address(name) else "DNS"
