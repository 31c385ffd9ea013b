"""A Docker daemon of its own for your tests."""

from .backends.protocol import Address
from .daemon import Daemon
from .errors import (
    AddressUnreachable,
    DaemonExited,
    DaemonLost,
    DaemonUnhealthy,
    DindError,
    DindWarning,
    EngineUnavailable,
    ImageUnavailable,
    ModeUnavailable,
    SettingsError,
    StartTimeout,
)
from .settings import Settings

__all__ = [
    "Address",
    "AddressUnreachable",
    "Daemon",
    "DaemonExited",
    "DaemonLost",
    "DaemonUnhealthy",
    "DindError",
    "DindWarning",
    "EngineUnavailable",
    "ImageUnavailable",
    "ModeUnavailable",
    "Settings",
    "SettingsError",
    "StartTimeout",
]
