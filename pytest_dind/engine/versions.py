"""What changed between versions of Docker and its API, as far as this plugin has to know it.

Docker's releases from 20.10 to 29 are known. All is here that other modules decide by a version,
and what they do alike in all versions since it changed in one. docs/engines.md has the same table.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

Number = tuple[int, ...]
"""A version of the API, such as (1, 41), or a release of Docker."""

_HISTORY = "moby/moby, api/docs/CHANGELOG.md"
_DEPRECATED = "docker/cli, docs/deprecated.md"
_RELEASE_29 = "release notes of Docker 29.0.0"


class Change(NamedTuple):
    """A change, and what the plugin makes of it.

    Attributes:
        of: Of what `since` is a version.
        since: The first version that has it.
        what: What is so from then on.
        here: What the plugin does about it.
        source: Where it is written.
    """

    of: Literal["API", "Docker"]
    since: Number
    what: str
    here: str
    source: str

    def holds(self, version: str) -> bool:
        """Tell whether a version has the change: any newer one has, known or not."""
        return number(version) >= self.since

    @property
    def name(self) -> str:
        """The version as a reader knows it: `API 1.39`, `Docker 29.10`."""
        return f"{self.of} {dotted(self.since)}"


OLDEST_API = (1, 24)
"""The oldest API that docker-py speaks; before it, a start had a body with host settings, which the
guard does not judge."""
READ_API = (1, 57)
"""The newest API whose calls were read for the guard and compared with this table."""

BUILDKIT = Change(
    "API", (1, 39),
    "builds by BuildKit, with `version=2`",
    "older engines build by their own builder: `engine/builds.py`",
    _HISTORY,
)  # fmt: skip
DISK_USAGE = Change(
    "API", (1, 52),
    "`/system/df` has images, containers, volumes and build cache in objects of their own",
    "both places are read: `cleanup/removal.py`, `guard/handlers/reading.py`",
    _HISTORY,
)  # fmt: skip
STREAMED_PRUNE = Change(
    "API", (1, 56),
    "a prune with `stream` answers in lines, of which the last is the report",
    "the guard's own prunes do so too: `guard/handlers/exchange.py`",
    "seen; not in the API's description up to 1.57",
)  # fmt: skip

NEEDS_SYSBOX_0_7 = Change(
    "Docker", (28, 5, 2),
    "its runc needs a Sysbox of 0.7.0 or later",
    "mode sysbox is refused with an older one: `backends/sysbox.py`",
    "nestybox/sysbox, release notes of 0.7.0",
)  # fmt: skip

CHANGES = (
    Change(
        "Docker", (20, 10),
        "dockerd knows `--ip6tables` and `--host-gateway-ip`",
        "what a dockerd calls unknown it is started without: `backends/supervise.sh`",
        "dockerd --help",
    ),
    Change(
        "Docker", (24, 0),
        "dockerd knows `--default-network-opt`, by which networks get their MTU",
        "as with `--ip6tables`: `backends/supervise.sh`",
        "moby/moby, commit 33139da522",
    ),
    Change(
        "Docker", (25, 0),
        "APIs below 1.24 are refused",
        "docker-py asks for no older one",
        "moby/moby, commit 08e4e88482",
    ),
    Change(
        "Docker", (27, 0),
        "`ip6tables` is on without being asked for",
        "off in containers without IPv6, where it costs a fifth of the start: "
        "`backends/supervise.sh`",
        "release notes of Docker 27.0",
    ),
    Change(
        "Docker", (28, 4),
        "links of the default bridge give no variables",
        "nothing: the alias, which tests use, is there in all versions",
        _DEPRECATED,
    ),
    NEEDS_SYSBOX_0_7,
    Change(
        "Docker", (29, 0),
        "images are in containerd's store, where the data-root is new",
        "the warm store links either's files: `store/store.sh`; digests: `engine/digests.py`",
        _RELEASE_29,
    ),
    Change(
        "Docker", (29, 0),
        "APIs below 1.44 are refused; later releases, such as 29.10, take those from 1.40 on",
        "each client asks first which ones there are: `engine/http.py`",
        "moby/moby, commits 2c59be7011 and f96921e5e5",
    ),
    Change(
        "Docker", (29, 0),
        "dockerd has a second backend of its firewall, `--firewall-backend=nftables`",
        "nothing: `iptables` is in force unless `--dind-arg` asks for the other",
        _RELEASE_29,
    ),
    Change(
        "Docker", (29, 10),
        "with any `--insecure-registry`, those on loopback need TLS too",
        "loopback is named where another one is: `backends/spec.py`",
        "release notes of Docker 29.10.0",
    ),
    BUILDKIT,
    Change(
        "API", (1, 48),
        "streams tell a failure by `errorDetail`, and `error` is deprecated",
        "either is one: `engine/streams.py`",
        _HISTORY,
    ),
    DISK_USAGE,
    Change(
        "API", (1, 52),
        "`NetworkSettings.IPAddress` is gone",
        "addresses are those of a container's networks, in all versions: `engine/containers.py`",
        _HISTORY,
    ),
    Change(
        "API", (1, 53),
        "`/grpc` and `/session` are deprecated",
        "the plugin's own builds use neither; the guard passes them on: `guard/handlers/table.py`",
        _HISTORY,
    ),
    STREAMED_PRUNE,
)  # fmt: skip
"""All that is known: Docker's releases first, then the API's versions, each from the oldest on."""


def number(version: str) -> Number:
    """Return a version's numbers, three at the least: of `1.41`, or of `28.5.2+dfsg4`."""
    found = re.match(r"[\d.]*", version)
    numbers = [int(part) for part in (found[0] if found else "").split(".") if part]
    return (*numbers, *(0,) * (3 - len(numbers)))


def api(version: str) -> tuple[int, int]:
    """Return the two numbers of an API's version."""
    major, minor, *_ = number(version)
    return major, minor


def dotted(version: Number) -> str:
    """Return a version in its written form, such as 1.41."""
    return ".".join(map(str, version))


def unread(api_version: str) -> str:
    """Return what to tell of an API newer than the plugin knows; an empty text of those it does."""
    if api(api_version) <= READ_API:
        return ""
    return f"API {api_version} is newer than the newest that is known, {dotted(READ_API)}"
