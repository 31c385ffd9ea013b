"""Every error this plugin raises: what failed, the evidence, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

CAUSE = "Cause: "
"""Begins the first line of an evidence that tells of a known cause."""


class DindError(Exception):
    """Base of all errors of this plugin.

    Args:
        what: What failed, and on which subject.
        evidence: What was seen: an exit code, log lines, what was checked.
        remedy: What to do, as alternatives, each a full sentence or command.
    """

    what: str
    evidence: str
    remedy: tuple[str, ...]

    def __init__(self, what: str, *, evidence: str = "", remedy: Sequence[str]) -> None:
        super().__init__(what, evidence, tuple(remedy))
        self.what = what
        self.evidence = evidence.strip()
        self.remedy = tuple(remedy)

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle by the three parts: `remedy` is keyword-only, which the default would lose."""
        return _rebuild, (type(self), self.what, self.evidence, self.remedy)

    def __str__(self) -> str:
        parts = [self.what]
        if self.evidence:
            parts.append("Evidence:\n" + _indent(self.evidence.splitlines()))
        head = "To fix this:" if len(self.remedy) == 1 else "To fix this, either:"
        parts.append(head + "\n" + _indent(f"- {line}" for line in self.remedy))
        return _printable("\n".join(parts))

    def line(self) -> str:
        """The same in one line, for lists; of evidence of several lines it has a known cause."""
        first, _, more = self.evidence.partition("\n")
        seen = [first] if first and (not more or first.startswith(CAUSE)) else []
        return _printable(" ".join([self.what, *seen, "To fix this:", " Or: ".join(self.remedy)]))


def _rebuild(cls: type[DindError], what: str, evidence: str, remedy: tuple[str, ...]) -> DindError:
    return cls(what, evidence=evidence, remedy=remedy)


def _printable(text: str) -> str:
    """Return a text without what no terminal takes: a path may have bytes that are no UTF-8."""
    return text.encode(errors="backslashreplace").decode()


def _indent(lines: Iterable[str]) -> str:
    return "\n".join(f"  {line}" for line in lines)


class SettingsError(DindError):
    """An option, an ini key or an argument has a value that cannot work."""


class EngineUnavailable(DindError):
    """The outer engine cannot be reached, or not by this user."""


class NotShared(EngineUnavailable):
    """The outer engine's containers don't see this process's directories."""


class ModeUnavailable(DindError):
    """The outer engine cannot run a daemon in the mode asked for; it may refuse `--privileged`."""


class ImageUnavailable(DindError):
    """An image is missing and cannot be pulled, or is not the kind of image needed: no dockerd."""


class NoShell(ImageUnavailable):
    """An image has no shell, so that nothing can look after a daemon in its container."""


class BuildFailed(DindError):
    """A Dockerfile could not be built in the daemon; the last lines of the build are shown."""


class CopyFailed(DindError):
    """A file or a directory could not be copied into the daemon's container, or out of it."""


class ContainerFailed(DindError):
    """What a test waits for can't come true of a nested container.

    It has ended, its health check fails for good, or it is not there.
    """


class ContainerTimeout(DindError):
    """What a test waits for did not come true of a nested container in time."""


class SwarmFailed(DindError):
    """A swarm could not be made, or can't be worked with: it has lost its managers, or a node."""


class ServiceFailed(DindError):
    """What a test waits for can't come true of a swarm's service.

    Tasks have ended for good, no node has the image, or the service is not there.
    """


class ServiceTimeout(DindError):
    """What a test waits for did not come true of a swarm's service in time."""


class KubernetesFailed(DindError):
    """A Kubernetes cluster could not be made, or can't be worked with: a node of it is lost."""


class WorkloadFailed(DindError):
    """What a test waits for can't come true of a cluster's pods."""


class WorkloadTimeout(DindError):
    """What a test waits for did not come true of a cluster's pods in time."""


class SnapshotFailed(DindError):
    """A snapshot could not be made, or no daemon can start from it.

    It is of another image or engine than the daemon, or no longer in the store.
    """


class DaemonExited(DindError):
    """The daemon ended before it was ready; its exit code and last log lines are shown."""


class StartTimeout(DindError):
    """The daemon did not become ready in time, or the outer engine not even its container."""


class DaemonUnhealthy(DindError):
    """The daemon runs, but cannot be worked with.

    Its API is too old, or it or the engine breaks off while it starts.
    """


class DaemonLost(DindError):
    """A daemon that was ready is gone; each further test that needs it fails at once."""


class AddressUnreachable(DindError):
    """A port of a nested container cannot be reached from the test process."""


class DindWarning(UserWarning):
    """The daemon works, but worse than it could, or not as the test may think."""
