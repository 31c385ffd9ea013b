"""The table of known causes: each row with texts as they were recorded, or as the code has them."""

from __future__ import annotations

import subprocess
import sys
from urllib.parse import urlsplit

import pytest

from pytest_dind import DaemonExited, StartTimeout
from pytest_dind.causes import cause_of, explain, explained, refusals, security, table
from pytest_dind.causes.cause import Cause

_ROWS = (*security.CAUSES, *refusals.CAUSES, *table.CAUSES)

_RUNC = "OCI runtime create failed: runc create failed: unable to start container process: "
_NAT = "failed to start daemon: Error initializing network controller: error obtaining controller "

# The texts of each row, from its sources.
_TEXTS: dict[str, list[str]] = {
    "sysbox-services": [
        "failed to create task for container: failed to create shim task: OCI runtime create "
        "failed: failed to register with sysbox-mgr: failed to invoke Register via grpc: rpc "
        "error: code = Unavailable desc = connection error: desc = "
        '"transport: Error while dialing: dial unix /run/sysbox/sysmgr.sock: connect: no such '
        'file or directory": unknown',
        "OCI runtime create failed: failed to pre-register with sysbox-fs: failed to register "
        "container with sysbox-fs: rpc error: code = Unavailable desc = connection error: desc = "
        '"transport: Error while dialing dial unix /run/sysbox/sysfs.sock: connect: connection '
        'refused": unknown',
    ],
    "sysbox-procfs": [
        _RUNC + "error during container init: open sysctl net.ipv4.ip_unprivileged_port_start "
        "file: unsafe procfs detected: openat2 /proc/./sys/net/ipv4/ip_unprivileged_port_start: "
        "invalid cross-device link: unknown",
    ],
    "sysbox-fchmodat2": [
        "Handler for PUT /v1.51/containers/c7ea20890c34/archive returned error: chmod var/a.tar: "
        "via /proc/self/fd/72: no such file or directory",
    ],
    "seccomp": [
        "OCI runtime create failed: error adding seccomp filter rule for syscall clone3: "
        "permission denied: unknown",
        "error loading seccomp filter into kernel: invalid argument",
        _RUNC + "error during container init: unable to setup user: unsafe procfs detected: "
        "openat2 fsmount:fscontext:proc/self/setgroups: operation not permitted: unknown",
        "seccomp: config provided but seccomp not supported",
        "curl: (6) getaddrinfo() thread failed to start",
    ],
    "cgroup-delegation": [
        'OCI runtime create failed: container_linux.go:348: starting container process caused "'
        "process_linux.go:305: applying cgroup configuration for process caused "
        '\\"open /sys/fs/cgroup/cgroup.subtree_control: permission denied\\"": unknown.',
        "write /sys/fs/cgroup/user.slice/user-1000.slice/session-4.scope/cgroup.subtree_control: "
        "device or resource busy",
        'unable to apply cgroup configuration: cannot enter cgroupv2 "/sys/fs/cgroup/docker" with '
        "domain controllers -- it is in threaded mode: unknown.",
        'cannot enter cgroupv2 "/sys/fs/cgroup/default" with domain controllers -- it is in an '
        "invalid state",
        "OCI runtime error: writing file `/sys/fs/cgroup/cgroup.subtree_control`: Invalid argument",
    ],
    "no-cgroups": [
        "failed to start daemon: Devices cgroup isn't mounted",
        "cgroups: cgroup mountpoint does not exist",
    ],
    "user-namespaces": [
        "user namespaces aren't enabled in the kernel",
        "[rootlesskit:parent] error: failed to setup UID/GID map: newuidmap 5349 [0 1000 1 1 "
        "165536 65536] failed: newuidmap: Could not set caps",
        "[rootlesskit:parent] This error might have happened because "
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns is set to 1",
        "[rootlesskit:parent] error: failed to start the child: fork/exec /proc/self/exe: "
        "operation not permitted",
        "newuidmap: write to uid_map failed: Invalid argument",
    ],
    "memory": [
        "OCI runtime create failed: container_linux.go:380: starting container process caused: "
        "container init was OOM-killed (memory limit too low?): unknown",
        "OOM: the memory limit could be too low: read from the init process",
        "Error response from daemon: Untar error on re-exec cmd: fork/exec /proc/self/exe: cannot "
        "allocate memory",
        "kernel: runc:[2:INIT] invoked oom-killer: gfp_mask=0x24000c0, order=0, oom_score_adj=998",
        "unable to set memory limit to 1000 (current usage: 1204224, peak usage: 2936832)",
    ],
    "iptables-legacy": [
        _NAT + "instance: failed to create NAT chain DOCKER: iptables failed: iptables -t nat -N "
        "DOCKER: modprobe: can't change directory to '/lib/modules': No such file or directory\n"
        "iptables v1.8.7 (legacy): can't initialize iptables table `nat': Table does not exist "
        "(do you need to insmod?)\nPerhaps iptables or your kernel needs to be upgraded.\n "
        "(exit status 3)",
    ],
    "nf-tables": [
        _NAT + 'instance: failed to register "bridge" driver: failed to create NAT chain DOCKER: '
        "iptables failed: iptables --wait -t nat -N DOCKER: iptables v1.8.10 (nf_tables): "
        "TABLE_ADD failed (Not supported): table nat\n(exit status 4)",
        _NAT + "instance: unable to add return rule in DOCKER-ISOLATION-STAGE-1 chain:  (iptables "
        "failed: iptables --wait -A DOCKER-ISOLATION-STAGE-1 -j RETURN: iptables v1.8.10 "
        "(nf_tables):  RULE_APPEND failed (No such file or directory): rule in chain "
        "DOCKER-ISOLATION-STAGE-1\n (exit status 4))",
        "iptables v1.8.10 (nf_tables): Could not fetch rule set generation id: Invalid argument",
    ],
    "no-iptables": [_NAT + "instance: failed to create NAT chain DOCKER: Iptables not found"],
    "veth": [
        "docker: Error response from daemon: failed to create endpoint blissful_johnson on network "
        "bridge: failed to add the host (veth9754872) <=> sandbox (veth6a875bb) pair interfaces: "
        "operation not supported.",
    ],
    "overlay": [
        'time="2021-03-19T15:02:24Z" level=error msg="failed to mount overlay: invalid argument" '
        'storage-driver=overlay2\nlevel=error msg="exec: \\"fuse-overlayfs\\": executable file not '
        'found in $PATH" storage-driver=fuse-overlayfs',
        "docker: Error response from daemon: error creating overlay mount to "
        "/var/lib/docker/overlay2/1a501aab-init/merged: invalid argument.",
        "'overlay2' is not supported over overlayfs\" storage-driver=overlay2",
    ],
    "inotify": [
        "failed to create fsnotify watcher: too many open files",
        "failed to create inotify fd: too many open files",
        "Failed to allocate directory watch: Too many open files",
        "tail: inotify cannot be used, reverting to polling: Too many open files",
        "The configured user limit (128) on the number of inotify instances has been reached",
    ],
    "quota": ["failed to register layer: disk quota exceeded"],
    "no-space": [
        "ERROR: failed to register layer: Error processing tar file(exit status 1): open "
        "/home/node/.cache/bower.json: no space left on device",
        "Service 'x' failed to build: mkdir /var/run/docker/libcontainerd/: no space left on "
        "device",
    ],
    "open-files": [
        "http: Accept error: accept unix /var/run/docker.sock: accept4: too many open files; "
        "retrying in 1s",
    ],
    "read-only": [
        "Error response from daemon: mkdir /var/lib/docker/tmp/docker-builder125433410: read-only "
        "file system",
    ],
    "data-root-in-use": [
        "Error starting daemon: error while opening volume store metadata database: timeout",
        "failed to start daemon: error while opening volume store metadata database "
        "(/var/lib/docker/volumes/metadata.db): timeout",
        "Error starting daemon: pid file found, ensure docker is not running or delete "
        "/var/run/docker.pid",
    ],
    "address-pools": [
        "Error response from daemon: all predefined address pools have been fully subnetted",
        "could not find an available, non-overlapping IPv4 address pool among the defaults to "
        "assign to the network",
    ],
    "subnet-clash": [
        "Error response from daemon: invalid pool request: Pool overlaps with other one on this "
        "address space",
        "cannot create network 0c (br-0c): conflicts with network 1d (br-1d): networks have "
        "overlapping IPv4",
    ],
    "port-taken": [
        "Bind for 0.0.0.0:8080 failed: port is already allocated",
        "failed to set up container networking: driver failed programming external connectivity "
        "on endpoint x (2b1c): failed to bind host port for 127.0.0.1:80:172.18.0.4:80/tcp: "
        "address already in use",
        "Ports are not available: listen tcp 0.0.0.0:5005: bind: An attempt was made to access a "
        "socket in a way forbidden by its access permissions.",
    ],
    "name-taken": [
        'Conflict. The container name "/rest-server" is already in use by container '
        '"92b3b26333cc". You have to remove (or rename) that container to be able to reuse that '
        "name.",
    ],
    "rate-limit": [
        "Error response from daemon: toomanyrequests: You have reached your unauthenticated pull "
        "rate limit. https://www.docker.com/increase-rate-limit",
        "unexpected status code https://registry-1.docker.io/v2/hystax/keeper/manifests/sha256:7a5:"
        " 429 Too Many Requests",
    ],
    "clock": [
        "tls: failed to verify certificate: x509: certificate has expired or is not yet valid: "
        "current time 2026-05-17T10:34:05+02:00 is before 2026-07-08T01:10:17Z",
    ],
    "unknown-authority": [
        "Error response from daemon: Get https://registry-1.docker.io/v2/: x509: certificate "
        "signed by unknown authority",
    ],
    "plain-http": [
        "Error response from daemon: Get https://myip:5000/v1/_ping: http: server gave HTTP "
        "response to HTTPS client",
        'Get "https://172.17.0.1:36843/v2/": tls: first record does not look like a TLS handshake',
    ],
    "proxy": [
        "Error response from daemon: Get https://registry-1.docker.io/v2/: proxyconnect tcp: dial "
        "tcp 127.0.0.1:8080: connect: connection refused",
    ],
    "dns": [
        "Get https://registry-1.docker.io/v2/: dial tcp: lookup registry-1.docker.io on "
        "192.168.65.1:53: read udp 192.168.65.2:45941->192.168.65.1:53: i/o timeout",
        "Get https://registry-1.docker.io/v2/: dial tcp: lookup registry-1.docker.io on "
        "192.168.65.1:53: server misbehaving",
        "dial tcp: lookup registry-1.docker.io on [::1]:53: read udp [::1]:59801->[::1]:53: read: "
        "connection refused",
        "#5 33.60   Temporary failure resolving 'packages.example'",
        "wget: bad address 'my.company.com'",
    ],
    "platform": [
        "exec /bin/sh: exec format error",
        'standard_init_linux.go:211: exec user process caused "exec format error"',
        "no matching manifest for linux/arm64/v8 in the manifest list entries: no match for "
        "platform in manifest: not found",
        "WARNING: The requested image's platform (linux/amd64) does not match the detected host "
        "platform (linux/arm/v7) and no specific platform was requested",
        "image with reference x was found but its platform (linux/amd64) does not match the "
        "specified platform (linux/arm64)",
    ],
    "unauthorized": [
        "Error response from daemon: pull access denied for utils, repository does not exist or "
        "may require 'docker login': denied: requested access to the resource is denied",
        "unauthorized: authentication required",
        "unauthorized: access to the requested resource is not authorized",
    ],
    "no-such-image": [
        "Error response from daemon: manifest for cudd2v/curl-site:latest not found: manifest "
        "unknown: manifest unknown",
    ],
    "unreachable": [
        "Get https://registry-1.docker.io/v2/: dial tcp 52.44.30.97:443: getsockopt: connection "
        "refused",
        "Get https://example.com/v2/: net/http: request canceled while waiting for connection "
        "(Client.Timeout exceeded while awaiting headers)",
    ],
    "dockerd-option": [
        "unable to configure the Docker daemon with file /etc/docker/daemon.json: the following "
        "directives are specified both as a flag and in the configuration file: debug: (from flag: "
        "true, from file: true)",
        "Status: unknown flag: --nonsense\nSee 'dockerd --help'.",
    ],
    "storage-driver": [
        "failed to start daemon: error initializing graphdriver: driver not supported: btrfs",
        "prerequisites for driver not satisfied (wrong filesystem?)",
        "backing file system is unsupported for this graph driver",
    ],
    "ip-vs": [
        'level=warning msg="Running modprobe ip_vs failed with message: `modprobe: WARNING: Module '
        'ip_vs not found.`, error: exit status 1"',
        'level=error msg="Could not get ipvs family information from the kernel. It is possible '
        "that ipvs is not enabled in your kernel. Native loadbalancing will not work until this is "
        'fixed."',
    ],
    "vfs": [
        'level=info msg="Docker daemon" commit=e42327a graphdriver(s)=vfs version=20.10.18',
        'level=info msg="Docker daemon" commit=fca702d graphdriver=vfs version=24.0.9',
        'level=info msg="Docker daemon" commit=89c5e8f storage-driver=vfs version=28.5.2',
    ],
}
_NO_PROGRAM = (
    'runc create failed: unable to start container process: exec: "dockerd": executable file not '
    "found in $PATH: unknown"
)
# An engine's refusals of a daemon's container.
_REFUSALS: dict[str, list[str]] = {
    "published-port": ["Bind for 0.0.0.0:8080 failed: port is already allocated"],
    "privileged": [
        "privileged mode is incompatible with user namespaces.  You must run the container in the "
        "host namespace when running privileged mode",
        _RUNC + "unable to apply caps: operation not permitted: unknown",
        "authorization denied by plugin opa-docker-authz: request rejected by administrative "
        "policy",
    ],
    "denied-directory": [
        'invalid mount config for type "bind": stat /tmp/pytest-dind-0/4c: permission denied',
        "make cli opts(): making volume mountpoint for volume /tmp/pytest-of-root/pytest-5: mkdir "
        "/tmp/pytest-of-root/pytest-5: permission denied",
        "statfs /tmp/pytest-dind-0/4c: permission denied",
    ],
    "unshared": [
        'invalid mount config for type "bind": bind source path does not exist: /tmp/x/0123abcd',
        "Mounts denied: \nThe path /private/var/log/services/etcd1\nis not shared from OS X and is "
        "not known to Docker.",
    ],
    "mount-target": [
        "OCI runtime create failed: error mounting /f to rootfs at /srv: not a directory: unknown: "
        "Are you trying to mount a directory onto a file (or vice-versa)?",
    ],
    "no-shell": [
        "OCI runtime exec failed: exec failed: container_linux.go:345: starting container process "
        'caused exec: "sh": executable file not found in $PATH: unknown',
    ],
    "no-program": [_NO_PROGRAM],
}
# What stands in logs of daemons that are well, or in the output of a build's own steps.
_INNOCENT = [
    "cat: can't open '/proc/net/ip6_tables_names': No such file or directory",
    "Running modprobe bridge br_netfilter failed with message: modprobe: can't change directory to "
    "'/lib/modules': No such file or directory",
    'level=warning msg="Your kernel does not support swap limit capabilities or the cgroup is not '
    'mounted. Memory limited without swap."',
    "chown: /data: Operation not permitted",
    '/bin/sh: 1: exec: "make": not found',
    "error: unknown flag: --frobnicate",
    "iptables v1.8.11 (nf_tables)",
    'level=info msg="Docker daemon" commit=89c5e8f storage-driver=overlay2 version=28.5.2',
]


