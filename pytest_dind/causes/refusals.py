"""Causes that an engine's refusal of a daemon's own container tells of."""

from __future__ import annotations

from ..errors import ImageUnavailable, NoShell, NotShared, SettingsError
from .cause import CONTAINERD, FOR_MAC, MOBY_CODE, RUNC_CODE, Cause

_IMAGE = ("Name a Docker-in-Docker image: --dind-image docker:dind.",)
_PODMAN_BINDS = (
    "https://github.com/containers/podman/blob/main/pkg/api/handlers/compat/containers_create.go"
)
_CRUN = "https://github.com/containers/crun/blob/main/src/libcrun/utils.c"

PUBLISHED_PORT = Cause(
    "published-port",
    r"port is already allocated|address already in use|ports are not available",
    "A port that the daemon's container publishes is taken",
    ("Name another port: --dind-publish PORT.", "End what holds the port (ss -ltnp shows it)."),
    (
        f"{MOBY_CODE}/daemon/libnetwork/portallocator/portallocator.go#L34",
        "https://github.com/docker/for-win/issues/6613",
    ),
    SettingsError,
)
UNSHARED = Cause(
    "unshared",
    r"bind source path does not exist|mounts denied|not shared from",
    "The engine does not see this process's directories",
    (
        "Run the tests on the engine's own machine.",
        "If they run in a container that has the engine's socket mounted, mount the temp dir "
        "into it under the same path.",
        "Set TMPDIR to a directory that the engine may mount.",
    ),
    (
        f"{MOBY_CODE}/daemon/volume/mounts/validate.go#L20",
        "https://github.com/docker/cli/issues/2879",
        f"{FOR_MAC}/issues/3258",
    ),
    NotShared,
)
DENIED = Cause(
    "denied-directory",
    r'for type "bind": stat .*: permission denied'
    r"|making volume mountpoint for volume /[^\n]*: permission denied"
    r"|statfs /[^\n]*: permission denied",
    "The engine's user may not enter this process's directory, which is of mode 0700",
    ("Run the tests as the user that the engine runs as.", *UNSHARED.remedy),
    (f"{MOBY_CODE}/daemon/volume/mounts/linux_parser.go#L97", _PODMAN_BINDS),
    NotShared,
)
NO_SHELL = Cause(
    "no-shell",
    r'exec: "sh"|stat sh: no such file|executable file `sh` not found',
    "The image has no shell",
    _IMAGE,
    (f"{CONTAINERD}/issues/3597", _CRUN),
    NoShell,
)

CAUSES = (
    PUBLISHED_PORT,
    Cause(
        "privileged",
        r"privileged mode is incompatible|privileged[^\n]*(not allowed|forbidden|disallowed|denied)"
        r"|unable to apply caps|OCI runtime(?![^\n]*unsafe procfs)[^\n]*operation"
        r" not permitted|authorization denied",
        "The engine does not allow a --privileged container",
        (
            "Use an engine that allows --privileged: --dind-host HOST.",
            "Where the engine remaps user namespaces (userns-remap) or its policy forbids "
            "--privileged, ask who runs it for an exception.",
        ),
        (
            f"{MOBY_CODE}/daemon/daemon_unix.go#L684",
            f"{MOBY_CODE}/pkg/authorization/authz.go#L203",
            f"{RUNC_CODE}/libcontainer/init_linux.go#L365",
        ),
    ),
    DENIED,
    UNSHARED,
    Cause(
        "mount-target",
        r"mount a directory onto a file|mounting [^\n]*not a directory",
        "A file is to be mounted on a directory, or a directory on a file",
        (
            "Name another TARGET, or mount a directory on a directory and a file on a file: "
            "--dind-mount PATH:TARGET.",
        ),
        (f"{MOBY_CODE}/daemon/errors.go#L154",),
        SettingsError,
    ),
    NO_SHELL,
    Cause(
        "no-program",
        r"executable file (`\w+` )?not found",
        "The image has not the program that its container is to run",
        _IMAGE,
        (f"{CONTAINERD}/issues/3597", _CRUN),
        ImageUnavailable,
    ),
)
