"""The calls of the Engine API that the guard knows, and what it does with each.

Read off the engine's own routers (moby, api/server/router) and the API's description (swagger.yaml)
up to version 1.55. What is not here is refused, parameters included: they can do harm, as the
directory of a checkpoint can.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from ..http.head import Head
from ..http.refusal import malformed, unknown
from . import names
from .allow import BUILDKIT

NONE, JSON, STREAM, ANY = "none", "json", "stream", "any"
"""What a call's body is: none, JSON that the guard reads, an archive that is streamed, or anything,
in calls that are refused or allowed as a whole."""

_SUBJECTS = {
    "container": names.OBJECT,
    "exec": names.EXEC,
    "image": names.IMAGE,
    "network": names.OBJECT,
    "volume": names.OBJECT,
    "any": r".+",
}


@dataclass(frozen=True)
class Route:
    """One call.

    Attributes:
        method: GET, POST, ...
        pattern: Matches its path; the group `name` is what it is about.
        does: What the guard does with it: the name of a handler.
        query: The parameters that are known.
        body: What its body is: one of the constants of this module.
        hijacks: The protocol for which the engine may take over its connection, for bytes both
            ways; empty where it may not.
        subject: What its name names: container, image, ...
        allow: The value of `--dind-guard-allow` that opens it, where it is refused.
    """

    method: str
    pattern: re.Pattern[str]
    does: str
    query: frozenset[str]
    body: str
    hijacks: bytes
    subject: str
    allow: str


@dataclass(frozen=True)
class Match:
    """A call as it came, and the route it takes.

    Attributes:
        route: The route.
        name: What the call is about, as the client names it; empty where it is about nothing.
        query: Its parameters; those that may stand more than once have all their values.
    """

    route: Route
    name: str
    query: dict[str, list[str]] = field(default_factory=dict)

    def value(self, key: str) -> str:
        """The value of a parameter that stands once at most; empty where it does not."""
        return self.query.get(key, [""])[0]


_REPEATED = {"t", "names", "changes", "extrahosts", "platform", "platforms", "type"}


def _route(
    call: str,
    does: str,
    query: str = "",
    *,
    body: str = NONE,
    hijacks: bytes = b"",
    allow: str = "",
) -> Route:
    method, _, path = call.partition(" ")
    subject = (re.findall(r"{(\w+)}", path) or [""])[0]
    pattern = re.sub(r"{(\w+)}", lambda match: f"(?P<name>{_SUBJECTS[match[1]]})", path)
    known = frozenset(query.split())
    return Route(method, re.compile(pattern), does, known, body, hijacks, subject, allow)


_LOGS = "follow stdout stderr since until timestamps tail details"
_ATTACH = "detachKeys logs stream stdin stdout stderr"
_BUILD = (
    "dockerfile t extrahosts remote q nocache cachefrom pull rm forcerm memory memswap cpushares "
    "cpusetcpus cpusetmems cpuperiod cpuquota buildargs shmsize squash labels networkmode platform "
    "target outputs version session buildid ulimits isolation cgroupparent securityopt"
)

ROUTES: tuple[Route, ...] = (
    # Everybody's to read.
    _route("GET /_ping", "ping"),
    _route("HEAD /_ping", "ping"),
    _route("GET /version", "version"),
    _route("GET /info", "read"),
    _route("POST /auth", "read_json", body=JSON),
    _route("GET /distribution/{image}/json", "read"),
    _route(
        "GET /images/json",
        "read",
        "all filters shared-size digests manifests filter identity only_ids",
    ),
    _route("GET /images/search", "read", "term limit filters"),
    _route("GET /images/get", "read", "names platform"),
    _route("GET /images/{image}/get", "read", "platform"),
    _route("GET /images/{image}/history", "read", "platform"),
    _route("GET /images/{image}/json", "read", "manifests platform"),
    _route("GET /images/{image}/attestations", "read", "platform type statement"),
    # Lists, of which the client sees what is its own.
    _route(
        "GET /containers/json", "list_containers", "all limit size filters since before trunc_cmd"
    ),
    _route("GET /networks", "list_networks", "filters"),
    _route("GET /volumes", "list_volumes", "filters"),
    _route("GET /events", "events", "since until filters"),
    _route("GET /system/df", "disk_usage", "type verbose"),
    # Containers.
    _route("POST /containers/create", "create_container", "name platform", body=JSON),
    _route("POST /containers/prune", "prune", "filters"),
    _route("GET /containers/{container}/json", "inspect_container", "size"),
    _route("GET /containers/{container}/export", "own"),
    _route("GET /containers/{container}/changes", "own"),
    _route("GET /containers/{container}/top", "own", "ps_args"),
    _route("GET /containers/{container}/logs", "own", _LOGS),
    _route("GET /containers/{container}/stats", "own", "stream one-shot"),
    _route("GET /containers/{container}/attach/ws", "own", _ATTACH, hijacks=b"websocket"),
    _route("POST /containers/{container}/attach", "own", _ATTACH, hijacks=b"tcp"),
    _route("HEAD /containers/{container}/archive", "own", "path"),
    _route("GET /containers/{container}/archive", "own", "path"),
    _route(
        "PUT /containers/{container}/archive",
        "own",
        "path noOverwriteDirNonDir copyUIDGID",
        body=STREAM,
    ),
    _route("POST /containers/{container}/kill", "own", "signal"),
    _route("POST /containers/{container}/pause", "own"),
    _route("POST /containers/{container}/unpause", "own"),
    _route("POST /containers/{container}/restart", "own", "t signal"),
    _route("POST /containers/{container}/start", "own", "detachKeys"),
    _route("POST /containers/{container}/stop", "own", "t signal"),
    _route("POST /containers/{container}/wait", "own", "condition"),
    _route("POST /containers/{container}/resize", "own", "h w"),
    _route("POST /containers/{container}/rename", "own", "name"),
    _route("POST /containers/{container}/update", "update_container", body=JSON),
    _route("DELETE /containers/{container}", "own", "v force link"),
    _route("POST /containers/{container}/exec", "create_exec", body=JSON),
    _route("POST /exec/{exec}/start", "start_exec", body=JSON, hijacks=b"tcp"),
    _route("POST /exec/{exec}/resize", "own", "h w"),
    _route("GET /exec/{exec}/json", "own"),
    # Networks.
    _route("POST /networks/create", "create_network", body=JSON),
    _route("POST /networks/prune", "prune", "filters"),
    _route("GET /networks/{network}", "inspect_network", "verbose scope"),
    _route("POST /networks/{network}/connect", "connect_network", body=JSON),
    _route("POST /networks/{network}/disconnect", "disconnect_network", body=JSON),
    _route("DELETE /networks/{network}", "own"),
    # Volumes.
    _route("POST /volumes/create", "create_volume", body=JSON),
    _route("POST /volumes/prune", "prune", "filters"),
    _route("GET /volumes/{volume}", "own"),
    _route("DELETE /volumes/{volume}", "own", "force"),
    # Images.
    _route("POST /build", "build", _BUILD, body=STREAM),
    _route(
        "POST /build/prune",
        "prune_builds",
        "all filters keep-storage reserved-space max-used-space min-free-space",
    ),
    _route("POST /build/cancel", "cancel_build", "id"),
    _route("POST /commit", "commit", "container repo tag comment author pause changes", body=JSON),
    _route(
        "POST /images/create",
        "pull_or_import",
        "fromImage fromSrc repo tag message changes platform",
        body=STREAM,
    ),
    _route("POST /images/load", "load", "quiet platform", body=STREAM),
    _route("POST /images/prune", "prune_images", "filters"),
    _route("POST /images/{image}/push", "push", "tag platform"),
    _route("POST /images/{image}/tag", "tag", "repo tag force"),
    _route("DELETE /images/{image}", "remove_image", "force noprune platforms"),
    # BuildKit. Its session serves the engine: it can't be used to ask anything of it.
    _route("POST /session", "session", hijacks=b"h2c"),
    _route("POST /grpc", "refused", hijacks=b"h2c", allow=BUILDKIT),
    # Checkpoints are read from and written to any directory of the host.
    *(
        _route(f"{method} /containers/{{container}}/checkpoints{rest}", "refused", body=ANY)
        for method, rest in (("GET", ""), ("POST", ""), ("DELETE", f"/{names.OBJECT}"))
    ),
    # The engine itself.
    *(
        _route(f"{method} /{kind}{rest}", "refused", body=ANY, allow=allow)
        for kind, allow in (
            *((kind, "swarm") for kind in ("swarm", "services", "nodes", "tasks", "secrets")),
            ("configs", "swarm"),
            ("plugins", "plugins"),
        )
        for method in ("GET", "POST", "DELETE")
        for rest in ("", "/{any}")
    ),
)


def find(head: Head) -> Match:
    """The route that a request takes.

    Raises:
        Refusal: there is none, or it has a parameter that the route does not know.
    """
    for route in ROUTES:
        if route.method == head.method:
            match = route.pattern.fullmatch(head.path)
            if match is not None:
                return _checked(route, match.groupdict().get("name", ""), head)
    raise unknown(f"{head.method} {head.path}")


def _checked(route: Route, name: str, head: Head) -> Match:
    query: dict[str, list[str]] = {}
    for key, value in head.query:
        if key not in route.query and route.does != "refused":
            raise malformed(f"the parameter {key} of {head.method} {head.path} is not known")
        if key in query and key not in _REPEATED:
            raise malformed(f"the parameter {key} stands twice")
        query.setdefault(key, []).append(value)
    if head.upgrade not in (b"", route.hijacks):
        raise malformed(f"{head.method} {head.path} is no call to upgrade to that")
    _check_body(route, head)
    return Match(route, name, query)


def _check_body(route: Route, head: Head) -> None:
    if route.body == NONE and head.length != 0:
        raise malformed(f"{head.method} {head.path} takes no body")
    if route.body == JSON and head.length is None:
        raise malformed("a body in chunks where JSON of a known length is expected")