@pytest.mark.parametrize(
    ("row", "text"), [(row, text) for row, texts in _TEXTS.items() for text in texts]
)
def test_row(row: str, text: str) -> None:
    """A text that was recorded tells of its row, and of none before that one."""
    found = explain(f"level=info msg=before\n{text}\nafter")

    assert [cause.name for cause in found][:1] == [row]


@pytest.mark.parametrize(
    ("row", "text"), [(row, text) for row, texts in _REFUSALS.items() for text in texts]
)
def test_refusal(row: str, text: str) -> None:
    """An engine's refusal of a daemon's container has rows of its own, which nothing else has."""
    cause = cause_of(text, refusal=True)

    assert cause is not None
    assert cause.name == row
    assert cause not in explain(text)


@pytest.mark.parametrize("text", _INNOCENT)
def test_innocent(text: str) -> None:
    """What a healthy daemon logs, or a step of a build writes, is no cause."""
    assert explain(text) == []


def test_each_row_has_a_text() -> None:
    """A row is not added without a text that was recorded."""
    others = {cause.name for cause in security.CAUSES}
    assert {*_TEXTS, *_REFUSALS} == {cause.name for cause in _ROWS} - others


def test_names() -> None:
    """Each row has a name of its own."""
    names = [cause.name for cause in _ROWS]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("cause", _ROWS, ids=lambda cause: cause.name)
