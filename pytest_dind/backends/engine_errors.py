"""An engine's texts when it starts no container, turned into errors with remedies."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..engine import denials
from ..errors import (
    DaemonLost,
    DaemonUnhealthy,
    DindError,
    ImageUnavailable,
    ModeUnavailable,
    NoShell,
    NotShared,
    SettingsError,
    StartTimeout,
)
from ..lifetime.layout import Home
from ..settings import Settings


def refused(home: Home, settings: Settings, text: str) -> DindError:
    """The error for an engine that did not create or start the container."""
    subject = f"the daemon {home.name!r} (image {settings.image})"
    denial = denials.recognized(text)
    if denial is not None:
        return ModeUnavailable(
            f"The outer engine cannot start {subject}. {denial.cause}.",
            evidence=text,
            remedy=denial.remedy,
        )
    error, remedy = refusal(text)
    if error is None:
        what = f"The outer engine refused the container of {subject}."
        return ModeUnavailable(what, evidence=text, remedy=remedy)
    if settings.publish and settings.scope == "worker" and re.search(_TAKEN_PORT, text, re.I):
        remedy = [
            "Under xdist each worker's daemon would publish the port: have one for all of them, "
            "--dind-scope session, or leave --dind-publish out.",
            *remedy,
        ]
    return error(f"The outer engine cannot start {subject}.", evidence=text, remedy=remedy)


def unanswered(home: Home, settings: Settings, error: Exception) -> StartTimeout:
    """The error for an engine that does not say whether it started the container."""
    return StartTimeout(
        f"The outer engine does not start the daemon {home.name!r} (image {settings.image}); "
        "it does not answer.",
        evidence=str(error),
        remedy=[
            "Look at the engine's own log: journalctl -u docker.",
            "Restart the engine, or its runtime, which may hang.",
        ],
    )


def failed_meanwhile(home: Home, settings: Settings, error: Exception, log: str) -> DaemonUnhealthy:
    """The error for an engine, or a daemon, that fails once the daemon's container is there."""
    said = str(getattr(error, "explanation", None) or error)
    return DaemonUnhealthy(
        f"The daemon {home.name!r} (image {settings.image}) could not be brought into use: the "
        "outer engine or the daemon itself broke off.",
        evidence=f"{said}\n{log}",
        remedy=[
            "Look at the engine's own log: journalctl -u docker.",
            "Look for what ended the daemon in the log lines above.",
        ],
    )


def gone(home: Home, error: Exception) -> DaemonLost:
    """The error for a daemon whose container, or guard, is not there."""
    return DaemonLost(
        f"The daemon {home.name!r} is gone; nothing can be done in it.",
        evidence=str(getattr(error, "explanation", error)),
        remedy=["Start another one with dind_factory; one that was stopped stays so."],
    )


def refusal(text: str) -> tuple[type[DindError] | None, Sequence[str]]:
    """The error and the remedies for an engine's text; no error where the text is not known."""
    for pattern, error, remedy in _REFUSALS:
        if re.search(pattern, text, re.IGNORECASE):
            return error, remedy
    return None, [
        "Mend what the engine says.",
        "Try it without the plugin: docker run --rm --privileged IMAGE dockerd.",
    ]


# An engine of another user than root may not look into this user's directory, of mode 0700.
_DENIED = r'for type "bind": stat .*: permission denied'
UNSHARED = rf"bind source path does not exist|mounts denied|not shared from|{_DENIED}"
"""Texts of engines that can't mount this process's directories."""
UNSHARED_REMEDY = [
    "Run the tests on the engine's own machine.",
    "If they run in a container that has the engine's socket mounted, mount the temp dir "
    "into it under the same path.",
    "Set TMPDIR to a directory that the engine may mount.",
]

_TAKEN_PORT = r"port is already allocated|address already in use|ports are not available"

# Texts of moby, runc and crun; the error that each means; the remedies.
_REFUSALS: list[tuple[str, type[DindError], list[str]]] = [
    (
        _TAKEN_PORT,
        SettingsError,
        [
            "Name another port: --dind-publish PORT.",
            "End what holds the port (ss -ltnp shows it).",
        ],
    ),
    (
        r"privileged|unable to apply caps|operation not permitted|authorization denied",
        ModeUnavailable,
        [
            "Use an engine that allows --privileged: --dind-host HOST.",
            "Where the engine remaps user namespaces (userns-remap) or its policy forbids "
            "--privileged, ask who runs it for an exception.",
        ],
    ),
    (
        _DENIED,
        NotShared,
        ["Run the tests as the user that the engine runs as.", *UNSHARED_REMEDY],
    ),
    (UNSHARED, NotShared, UNSHARED_REMEDY),
    (
        r"mount a directory onto a file|not a directory",
        SettingsError,
        [
            "Name another TARGET, or mount a directory on a directory and a file on a file: "
            "--dind-mount PATH:TARGET.",
        ],
    ),
    (
        r'exec: "sh"|stat sh: no such file|executable file `sh` not found',
        NoShell,
        ["Name a Docker-in-Docker image: --dind-image docker:dind."],
    ),
    (
        r"executable file (`\w+` )?not found",
        ImageUnavailable,
        ["Name a Docker-in-Docker image: --dind-image docker:dind."],
    ),
]
