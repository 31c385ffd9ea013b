"""An engine's texts when it starts no container, turned into errors with remedies."""

from __future__ import annotations

from ..causes import cause_of, explained
from ..errors import DaemonLost, DaemonUnhealthy, DindError, ModeUnavailable, StartTimeout
from ..lifetime.layout import Home
from ..settings import Settings

UNKNOWN_REMEDY = (
    "Mend what the engine says.",
    "Try it without the plugin: docker run --rm --privileged IMAGE dockerd.",
)
"""The remedies where nothing is known of what an engine says."""


def refused(home: Home, settings: Settings, text: str) -> DindError:
    """The error for an engine that did not create or start the container."""
    subject = f"the daemon {home.name!r} (image {settings.image})"
    from ..causes.refusals import PUBLISHED_PORT

    cause = cause_of(text, refusal=True)
    if cause is None:
        what = f"The outer engine refused the container of {subject}."
        return ModeUnavailable(what, evidence=text, remedy=UNKNOWN_REMEDY)
    what = f"The outer engine cannot start {subject}."
    error = explained(cause.error(what, evidence=text, remedy=cause.remedy), refusal=True)
    if settings.publish and settings.scope == "worker" and cause == PUBLISHED_PORT:
        way_out = (
            "Under xdist each worker's daemon would publish the port: have one for all of them, "
            "--dind-scope session, or leave --dind-publish out."
        )
        error = cause.error(what, evidence=error.evidence, remedy=[way_out, *error.remedy])
    return error


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
    return explained(
        DaemonUnhealthy(
            f"The daemon {home.name!r} (image {settings.image}) could not be brought into use: the "
            "outer engine or the daemon itself broke off.",
            evidence=f"{said}\n{log}",
            remedy=[
                "Look at the engine's own log: journalctl -u docker.",
                "Look for what ended the daemon in the log lines above.",
            ],
        )
    )


def gone(home: Home, error: Exception) -> DaemonLost:
    """The error for a daemon whose container, or guard, is not there."""
    return DaemonLost(
        f"The daemon {home.name!r} is gone; nothing can be done in it.",
        evidence=str(getattr(error, "explanation", error)),
        remedy=["Start another one with dind_factory; one that was stopped stays so."],
    )