def test_row_is_whole(cause: Cause) -> None:
    """A row says what happened, what to do, and where it comes from."""
    assert cause.meaning
    assert not cause.meaning.endswith(".")
    assert cause.remedy
    assert all(remedy.rstrip()[-1] in ".)" for remedy in cause.remedy)
    assert cause.sources
    for source in cause.sources:
        url = urlsplit(source)
        assert url.scheme == "https"
        assert url.netloc
        assert url.path.strip("/")


def test_tables_are_loaded_once_something_fails() -> None:
    """A daemon that starts does not wait for the tables to be loaded."""
    look = (
        "import sys, pytest_dind.backends.dind, pytest_dind.backends.sysbox;"
        "print([name for name in sys.modules if name.startswith('pytest_dind.causes.')])"
    )
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert done.stdout == "['pytest_dind.causes.explanation']\n"


_FULL = "level=info msg=x\nwrite /var/lib/docker/tmp: no space left on device"


def test_explained() -> None:
    """An error has its cause first in the evidence, its remedies first, and its own after them."""
    error = explained(DaemonExited("It ended.", evidence=_FULL, remedy=["Mend it."]))

    assert type(error) is DaemonExited
    assert error.what == "It ended."
    assert error.evidence == (
        "Cause: A file system of the engine or of the daemon is full, of data or of files "
        f"(inodes).\n{_FULL}"
    )
    assert error.remedy[0].startswith("Make room on the engine's machine: ")
    assert error.remedy[-1] == "Mend it."


