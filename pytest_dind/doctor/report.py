"""The report of an examination: what was found, and what follows from it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..backends.registry import AUTO_ORDER
from ..settings import AUTO

if TYPE_CHECKING:
    from ..errors import DindError
    from .clusters import Clusters
    from .kernel import Flavour, Kernel
    from .outer import Outer, Space
    from .ports import Ports
    from .trial import Verdict

# The decision table: each need, and the mode for it.
_NEEDS = (
    ("full isolation, or work on the engine itself", "dind"),
    ("several nodes, stronger isolation, shared caches", "sysbox"),
    ("just Docker in CI, and no isolation", "socket"),
)


@dataclass(frozen=True)
class Advice:
    """A row of the decision table.

    Attributes:
        need: What a user needs.
        mode: The mode for the need.
        works: Whether the mode works here.
        instead: The nearest mode that works, where this one doesn't.
    """

    need: str
    mode: str
    works: bool
    instead: str = ""


@dataclass(frozen=True)
class Report:
    """The findings of an examination.

    Attributes:
        asked: The mode asked for.
        kernel: The kernel that daemons would run on.
        modes: The verdict on each mode.
        engine: The outer engine, where there is one.
        error: The reason why there is no engine, or none that could be examined.
        space: The room for the engine's data, where it could be found out.
        privileged: Whether the engine runs --privileged containers; None where that wasn't tried.
        unprivileged: Whether the engine runs containers at all; None likewise.
        image_iptables: The kernel interface that the iptables of the daemon's image uses.
        shares: Whether containers see this process's directories; None where that wasn't tried.
        gateway: The address at which nested containers reach this machine; empty for none.
        resolvers: The resolvers that containers of the engine ask, and so nested ones.
        ports: How tests reach the ports that nested containers publish.
        clusters: What the engine's machine has for nodes of Kubernetes.
    """

    asked: str
    kernel: Kernel
    modes: tuple[Verdict, ...]
    engine: Outer | None = None
    error: DindError | None = None
    space: Space | None = None
    privileged: bool | None = None
    unprivileged: bool | None = None
    image_iptables: Flavour = "unknown"
    shares: bool | None = None
    gateway: str = ""
    resolvers: tuple[str, ...] = ()
    ports: Ports | None = None
    clusters: Clusters | None = None

    @property
    def mode(self) -> str:
        """The mode that would be in force; empty where the one asked for doesn't work."""
        works = [verdict.mode for verdict in self.modes if verdict.works]
        if self.asked == AUTO:
            return next((mode for mode in AUTO_ORDER if mode in works), "")
        return self.asked if self.asked in works else ""

    @property
    def exit_code(self) -> int:
        """0 where the mode asked for works, 1 where it doesn't."""
        return 0 if self.mode else 1

    @property
    def nested(self) -> bool | None:
        """Whether nested containers run in each daemon where they were tried; None without any."""
        tried = [
            verdict.works
            for verdict in self.modes
            if verdict.daemon and not (verdict.works and verdict.daemon.nested_seconds is None)
        ]
        return all(tried) if tried else None

    def advice(self) -> list[Advice]:
        """Return the decision table, with what works here."""
        verdicts = {verdict.mode: verdict.works for verdict in self.modes}
        found = []
        for need, mode in _NEEDS:
            works = verdicts.get(mode, False)
            # A mode that isn't isolated is near to no other.
            others = [other for other in AUTO_ORDER if other != mode and verdicts.get(other)]
            found.append(Advice(need, mode, works, "" if works or not others else others[0]))
        return found

    def data(self) -> dict[str, Any]:
        """Return the report as JSON has it; its keys are stable."""
        engine = None
        if self.engine is not None:
            engine = dataclasses.asdict(self.engine) | {
                "space": self.space and dataclasses.asdict(self.space),
                "privileged": self.privileged,
                "unprivileged": self.unprivileged,
                "nested": self.nested,
                "image_iptables": self.image_iptables,
                "shares": self.shares,
                "gateway": self.gateway or None,
                "resolvers": list(self.resolvers),
                "ports": self.ports and dataclasses.asdict(self.ports),
                "kubernetes": self.clusters and dataclasses.asdict(self.clusters),
            }
        error = self.error and {
            "what": self.error.what,
            "evidence": self.error.evidence,
            "remedy": list(self.error.remedy),
        }
        return {
            "asked": self.asked,
            "mode": self.mode or None,
            "works": not self.exit_code,
            "modes": [dataclasses.asdict(verdict) for verdict in self.modes],
            "engine": engine,
            "error": error,
            "kernel": dataclasses.asdict(self.kernel),
            "advice": [dataclasses.asdict(row) for row in self.advice()],
        }
