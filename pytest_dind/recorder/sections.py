"""The sections that a test's report has on a daemon: its log, its containers, and its events."""

from __future__ import annotations

import contextlib
import http.client
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from ..backends.registry import isolates
from . import hints
from .logs import Demultiplexer
from .recorder import Gap, Happening, Recorder, Seen
from .text import Secrets, last_lines, line_of
from .timeline import WIDER

PREFIX = "dind "
"""What the title of each section begins with."""

Section = tuple[str, str]
"""A title and a text."""

_MOST_CONTAINERS = 12
_MOST_EVENTS = 40
_LAST_CHECKS = 3
# The end of a container's log may still be on its way.
_REST_SECONDS = 1.0
_LOCAL_ADDRESSES = ("127.0.0.1", "::1")
# What dockerd says of every container's end, which is among the events; it would leave no room.
_USUAL = re.compile(
    r' level=\w+ msg="(connecting to shim|ignoring event|shim disconnected|MAC address changed|'
    r"cleaning up (after shim disconnected|dead shim))\b"
)
# As dockerd writes it: RFC 3339 with nanoseconds.
_STAMP = re.compile(r'^time="(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d)"')


@dataclass(frozen=True)
class Report:
    """What a test's report says of a daemon.

    Attributes:
        name: The daemon's name.
        recorder: The daemon's recorder.
        test: The test.
        began: When it began, by this process's clock.
        lines: How many lines of each log are shown.
        secrets: What is masked.
        awaited: What was waited for in vain, by the ids of containers.
    """

    name: str
    recorder: Recorder
    test: str
    began: float
    lines: int
    secrets: Secrets
    awaited: Mapping[str, str]

    def sections(self, log: str, ended: Callable[[], str]) -> list[Section]:
        """Return the sections: on the daemon's own log, on containers, on what happened.

        Args:
            log: The daemon's whole log.
            ended: Gives how the daemon ended, where it did; asked of one that does not answer.
        """
        seen, happenings, gaps = self.recorder.since(self.began)
        found = [*self._log(log, ended)]
        shown = [
            one
            for one in seen
            if one.maker in (self.test, WIDER, None) and (not one.is_node or _is_worth_a_word(one))
        ]
        # Those that went wrong are what is looked for; the others make room for them.
        best = sorted(shown, key=_rank)[:_MOST_CONTAINERS]
        details = {
            one.id: {} if one.is_gone else self.recorder.inspect(one.id)
            for one in shown
            if one in best
        }
        found += [self._container(one, details) for one in shown if one in best]
        found += self._events(happenings, gaps, len(shown) - len(best))
        return found

    def concerns(self) -> bool:
        """Tell whether the test made a container in the daemon."""
        return any(one.maker == self.test for one in self.recorder.since(self.began)[0])

    def _log(self, log: str, ended: Callable[[], str]) -> Iterator[Section]:
        said = _since(log.splitlines(), self.began, self.recorder)
        told = "\n".join(line for line in said if not _USUAL.search(line))
        shown = [*hints.of_daemon(told), *last_lines(told, self.lines, self.secrets)]
        title, how = f"{PREFIX}log of daemon {self.name!r} since the test began", ""
        if not self.recorder.serves():
            how = ended()
            shown = [self._loss(how), *shown]
        if how:
            title += ", which has ended"
            if not told:
                # Such as a panic, which has no time.
                shown += ["Its last log lines:", *last_lines(log, self.lines, self.secrets)]
        if shown:
            yield title, _text(shown)

    def _loss(self, how: str) -> str:
        """Return what is said of a daemon that does not answer."""
        if not how:
            return "The daemon does not answer any more."
        at = self.recorder.ended(asks=True)
        return f"The daemon ended{f' at {_clock(at)}' if at is not None else ''}. {how}"

    def _events(
        self, happenings: Sequence[Happening], gaps: Iterable[Gap], left_out: int
    ) -> Iterator[Section]:
        lines = [
            f"The events broke off from {_clock(gap.since)} to {_clock(gap.until)}, as when the "
            "daemon restarts: what happened meanwhile may be missing here, and containers may have "
            "ended."
            for gap in gaps
        ]
        if left_out:
            lines.append(f"{left_out} more containers have no section of their own.")
        before = len(happenings) - _MOST_EVENTS
        if before > 0:
            lines.append(f"{before} earlier events are left out.")
        lines += [
            f"{_clock(one.at)} {line_of(one.text, self.secrets)}"
            for one in happenings[-_MOST_EVENTS:]
        ]
        if lines:
            yield f"{PREFIX}events of daemon {self.name!r} since the test began", _text(lines)

    def _container(self, seen: Seen, all_details: Mapping[str, dict[str, Any]]) -> Section:
        details = all_details[seen.id]
        state: Mapping[str, Any] = details.get("State") or {}
        told = _state(seen, state)
        lines = [f"{self._maker(seen)} {_sentence(told)}"]
        if state.get("Error"):
            lines.append(f"The engine says: {state['Error']}")
        if seen.id in self.awaited:
            lines.append(f"It was waited for until it {self.awaited[seen.id]}, in vain.")
        checks = [*_checks((state.get("Health") or {}).get("Log") or seen.health)]
        logged = self._last_lines(seen, details)
        if _is_wrong(seen, state):
            said = "\n".join([str(state.get("Error") or ""), *logged, *checks])
            lines += hints.of_container(said, details)
            lines += hints.of_networks(logged, details, all_details.values())
        lines += hints.of_setup(details)
        if state.get("Status") == "created":
            lines += hints.of_waiting(details)
        lines += self._surroundings(details)
        lines += checks
        lines = [line_of(part, self.secrets) for line in lines for part in line.split("\n")]
        title = f"{PREFIX}log of container {seen.name!r} ({seen.image}), {told}"
        return line_of(title, self.secrets), _text([*lines, *logged])

    def _maker(self, seen: Seen) -> str:
        if seen.maker == self.test:
            made = "Made by the test."
        elif seen.maker == WIDER:
            made = "Made by a fixture of a wider scope."
        else:
            made = "Made before the first test."
        if not seen.is_known:
            # Where they share a daemon without labels.
            made = f"{made[:-1]}, or at that time by another process that uses the daemon."
        return made

    def _surroundings(self, details: Mapping[str, Any]) -> Iterator[str]:
        """The container's networks, ports and mounts: what it can reach, and be reached at."""
        settings = details.get("NetworkSettings") or {}
        networks = settings.get("Networks") or {}
        if networks:
            yield f"Networks: {', '.join(networks)}."
        for port, bindings in (settings.get("Ports") or {}).items():
            for binding in bindings or []:
                address = binding.get("HostIp") or ""
                where = f"{address or '*'}:{binding.get('HostPort')}"
                alone = address in _LOCAL_ADDRESSES and isolates(self.recorder.record.mode)
                note = ", on the loopback of the daemon's own container alone" if alone else ""
                yield f"Port {port} is published on {where}{note}."
        for mount in details.get("Mounts") or []:
            if mount.get("Type") == "bind":
                source, target = mount.get("Source"), mount.get("Destination")
                yield f"{target} is {source} as the daemon sees it."

    def _last_lines(self, seen: Seen, details: Mapping[str, Any]) -> list[str]:
        if not self.lines:
            return []
        data, is_cut, refusal = self._logged(seen, details)
        lines = last_lines(data, self.lines, self.secrets, is_cut=is_cut)
        if lines:
            return ["Its last log lines:", *lines]
        if refusal:
            what = "was gone before it could be read" if seen.is_gone else "can't be had"
            return [f"Its log {what}: {line_of(refusal, self.secrets)}"]
        if seen.started is None:
            return []
        if seen.log is None and seen.is_gone:
            return ["Its log went with it: too many containers ran at once for all to be followed."]
        return ["It has written nothing."]

    def _logged(self, seen: Seen, details: Mapping[str, Any]) -> tuple[bytes, bool, str]:
        """Return the end of a log, whether its beginning was cut off, and why there is none."""
        if details:
            target = f"/containers/{seen.id}/logs?stdout=1&stderr=1&tail={self.lines}"
            with contextlib.suppress(OSError, http.client.HTTPException):
                frames = Demultiplexer()
                return frames.feed(self.recorder.get(target)), False, frames.error
        return seen.log.result(_REST_SECONDS) if seen.log is not None else (b"", False, "")


