"""The directories and files that daemons, their users and the reaper share: names, nothing else.

The directory of all runs of a user has one directory for each run, and that one, a *home*, for
each of the run's daemons. The home is mounted in the daemon's container, or stands in it alone
where the engine shares no file system. The shell scripts that run in containers repeat some of
these names; a unit test holds them to this module.

The reaper's process imports this, so it needs little more than `pathlib`.
"""

from __future__ import annotations

from pathlib import Path

# In the directory of all runs.

LOCK = "base.lock"
"""Held to begin a run and to remove one."""
PROVED = "proved.json"
"""What probes have proved of a runtime; see `backends.memory`."""

# In a run's directory.

LEASE = "lease"
"""The FIFO that the users of a run hold open; under the same name in each of its homes."""
NETWORK = "network"
"""The URLs of the engines that have the run's network, or soon will, one a line."""
PLACES = "places.json"
"""The paths that the words of `--dind-mount` stand for; written by the process that begins it."""
SWEPT = "swept"
"""There once one of the run's processes has looked for what ended runs left."""
MODES = "modes.json"
"""The modes in force, for the run's other processes; there once a mode was looked into."""
SNAPSHOT = "snapshot-"
"""How the files begin that tell the run's processes of its snapshots, each named by its key."""

# In a daemon's home.

SOCKET = "docker.sock"
"""The daemon's socket."""
ENGINE = "engine"
"""The URL of the outer engine that the daemon is on; there before its container is."""
SPARE = "spare"
"""There while the daemon is ready for a test that has not asked for it yet."""
KEPT = "kept"
"""There when the daemon outlives its last user."""
GUARD = "guard"
"""Locked by the daemon's guard, a process; there until all that its tests made is removed."""
JOURNAL = "journal"
"""What a guard must still know when it is started anew, or when its tests' objects are removed."""
FORWARDER = "forwarder"
"""Locked by the daemon's forwarder, a process; there once one was started for the daemon."""
FORWARDER_LOG = "forwarder.log"
"""The forwarder's last words, where it fails."""
GATE_LOG = "gate.log"
"""The last words of the daemon's gate, a process, where its socket here is one to its container."""
FORWARDED = "ports.json"
"""The ports of this machine that the forwarder has opened, and those that it could not."""
BINDS = "binds"
"""What the forwarder found out about binds of paths of this machine, a JSON object a line."""
STATE = "state.json"
"""The daemon's record, for the run's other processes; there once the daemon is ready."""
RESTARTING = "restarting"
"""There while the daemon restarts: that it does not answer is no loss."""
LOG = "log"
"""The daemon's log."""
EXIT = "exit"
"""The daemon's exit code; there once it has ended."""
SIGHT = "sight"
"""The user ids and mounts that the container's first process sees, by which Sysbox is known."""
MOUNTED = "mounted.json"
"""The paths that are mounted in the daemon's container, and which directory each was then."""
RESTARTED = "restarted"
"""Written by the container's first process when it starts the daemon anew in its place."""
STORE_OUTCOME = "store"
"""The part that the warm store has in the daemon: a word of `store.seeding`, and a reason."""
ABANDON = "abandon"
"""Tells the container's first process to go on without the warm store, and why for good."""
CLUSTER = "cluster.json"
"""Of which kind the cluster is that the daemon has, or is a node of; there once that is ready. Of a
Kubernetes cluster it has also what another process needs to take it up."""
KUBECONFIG = "kubeconfig"
"""The kubeconfig of the Kubernetes cluster in the daemon; there once that is ready."""
IMAGES = "images"
"""The images that came from the outer engine: the id that each has there, and its name, a line; and
of one that is named by its digest the id that it has in the daemon."""
REFERENCES = "references"
"""The names of the daemon's images, those by digest among them, for the next start of dockerd."""
GIVEN = "given"
"""The directory of files that the container's first process copies to the same paths below /."""
EMPTY = "empty"
"""An empty directory, which in the container lies over directories of sockets."""
CERTIFICATES = "tls"
"""The directory of certificates; the container has the server's, this machine the client's."""
CERTIFIED = "ready"
"""In the container's directory of certificates, when all are there: which process put them."""

# In a daemon's container.

IN_CONTAINER = "/run/pytest-dind"
"""The home. Not below /tmp: the official image mounts a tmpfs there."""
STORE_IN_CONTAINER = "/var/lib/pytest-dind-store"
"""The volume of the warm store.

Not below /run, all of which the official image's entrypoint searches for files to delete."""
DATA_ROOT = "/var/lib/docker"
"""The daemon's data-root."""
SOCKET_IN_CONTAINER = "/var/run/docker.sock"
"""The daemon's socket where tools in the container look for one."""


class Home:
    """The directory of one daemon; its path tells the run and the daemon.

    Not a dataclass, whose import would double what the reaper's process imports.

    Attributes:
        path: The directory.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __eq__(self, other: object) -> bool:
        return self.path == other.path if isinstance(other, Home) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.path)

    def __repr__(self) -> str:
        return f"Home({self.path})"

    @property
    def run(self) -> str:
        """The id of the run that the daemon belongs to."""
        return self.path.parent.name

    @property
    def name(self) -> str:
        """The daemon's name in the run."""
        return self.path.name

    @property
    def label(self) -> str:
        """The name of the daemon's container on the outer engine."""
        return f"pytest-dind-{self.run}-{self.name}"


def network_name(run: Path) -> str:
    """The name of a run's network, the same on each outer engine that has one."""
    return f"pytest-dind-{run.name}"
