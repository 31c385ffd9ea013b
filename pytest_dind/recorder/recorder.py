"""A recorder of what happens in a daemon: which test made, started, killed and left what.

One connection to the daemon's events, read in a thread. Logs are followed while containers run,
so that they are there when the containers are not: an engine gives none of a container that it is
removing, which `docker run --rm` and `docker rm -f` have it do at once.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import re
import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple
from urllib.parse import quote

from ..backends.protocol import Record
from ..engine import http as engine_http
from ..lifetime.labels import BY, NODE, ROLE
from .logs import Connection, Follower
from .timeline import Timeline

CONTAINER = "container"
_ACTIONS = (
    *("create", "start", "die", "oom", "kill", "destroy", "health_status", "pause", "unpause"),
    *("restart", "rename", "pull", "load", "import", "tag", "delete"),
)
_TYPES = ("container", "network", "volume", "image")
_LABELLED = ("network", "volume")
# Of what has no name its id stands for it, shortened; a volume's id is its name.
_ID = re.compile(r"(sha256:)?[0-9a-f]{64}$")
_SHORT = 12
_KNOWN_EVENTS = 2048
_KEPT_HAPPENINGS = 20_000
_MOST_FOLLOWERS = 64
# Of containers that nobody starts there may be any number.
_MOST_WAITING = 16
_ANSWER_SECONDS = 5
_AGAIN_SECONDS = (0.05, 1.0)
# What the daemon is doing just now is told with it.
_JUST_NOW_SECONDS = 0.02
_JOIN_SECONDS = 2
_UNHEALTHY = "health_status: unhealthy"


class Happening(NamedTuple):
    """An event in a daemon.

    Attributes:
        at: When, by this process's clock.
        maker: The test that ran then; see `Timeline.maker`.
        text: What happened to what.
        is_known: Whether the maker is known by a label, or since nobody else uses the daemon.
        kind: What it happened to: a container, an image, a network or a volume.
        thing: The id of that.
        name: Its name.
        action: What happened.
        id: The same in each process that uses the daemon, and of no other event.
    """

    at: float
    maker: str | None
    text: str
    is_known: bool = True
    kind: str = ""
    thing: str = ""
    name: str = ""
    action: str = ""
    id: str = ""


class Gap(NamedTuple):
    """A time for which nothing is known, by this process's clock: the events broke off."""

    since: float
    until: float


@dataclass
class Seen:
    """A container, as the events tell of it.

    Attributes:
        id: Its id.
        name: Its name.
        image: Its image.
        maker: The test that made it; see `Timeline.maker`.
        is_known: Whether the maker is known by a label, or since nobody else uses the daemon.
        made: When it was made, by this process's clock.
        is_node: Whether it is a node of a cluster, or serves one.
        started: When it was started last; None before.
        ended: When it ended; None while it runs, and before.
        exit_code: The code it ended with.
        is_oom: Whether something in it was killed for want of memory.
        is_gone: Whether it was removed.
        health: The last results of its health checks, where they failed.
        log: What it wrote last.
        is_told: Whether nothing has happened to it since it was handed over last.
    """

    id: str
    name: str
    image: str
    maker: str | None
    is_known: bool
    made: float
    is_node: bool = False
    started: float | None = None
    ended: float | None = None
    exit_code: int | None = None
    is_oom: bool = False
    is_gone: bool = False
    health: list[Any] = field(default_factory=list)
    log: Follower | None = None
    is_told: bool = False

    @property
    def is_read(self) -> bool:
        """Whether its log is no longer followed."""
        return self.log is None or not self.log.thread.is_alive()

    def lived_since(self, at: float) -> bool:
        """Tell whether it ran, or ended, after this time."""
        return self.made >= at or (
            self.started is not None and (self.ended is None or self.ended >= at)
        )


