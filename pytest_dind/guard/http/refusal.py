"""The guard's refusals: an HTTP status, and a message in the form of the engine's own errors."""

from __future__ import annotations

from collections.abc import Mapping

_WHO = "pytest-dind guard"

# The engine's own words (moby, daemon/errors.go and volume/service/errors.go), so that tools which
# match them take a foreign object for one that is not there.
_MISSING: Mapping[str, str] = {
    "container": "No such container: {}",
    "exec": "No such exec instance: {}",
    "image": "No such image: {}",
    "network": "network {} not found",
    "volume": "get {}: no such volume",
}


class Refusal(Exception):
    """An error that the guard answers a request with, instead of passing it on."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def malformed(what: str) -> Refusal:
    """The refusal of a request that is malformed, or could be read in two ways."""
    return Refusal(400, f"{_WHO}: {what}; the request was not passed on")


def forbidden(what: str, allow: str = "") -> Refusal:
    """The refusal of a request that is understood, and not allowed.

    Args:
        what: What is refused.
        allow: The value of `--dind-guard-allow` that would allow it; empty where nothing less
            than the mode `label` would.
    """
    how = f"--dind-guard-allow={allow}" if allow else "--dind-guard=label"
    return Refusal(403, f"{_WHO}: {what} is refused; to allow it, run pytest with {how}")


def unshared(what: str, cause: str) -> Refusal:
    """The refusal of a bind that the mounts of the tests' own container don't allow for.

    Args:
        what: The bind.
        cause: What of these mounts is in its way.
    """
    return Refusal(
        403,
        f"{_WHO}: {what} is refused: {cause}; to have it, run the tests' container with the "
        "directory mounted into it (docker run -v DIRECTORY:DIRECTORY)",
    )


def unselective() -> Refusal:
    """The refusal of a prune by an engine that would remove volumes of others, too."""
    return Refusal(
        501,
        f"{_WHO}: a prune of volumes is refused: the outer engine removes volumes that one of "
        "several filters selects, as Podman does, so it would remove those of others; "
        "to remove the test's own, name them, or use a daemon of your own: --dind-mode=dind",
    )


def unknown(call: str) -> Refusal:
    """The refusal of a call that the guard does not know, in any of its modes."""
    return Refusal(
        403,
        f"{_WHO}: {call} is a call that the guard does not know, and refuses; to make it, use a "
        "daemon of your own: --dind-mode=dind",
    )


def missing(kind: str, name: str) -> Refusal:
    """The refusal of an object that is not the run's own, as if it did not exist."""
    return Refusal(404, _MISSING[kind].format(name))


def kept(what: str) -> Refusal:
    """The refusal of a removal: a conflict, as engines have it of what is in use.

    So tools that remove what they can, as `docker compose down --rmi all`, go on without it.
    """
    return Refusal(409, forbidden(what).message)


def taken(kind: str, name: str) -> Refusal:
    """The refusal of a create whose name an object outside the run has."""
    return Refusal(
        409, f"{_WHO}: the {kind} {name} is there and is not this run's; take another name"
    )
