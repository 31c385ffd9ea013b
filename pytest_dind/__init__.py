"""A Docker daemon of its own for your tests."""

from __future__ import annotations

from importlib import import_module

# Not typing's, which would take the reaper's process longer to import than its own modules.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .backends.protocol import Address as Address
    from .cluster.node import Node as Node
    from .cluster.swarm import Swarm as Swarm
    from .daemon.handle import Daemon as Daemon
    from .errors import AddressUnreachable as AddressUnreachable
    from .errors import BuildFailed as BuildFailed
    from .errors import ContainerFailed as ContainerFailed
    from .errors import ContainerTimeout as ContainerTimeout
    from .errors import CopyFailed as CopyFailed
    from .errors import DaemonExited as DaemonExited
    from .errors import DaemonLost as DaemonLost
    from .errors import DaemonUnhealthy as DaemonUnhealthy
    from .errors import DindError as DindError
    from .errors import DindWarning as DindWarning
    from .errors import EngineUnavailable as EngineUnavailable
    from .errors import ImageUnavailable as ImageUnavailable
    from .errors import KubernetesFailed as KubernetesFailed
    from .errors import ModeUnavailable as ModeUnavailable
    from .errors import ServiceFailed as ServiceFailed
    from .errors import ServiceTimeout as ServiceTimeout
    from .errors import SettingsError as SettingsError
    from .errors import SnapshotFailed as SnapshotFailed
    from .errors import StartTimeout as StartTimeout
    from .errors import SwarmFailed as SwarmFailed
    from .errors import WorkloadFailed as WorkloadFailed
    from .errors import WorkloadTimeout as WorkloadTimeout
    from .kubernetes.handle import Kubernetes as Kubernetes
    from .kubernetes.namespace import Namespace as Namespace
    from .kubernetes.node import KubernetesNode as KubernetesNode
    from .runs.factory import Factory as Factory
    from .settings import Settings as Settings

__all__ = [
    "Address",
    "AddressUnreachable",
    "BuildFailed",
    "ContainerFailed",
    "ContainerTimeout",
    "CopyFailed",
    "Daemon",
    "DaemonExited",
    "DaemonLost",
    "DaemonUnhealthy",
    "DindError",
    "DindWarning",
    "EngineUnavailable",
    "Factory",
    "ImageUnavailable",
    "Kubernetes",
    "KubernetesFailed",
    "KubernetesNode",
    "ModeUnavailable",
    "Namespace",
    "Node",
    "ServiceFailed",
    "ServiceTimeout",
    "Settings",
    "SettingsError",
    "SnapshotFailed",
    "StartTimeout",
    "Swarm",
    "SwarmFailed",
    "WorkloadFailed",
    "WorkloadTimeout",
]

_ELSEWHERE = {
    "Address": ".backends.protocol",
    "Daemon": ".daemon.handle",
    "Factory": ".runs.factory",
    "Kubernetes": ".kubernetes.handle",
    "KubernetesNode": ".kubernetes.node",
    "Namespace": ".kubernetes.namespace",
    "Node": ".cluster.node",
    "Settings": ".settings",
    "Swarm": ".cluster.swarm",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for, when it is: pytest loads this package in every run."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_ELSEWHERE.get(name, ".errors"), __name__), name)