@dataclass(frozen=True)
class Sharing:
    """How a process tells what is its own in a daemon.

    Attributes:
        is_shared: Whether other processes use the daemon too.
        maker: What the label `BY` begins with on what this process makes; empty where there is
            no such label.
        required: The labels that the run's containers have, where not all are the run's.
        types: The types of what the events of the daemon tell of that is the run's.
    """

    is_shared: bool = False
    maker: str = ""
    required: Mapping[str, str] = field(default_factory=dict)
    types: tuple[str, ...] = _TYPES


class News(NamedTuple):
    """What became known of a daemon: containers, what happened, and when nothing is known."""

    containers: list[Seen]
    happenings: list[Happening]
    gaps: list[Gap]


class Recorder:
    """Follows what happens in a daemon, until it is closed.

    Attributes:
        record: The daemon's record.
        sharing: What in the daemon is this process's.

    Args:
        record: The daemon's record.
        timeline: The course of this process's tests.
        sharing: What in the daemon is this process's.
        lines: How many lines of each log are of interest.
    """

    def __init__(self, record: Record, timeline: Timeline, sharing: Sharing, lines: int) -> None:
        self.record = record
        self.sharing = sharing
        # When the events broke off; None while they come.
        self._broke: float | None = None
        self._timeline = timeline
        self._lines = lines
        self._filters = {"type": [*sharing.types], "event": [*_ACTIONS]}
        self._containers: dict[str, Seen] = {}
        self._happenings: deque[Happening] = deque(maxlen=_KEPT_HAPPENINGS)
        self._gaps: list[Gap] = []
        # How many of both there were, and how many of them have been handed over.
        self._happened = self._told = self._told_gaps = 0
        # Whose the networks and volumes are, by kind and id; None for those of other processes.
        self._makers: dict[tuple[str, str], tuple[str | None, bool] | None] = {}
        # What a new stream repeats.
        self._known: deque[tuple[Any, ...]] = deque(maxlen=_KNOWN_EVENTS)
        self._known_set: set[tuple[Any, ...]] = set()
        self._followers: list[Follower] = []
        # From the daemon's clock to this process's: the least that an event has taken to come; as
        # the date of an answer has it, before one has come; and since when they come, there.
        self._skew: float | None = None
        self._first_skew = 0.0
        self._follows_since = 0.0
        self._lock = threading.RLock()
        self._closed = threading.Event()
        self._stream: Connection | None = None
        self._thread = threading.Thread(target=self._work, name="pytest-dind events", daemon=True)

    def start(self) -> None:
        """Begin to follow it; does not wait for the daemon."""
        self._thread.start()

    def close(self) -> None:
        """End all its threads."""
        with self._lock:
            self._closed.set()
            followers = [*self._followers]
            stream = self._stream
        if stream is not None:
            stream.break_off()
        for follower in followers:
            follower.close()
        deadline = time.monotonic() + _JOIN_SECONDS
        for thread in (self._thread, *(follower.thread for follower in followers)):
            thread.join(max(0.0, deadline - time.monotonic()))

    def ended(self, *, asks: bool = False) -> float | None:
        """Return when the daemon ended, by this process's clock; None while it is there.

        Args:
            asks: Whether one whose events have broken off is asked: one that was killed has its
                directory still.
        """
        broke = self._broke
        is_gone = not self.record.home.path.is_dir() or (asks and broke and not self.serves())
        return broke if is_gone else None

    def turn(self, *, last: bool = False) -> News:
        """Return what became known since this was called before; asks the daemon for nothing.

        Containers that are gone are forgotten with it, once their logs are read.

        Args:
            last: Whether nothing is told later: all containers are told again, and what the daemon
                knows of the current test is asked for.
        """
        if last:
            with contextlib.suppress(OSError, ValueError, http.client.HTTPException):
                self._catch_up(self._timeline.began)
        with self._lock:
            known = [*self._containers.values()]
            told = [
                one
                for one in known
                if last or not (one.is_told or (one.is_gone and not one.is_read))
            ]
            for one in told:
                one.is_told = True
                if one.is_gone and one.is_read:
                    del self._containers[one.id]
            new = self._happened - self._told
            happenings = [*itertools.islice(reversed(self._happenings), new)][::-1]
            gaps = self._gaps[self._told_gaps :]
            self._told, self._told_gaps = self._happened, len(self._gaps)
        return News(told, happenings, gaps)

    def since(self, at: float) -> tuple[list[Seen], list[Happening], list[Gap]]:
        """Return what there was after this time, up to now.

        Returns:
            The containers that were made, ran or ended, what happened, and the times for which
            that is not known.
        """
        with contextlib.suppress(OSError, ValueError, http.client.HTTPException):
            self._catch_up(at)
        with self._lock:
            containers = [one for one in self._containers.values() if one.lived_since(at)]
            happenings = [one for one in self._happenings if one.at >= at]
            gaps = [one for one in self._gaps if one.until >= at]
        return sorted(containers, key=lambda one: one.made), happenings, gaps

    def local(self, at: float) -> float:
        """Return a time of the daemon's clock by this process's."""
        return at + self._behind

    @property
    def _behind(self) -> float:
        """The seconds by which the daemon's clock is behind this process's."""
        return self._first_skew if self._skew is None else self._skew

    def get(self, target: str) -> bytes:
        """Ask the daemon for something.

        Raises:
            OSError: it does not answer, or refuses.
            http.client.HTTPException: the answer is no HTTP.
        """
        connection = engine_http.new_connection(
            self.record.host, self.record.certificates, _ANSWER_SECONDS
        )
        with contextlib.closing(connection):
            connection.request("GET", target)
            response = connection.getresponse()
            body = response.read()
            if response.status != http.client.OK:
                raise OSError(body.decode(errors="replace"))
            return body

    def serves(self) -> bool:
        """Tell whether the daemon answers."""
        with contextlib.suppress(OSError, http.client.HTTPException):
            self.get("/_ping")
            return True
        return False

    def inspect(self, container: str) -> dict[str, Any]:
        """Return a container's details; empty where it is gone, or the daemon does not answer."""
        with contextlib.suppress(OSError, ValueError, http.client.HTTPException):
            found: dict[str, Any] = json.loads(self.get(f"/containers/{container}/json"))
            return found
        return {}

    # The events.

    def _work(self) -> None:
        pauses = iter(_AGAIN_SECONDS)
        pause = next(pauses)
        while not self._closed.is_set() and self.record.home.path.is_dir():
            # A daemon that ends, or restarts, closes the connection.
            with contextlib.suppress(
                OSError, ValueError, AttributeError, http.client.HTTPException
            ):
                if self._read(self._broke):
                    pauses = iter(_AGAIN_SECONDS)
            self._broke = self._broke or time.time()
            pause = next(pauses, pause)
            self._closed.wait(pause)

    def _read(self, broke: float | None) -> bool:
        """Follow the events to the stream's end.

        Args:
            broke: When an earlier stream broke; None where there was none.

        Returns:
            Whether there was a stream.
        """
        connection = Connection(self.record.host, self.record.certificates)
        with contextlib.closing(connection):
            with self._lock:
                if self._closed.is_set():
                    return False
                self._stream = connection
            # The daemon answers before it begins to collect events, but remembers the last.
            response = connection.open(self._events("1"))
            self._set_clock(response.getheader("Date", ""))
            # Before the look: what is made meanwhile is told, too.
            if broke is not None:
                self._resume(broke)
            elif self.sharing.is_shared:
                self._look()
            self._broke = None
            with contextlib.suppress(OSError, http.client.HTTPException):
                while line := response.readline():
                    self._take(json.loads(line), time.time())
        return True

    def _set_clock(self, date: str) -> None:
        """Learn what the daemon's clock shows when the events begin to come.

        Args:
            date: The date of the answer, in whole seconds (RFC 9110, 6.6.1).
        """
        with contextlib.suppress(ValueError):
            self._follows_since = parsedate_to_datetime(date).timestamp()
            behind = time.time() - self._follows_since
            # What may be the same clock is.
            self._first_skew = 0.0 if 0 <= behind < 1 else behind

    def _events(self, since: str, until: str = "") -> str:
        end = f"&until={until}" if until else ""
        return f"/events?since={since}{end}&filters={quote(json.dumps(self._filters))}"

    def _catch_up(self, at: float) -> None:
        """Take the events of this time up to now, which the stream may not have brought yet."""
        now = time.time() - self._behind + _JUST_NOW_SECONDS
        since = at - self._behind
        answer = self.get(self._events(f"{since:.6f}", f"{now:.6f}"))
        for line in answer.splitlines():
            self._take(json.loads(line), time.time())

    def _resume(self, broke: float) -> None:
        """Go on after the events have broken off."""
        with self._lock:
            self._gaps.append(Gap(broke, time.time()))
        self._look()

    def _look(self) -> None:
        """Look at which containers there are, since no event may tell of them."""
        listed = json.loads(self.get("/containers/json?all=1"))
        with self._lock:
            there = {item["Id"] for item in listed}
            for seen in self._containers.values():
                if seen.id not in there:
                    seen.is_gone, seen.is_told = True, False
                    seen.ended = seen.ended or time.time()
            for item in listed:
                self._look_at(item)

    def _look_at(self, item: Mapping[str, Any]) -> None:
        name = (item["Names"] or [item["Id"]])[0].lstrip("/")
        attributes = {**(item.get("Labels") or {}), "name": name, "image": item["Image"]}
        seen = self._seen(item["Id"], attributes, self.local(item["Created"]))
        if seen is None:
            return
        seen.is_told = False
        if item["State"] in ("running", "paused", "restarting"):
            seen.started, seen.ended = seen.started or seen.made, None
            if seen.log is None or seen.log.waits or not seen.log.thread.is_alive():
                self._follow(seen)
        elif seen.started is not None:
            seen.ended = seen.ended or time.time()

    def _take(self, event: Mapping[str, Any], arrived: float) -> None:
        """Take an event, unless it is known."""
        action, kind = str(event.get("Action", "")), str(event.get("Type", ""))
        actor = event.get("Actor") or {}
        attributes = actor.get("Attributes") or {}
        key = (event.get("timeNano"), kind, actor.get("ID"), action)
        seen: Seen | None = None
        with self._lock:
            if key in self._known_set or self._closed.is_set():
                return
            if len(self._known) == _KNOWN_EVENTS:
                self._known_set.discard(self._known[0])
            self._known.append(key)
            self._known_set.add(key)
            there = int(event["timeNano"]) / 1e9
            # Those that a stream begins with happened at any time before.
            if there >= self._follows_since:
                taken = arrived - there
                self._skew = taken if self._skew is None else min(self._skew, taken)
            at = self.local(there)
        # Out of the lock: the daemon may be asked.
        whose = self._whose(kind, str(actor.get("ID", "")), action, at)
        if whose is None:
            return
        with self._lock:
            if kind == CONTAINER:
                seen = self._seen(actor["ID"], attributes, at)
                if seen is None:
                    return
                self._update(seen, action, attributes, at)
                if self.sharing.is_shared:
                    whose = whose[0], seen.is_known
            self._happenings.append(_happening(event, at, *whose))
            self._happened += 1
        if seen is not None and action == _UNHEALTHY:
            # A container with --rm takes its results with it.
            health = (self.inspect(seen.id).get("State") or {}).get("Health") or {}
            seen.health = health.get("Log") or []
            seen.is_told = False

    def _whose(
        self, kind: str, thing: str, action: str, at: float
    ) -> tuple[str | None, bool] | None:
        """Return who did what an event tells of, and whether that is known; None for others' own.

        A container's events have its labels; for those of networks and volumes the daemon is asked
        once, as they are made, and images have none.
        """
        maker, sharing = self._timeline.maker(at), self.sharing
        if not sharing.is_shared or kind not in _LABELLED or not sharing.maker:
            return maker, not sharing.is_shared
        if action == "create":
            process, _, test = self._by(kind, thing).partition(" ")
            mine = (test, True) if process == sharing.maker else None
            self._makers[kind, thing] = mine if process else (maker, False)
        return self._makers.get((kind, thing), (maker, False))

    def _by(self, kind: str, thing: str) -> str:
        """Return the label that tells who made a network or a volume; empty where it has none."""
        with contextlib.suppress(OSError, ValueError, AttributeError, http.client.HTTPException):
            found = json.loads(self.get(f"/{kind}s/{quote(thing, safe='')}"))
            return str((found.get("Labels") or {}).get(BY, ""))
        return ""

    def _seen(self, id_: str, attributes: Mapping[str, str], at: float) -> Seen | None:
        """Return the container of an event; None where it is not of this process."""
        sharing = self.sharing
        if id_ in self._containers:
            return self._containers[id_]
        if not sharing.required.items() <= attributes.items():
            return None
        maker, is_known = self._timeline.maker(at), not sharing.is_shared
        by = attributes.get(BY, "") if sharing.is_shared else ""
        if by:
            process, _, test = by.partition(" ")
            if process != sharing.maker:
                return None
            maker, is_known = test, True
        name, image = attributes.get("name", id_[:12]), attributes.get("image", "")
        is_node = attributes.get(ROLE) == NODE
        seen = self._containers[id_] = Seen(id_, name, image, maker, is_known, at, is_node)
        return seen

    def _update(self, seen: Seen, action: str, attributes: Mapping[str, str], at: float) -> None:
        seen.is_told = False
        if action == "create" and not self.sharing.required:
            # The machine's own engine may be Podman, which makes a container that nobody starts
            # ready to start once somebody attaches to it.
            self._follow(seen, is_new=True)
        elif action == "start":
            seen.started, seen.ended, seen.exit_code = at, None, None
            self._follow(seen)
        elif action == "die":
            seen.ended = at
            code = attributes.get("exitCode", "")
            seen.exit_code = int(code) if code.lstrip("-").isdigit() else None
            if seen.log is not None:
                seen.log.ended()
        elif action == "oom":
            seen.is_oom = True
        elif action == "rename":
            seen.name = attributes.get("name", seen.name)
        elif action == "destroy":
            seen.is_gone = True
            seen.ended = seen.ended or at
            if seen.log is not None and seen.log.waits:
                seen.log.close()

    def _follow(self, seen: Seen, *, is_new: bool = False) -> None:
        """Follow the log of a container, unless too many are followed already.

        Args:
            seen: The container.
            is_new: Whether it has not been started.
        """
        if seen.log is not None and seen.log.waits:
            seen.log.started()
            return
        self._followers = [one for one in self._followers if one.thread.is_alive()]
        if len(self._followers) >= _MOST_FOLLOWERS or self._closed.is_set():
            return
        if is_new and sum(one.waits for one in self._followers) >= _MOST_WAITING:
            return
        seen.log = Follower(self._connection, seen.id, self._lines, is_new=is_new)
        self._followers.append(seen.log)
        seen.log.start()

    def _connection(self) -> Connection:
        return Connection(self.record.host, self.record.certificates)


def _happening(event: Mapping[str, Any], at: float, maker: str | None, is_known: bool) -> Happening:
    """Return what an event tells."""
    kind, action = str(event.get("Type", "")), str(event.get("Action", ""))
    actor = event.get("Actor") or {}
    attributes: Mapping[str, str] = actor.get("Attributes") or {}
    thing = str(actor.get("ID", ""))
    name = attributes.get("name") or thing
    if name == thing:
        name = thing.removeprefix("sha256:")[:_SHORT] if _ID.match(thing) else thing
    details: Iterable[str] = ()
    if action == "die":
        details = [f"exit code {attributes.get('exitCode', 'unknown')}"]
    elif action == "kill":
        details = [f"signal {attributes.get('signal', 'unknown')}"]
    elif action == "create" and attributes.get("image"):
        details = [f"image {attributes['image']}"]
    return Happening(
        at,
        maker,
        f"{kind} {name}: {', '.join([action, *details])}",
        is_known=is_known,
        kind=kind,
        thing=thing,
        name=name,
        action=action,
        id=f"{event['timeNano']} {thing} {action}",
    )
