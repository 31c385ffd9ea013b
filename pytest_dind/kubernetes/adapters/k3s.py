"""rancher/k3s, and images that have its program as their entrypoint.

Facts by k3s' documentation ("K3s server CLI", "Advanced options: Kubelet configuration"): an agent
takes the server's URL and the token by the environment; drop-in files for kubelet are read from
`agent/etc/kubelet.conf.d` from 1.32 on; packaged components are left out by `--disable`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .adapter import API_PORT, GRACE_SECONDS, LEASE_SECONDS, NodeSpec, Plan, entrypoint

_PROGRAM = "k3s"
_DISABLED = ("traefik", "servicelb", "metrics-server")
_KUBELET = "/var/lib/rancher/k3s/agent/etc/kubelet.conf.d/50-pytest-dind.conf"
_LEASE = {
    "apiVersion": "kubelet.config.k8s.io/v1beta1",
    "kind": "KubeletConfiguration",
    "nodeLeaseDurationSeconds": LEASE_SECONDS,
}
_FAST = (
    "--kube-controller-manager-arg=node-monitor-period=1s",
    f"--kube-controller-manager-arg=node-monitor-grace-period={GRACE_SECONDS}s",
    "--kube-apiserver-arg=default-not-ready-toleration-seconds=1",
    "--kube-apiserver-arg=default-unreachable-toleration-seconds=1",
)


class K3s:
    """rancher/k3s, and images that have its program as their entrypoint."""

    kubeconfig = "/etc/rancher/k3s/k3s.yaml"

    def takes(self, config: Mapping[str, Any]) -> bool:
        """Whether an image is of this kind."""
        found = entrypoint(config)
        return bool(found) and found[0].rpartition("/")[2] == _PROGRAM

    def node(self, plan: Plan, index: int) -> NodeSpec:
        """The container of a node."""
        environment = {"K3S_TOKEN": plan.token}
        if index:
            environment["K3S_URL"] = f"https://{plan.server}:{API_PORT}"
            command = ["agent"]
        else:
            command = [
                "server",
                *(f"--disable={name}" for name in _DISABLED),
                *(f"--tls-san={name}" for name in plan.names),
                # Nodes are on one network: no tunnel is needed, nor the kernel's module for it.
                "--flannel-backend=host-gw",
                *(_FAST if plan.is_fast else ()),
            ]
        command.append(f"--node-ip={plan.ip(index)}")
        files = {_KUBELET: json.dumps(_LEASE).encode()} if plan.is_fast else {}
        # In this image it is no link to /run.
        return NodeSpec(command, environment, files=files, in_memory=["/var/run"])

    def importer(self, base: str) -> NodeSpec | None:
        """None: each node imports its images itself."""
        return None