def test_explained_in_one_line() -> None:
    """In a list, where long evidence is left out, the cause still stands."""
    error = explained(DaemonExited("It ended.", evidence=_FULL, remedy=["Mend it."]))

    assert error.line().startswith("It ended. Cause: A file system of the engine or of the daemon ")
    assert "msg=x" not in error.line()


def test_nothing_known() -> None:
    """An error whose evidence tells of no known cause stays as it is."""
    error = DaemonExited("It ended.", evidence="msg=x", remedy=["Mend it."])
    assert explained(error) is error


def test_remedy_of_both() -> None:
    """A remedy that the error has already is not told twice."""
    said = "manifest unknown: manifest unknown"
    [cause] = explain(said)
    error = explained(DaemonExited("It ended.", evidence=said, remedy=cause.remedy))
    assert error.remedy == cause.remedy


def test_what_only_works_worse() -> None:
    """The slow storage driver explains a start that takes too long, and no other failure."""
    said = "storage-driver=vfs"
    exited = DaemonExited("It ended.", evidence=said, remedy=["Mend it."])
    slow = StartTimeout("It was not ready.", evidence=said, remedy=["Wait."])

    assert explained(exited) is exited
    assert "copies each layer whole" in explained(slow, worse=True).evidence
    assert [cause.name for cause in explain(said)] == ["vfs"]