def kept_log(seen: Seen, *, secrets: Secrets, lines: int, waits: bool) -> str:
    """Return the last lines of a container's log, as far as they have been read.

    Args:
        seen: The container.
        secrets: What is masked.
        lines: How many lines there may be.
        waits: Whether the rest of the log of a container that has ended is waited for.
    """
    if seen.log is None:
        return ""
    data, is_cut, _ = seen.log.result(_REST_SECONDS if waits else 0)
    return "\n".join(last_lines(data, lines, secrets, is_cut=is_cut))


def last_checks(seen: Seen, *, secrets: Secrets) -> str:
    """Return the last results of a container's health checks, where they failed."""
    return "\n".join(
        line_of(part, secrets) for line in _checks(seen.health) for part in line.split("\n")
    )


def _checks(results: Sequence[Any]) -> Iterator[str]:
    for check in results[-_LAST_CHECKS:]:
        output = str(check.get("Output", "")).strip()
        yield f"Health check, exit code {check.get('ExitCode')}: {output}"


def _rank(seen: Seen) -> tuple[bool, float]:
    """Return what orders containers by how likely they are the cause of a failure."""
    return seen.exit_code in (0, None) and not seen.is_oom, -seen.made


def _is_worth_a_word(node: Seen) -> bool:
    """Tell whether a cluster's node is other than expected; how the cluster is, is told apart."""
    return node.ended is not None or node.is_oom


def _is_wrong(seen: Seen, state: Mapping[str, Any]) -> bool:
    """Tell whether a container failed, could not be started, or is not healthy."""
    code = state.get("ExitCode", seen.exit_code) if seen.ended is not None else None
    health = (state.get("Health") or {}).get("Status")
    return code not in (0, None) or bool(state.get("Error")) or health == "unhealthy"


def _state(seen: Seen, state: Mapping[str, Any]) -> str:
    """Return a container's state in a few words."""
    is_over = seen.ended is not None or state.get("Status") in ("exited", "dead")
    code = state.get("ExitCode", seen.exit_code) if is_over else None
    told = str(state.get("Status", "")) or ("ended" if is_over else "created")
    if not state and not is_over and seen.started is not None:
        # Its daemon does not answer.
        told = "running, as far as is known"
    if is_over:
        told = "exited" if told == "ended" else told
        told += f" with code {code}" if code is not None else ", its exit code is not known"
    if seen.is_oom or state.get("OOMKilled"):
        told += ", killed for want of memory (OOM)"
    health = (state.get("Health") or {}).get("Status", "")
    if not is_over and health not in ("", "none"):
        told += ", not healthy yet" if health == "starting" else f", {health}"
    if told == "created":
        told += ", never started"
    if seen.is_gone:
        told += ", removed"
    return told


def _sentence(told: str) -> str:
    return f"It is {told}." if not told.startswith("exited") else f"It has {told}."


def _text(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _clock(at: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(at)) + f".{int(at % 1 * 1000):03}"


def _since(lines: Sequence[str], began: float, recorder: Recorder) -> Sequence[str]:
    """Return the lines of dockerd's log from a time on; those without a time follow one with it."""
    for number, line in enumerate(lines):
        stamp = _STAMP.match(line)
        if stamp is not None and recorder.local(_seconds(*stamp.groups())) >= began:
            return lines[number:]
    return ()


def _seconds(date: str, fraction: str | None, zone: str) -> float:
    """Return the seconds since 1970 of the parts of a time stamp."""
    offset = "+00:00" if zone == "Z" else zone
    whole = datetime.fromisoformat(date + offset).astimezone(timezone.utc)
    return whole.timestamp() + float(fraction or 0)
