"""Causes that a daemon's log, a pull, a build or a nested container's failure may tell of.

The rows stand in their order of precedence: where a text tells of several, what brings the others
about comes first, and what is said in a few words that other texts have too comes last.
"""

from __future__ import annotations

from .cause import (
    CONTAINERD,
    CONTAINERD_CODE,
    FOR_LINUX,
    FOR_MAC,
    MOBY,
    MOBY_CODE,
    OFFICIAL_IMAGE,
    RUNC,
    RUNC_CODE,
    Cause,
)

_SYSBOX = "https://github.com/nestybox/sysbox"
_BUILDKIT = "https://github.com/moby/buildkit"
_ROOTLESSKIT = "https://github.com/rootless-containers/rootlesskit"

_RUNTIME = (
    Cause(
        "sysbox-services",
        r"register (container )?with sysbox-(mgr|fs)|/run/sysbox/sys(mgr|fs)\.sock",
        "sysbox-runc is registered, but its services are down",
        ("Start Sysbox's services on the engine's machine: sudo systemctl restart sysbox.",),
        (f"{_SYSBOX}/issues/921", f"{_SYSBOX}/issues/219"),
    ),
    Cause(
        "sysbox-procfs",
        r"unsafe procfs detected[^\n]*invalid cross-device link",
        "Sysbox before 0.7.0 does not go with the runc of Docker 28.5.2 and later",
        (
            "Update Sysbox to 0.7.0 or later.",
            "Use an image with an older Docker for the daemon: --dind-image IMAGE.",
        ),
        (f"{_SYSBOX}/issues/973", f"{_SYSBOX}/issues/972"),
    ),
    Cause(
        "sysbox-fchmodat2",
        r"chmod [^\n]+: via /proc/self/fd/\d+: no such file or directory",
        "Sysbox does not know the system call fchmodat2, by which newer Dockers set the mode of "
        "what is copied into a container",
        (
            "Copy by a command in the container: docker exec -i NAME tar -x -C / <FILE.tar.",
            "Use an image with an older Docker for the daemon: --dind-image IMAGE.",
        ),
        (
            "https://github.com/nestybox/sysbox-runc/blob/a4dd414f7b9b/libsysbox/syscont/syscalls.go",
        ),
    ),
    Cause(
        "seccomp",
        r"error adding seccomp (filter )?rule for syscall|error loading seccomp filter"
        r"|unsafe procfs detected[^\n]*operation not permitted"
        r"|seccomp: config provided but seccomp not supported"
        r"|getaddrinfo\(\) thread failed to start",
        "A seccomp profile and what it is applied to do not go together: runc, libseccomp, or the "
        "image's libc is newer than the profile, or older",
        (
            "Update the engine: its runc, libseccomp and seccomp profile come with it.",
            "Do without the profile: --security-opt seccomp=unconfined for a container of your "
            "own, --dind-arg=--seccomp-profile=unconfined for those in the daemon.",
        ),
        (
            f"{CONTAINERD}/issues/6203",
            f"{RUNC}/issues/374",
            f"{RUNC}/issues/4984",
            f"{MOBY}/issues/18946",
            f"{MOBY}/issues/42680",
        ),
    ),
    Cause(
        "cgroup-delegation",
        r"cannot enter cgroupv2|cgroup\.subtree_control\b[^\n]*"
        r"(permission denied|device or resource busy|invalid argument|read-only file system)"
        r"|rootless needs no limits",
        "The daemon may not divide its cgroup: on cgroup v2 that takes a delegated one, in which "
        "no process stands beside the groups that it makes",
        (
            "Keep the image's own entrypoint: that of docker:dind moves the processes out of the "
            "way (its script `dind`).",
            "Start nothing in the daemon's container before the daemon is ready.",
            "Where the engine runs without root, have systemd delegate: Delegate=cpu cpuset io "
            "memory pids in user@.service.",
        ),
        (
            f"{RUNC}/issues/2339",
            f"{RUNC}/issues/2298",
            f"{CONTAINERD}/issues/6659",
            f"{CONTAINERD}/issues/10083",
            "https://github.com/containers/crun/issues/704",
        ),
    ),
    Cause(
        "no-cgroups",
        r"devices cgroup isn't mounted|cgroup mountpoint does not exist|no cgroup mount found",
        "No control groups are mounted where the daemon runs",
        (
            "Mount them on the engine's machine: cgroup2 on /sys/fs/cgroup, or the controllers of "
            "version 1 below it.",
            "Keep the image's own entrypoint: that of docker:dind mounts them.",
        ),
        (
            "https://github.com/docker/cli/issues/2369",
            f"{FOR_LINUX}/issues/386",
            f"{MOBY_CODE}/daemon/daemon.go#L1105",
        ),
    ),
    Cause(
        "user-namespaces",
        r"user namespaces aren't enabled in the kernel|failed to setup UID/GID map"
        r"|apparmor_restrict_unprivileged_userns is set"
        r"|failed to start the child: fork/exec /proc/self/exe: (operation not permitted|permission"
        r" denied)|(unshare|newuidmap): write [^\n]*uid_map[^\n]*(not permitted|invalid argument)",
        "User namespaces are not to be had: the kernel forbids them to this user, or the user has "
        "no range of ids",
        (
            "Allow them on the engine's machine: sudo sysctl user.max_user_namespaces=28633, and "
            "kernel.unprivileged_userns_clone=1 on Debian's older kernels.",
            "On Ubuntu 23.10 and later give the program an AppArmor profile with `userns,`, or "
            "sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0.",
            "Give the user a range of ids in /etc/subuid and /etc/subgid, and newuidmap its "
            "set-user-ID bit.",
        ),
        (
            f"{RUNC_CODE}/libcontainer/configs/validate/validator.go#L146",
            f"{_ROOTLESSKIT}/pull/421",
            f"{_ROOTLESSKIT}/issues/404",
            f"{_ROOTLESSKIT}/issues/425",
            f"{MOBY}/issues/41812",
            f"{FOR_LINUX}/issues/1352",
        ),
    ),
    Cause(
        "memory",
        r"container init was OOM-killed|OOM: the memory limit could be too low"
        r"|cannot allocate memory|invoked oom-killer|unable to set memory limit to \d+",
        "There is too little memory: a limit is too low, or the machine's is used up",
        (
            "Raise the limit: --dind-memory for a daemon, mem_limit (--memory) for a container.",
            "Give the machine more memory, or run fewer tests at once.",
        ),
        (
            "https://github.com/aws/amazon-ecs-agent/issues/3021",
            "https://github.com/containers/crun/pull/635",
            f"{MOBY}/issues/8539",
            f"{RUNC}/issues/1980",
            f"{RUNC}/pull/2812",
            f"{RUNC_CODE}/libcontainer/process_linux.go#L798",
        ),
    ),
)

_KERNEL = (
    Cause(
        "iptables-legacy",
        r"iptables v\S+ \(legacy\): can't initialize ip6?tables table"
        r"|iptables v1\.[0-7]\.\S+ can't initialize iptables table",
        "The kernel has no legacy iptables, which the daemon's image uses",
        (
            "Have the image use nf_tables instead: --dind-env DOCKER_IPTABLES_LEGACY= (docker:dind "
            "from 24.0.7 on).",
            "Load the modules on the engine's machine: sudo modprobe -a ip_tables iptable_nat "
            "iptable_filter.",
        ),
        (
            f"{OFFICIAL_IMAGE}/issues/350",
            f"{OFFICIAL_IMAGE}/pull/468",
            "https://github.com/byJoey/Actions-bbr-v3/issues/30",
        ),
    ),
    Cause(
        "nf-tables",
        r"\(nf_tables\):[^\n]*(TABLE_ADD|CHAIN_ADD|RULE_APPEND|RULE_INSERT) failed"
        r"|\(nf_tables\): Could not fetch rule set generation id: Invalid argument",
        "The kernel lacks what iptables of the daemon's image needs of nf_tables",
        (
            "Have the image use legacy iptables: --dind-env DOCKER_IPTABLES_LEGACY=1 (docker:dind "
            "from 24.0.7 on).",
            "Load the modules on the engine's machine: sudo modprobe -a nf_tables nft_compat "
            "nft_chain_nat.",
        ),
        (f"{OFFICIAL_IMAGE}/issues/486", f"{OFFICIAL_IMAGE}/issues/467"),
    ),
    Cause(
        "no-iptables",
        r"iptables not found",
        "The daemon's image has no iptables",
        (
            "Use an image that has it, as docker:dind does: --dind-image IMAGE.",
            "Do without, and without networks of nested containers: --dind-arg=--iptables=false.",
        ),
        (
            f"{MOBY_CODE}/daemon/libnetwork/iptables/iptables.go#L146",
            "https://github.com/dyrnq/install-docker/issues/10",
        ),
    ),
    Cause(
        "veth",
        r"pair interfaces: operation not supported|failed to make veth pair: operation not "
        r"supported",
        "The kernel that runs has no veth, which networks of containers are made of",
        (
            "Load the module on the engine's machine: sudo modprobe veth.",
            "Restart the machine, if its kernel was updated: the modules of the old one are gone.",
        ),
        (f"{MOBY}/issues/39188", f"{MOBY}/issues/27426"),
    ),
    Cause(
        "overlay",
        r"failed to mount overlay: invalid argument|'overlay2?' is not supported over"
        r"|error creating overlay mount to [^\n]*: invalid argument",
        "The data-root is on a file system that overlay does not work on, as another overlay",
        (
            "Keep the engine's data on a file system that overlay works on (ext4, xfs).",
            "Name a driver that works there: --dind-arg=--storage-driver=fuse-overlayfs.",
        ),
        (
            f"{MOBY}/issues/42171",
            "https://github.com/docker/for-mac/issues/3295",
            f"{CONTAINERD}/issues/3144",
        ),
    ),
)

_LIMITS = (
    Cause(
        "inotify",
        r"(inotify|fsnotify)[^\n]*(too many open files|no space left on device)"
        r"|directory watch: (too many open files|no space left on device)"
        r"|limit \(\d+\) on the number of inotify instances",
        "The limit of inotify is reached on the engine's machine; all containers of a user share "
        "it",
        (
            "Raise it on the engine's machine: sudo sysctl fs.inotify.max_user_instances=8192 "
            "fs.inotify.max_user_watches=524288.",
            "Run fewer containers at once.",
        ),
        (
            f"{CONTAINERD}/issues/10468",
            "https://github.com/systemd/systemd/issues/17992",
            "https://github.com/dotnet/aspnetcore/issues/7531",
        ),
    ),
    Cause(
        "quota",
        r"disk quota exceeded",
        "A quota of the file system is used up, although the disk may have room",
        ("Raise the quota of the engine's data, or remove what it counts (docker system df).",),
        ("https://github.com/hectorm/docker-xubuntu/issues/9",),
    ),
    Cause(
        "no-space",
        r"no space left on device",
        "A file system of the engine or of the daemon is full, of data or of files (inodes)",
        (
            "Make room on the engine's machine: docker system prune, pytest-dind cache prune "
            "--size 2g, pytest-dind rm --stale.",
            "See there which it is: df -h and df -i of the engine's data-root.",
        ),
        (
            f"{MOBY}/issues/10613",
            # Of inodes.
            f"{FOR_LINUX}/issues/214",
            "https://github.com/ROCm/ROCm-docker/issues/92",
        ),
    ),
    Cause(
        "open-files",
        r"too many open files",
        "A process, or its user, has as many files open as it may",
        (
            "Raise the limit of the engine: LimitNOFILE=1048576 for docker.service and "
            "containerd.service, or --dind-arg=--default-ulimit=nofile=1048576 for containers in "
            "a daemon.",
            "Raise inotify's limits on the engine's machine: sudo sysctl "
            "fs.inotify.max_user_instances=8192.",
            "Close clients (docker.DockerClient.close) that tests open.",
        ),
        (f"{MOBY}/issues/35961", f"{CONTAINERD}/issues/3201", f"{MOBY}/issues/38814"),
    ),
    Cause(
        "read-only",
        r"read-only file system",
        "What has to be written is on a file system that is mounted read-only",
        (
            "Mount it for writing: without :ro, or without read_only.",
            "Look for errors of the disk (dmesg), for which a kernel mounts it read-only.",
        ),
        (
            "https://github.com/docker/docs/issues/11397",
            f"{MOBY}/issues/13288",
            "https://github.com/swarmpit/swarmpit/issues/624",
        ),
    ),
    Cause(
        "data-root-in-use",
        r"volume store metadata database[^\n]*: timeout|pid file found, ensure docker is not "
        r"running",
        "Another dockerd uses the same data-root, or did not end",
        (
            "Give each daemon a data-root of its own: no volume on /var/lib/docker that two have.",
            "End the other one (ps -C dockerd).",
        ),
        (
            "https://github.com/argoproj/argo-workflows/issues/1426",
            f"{FOR_LINUX}/issues/281",
            f"{MOBY}/issues/29519",
            f"{MOBY_CODE}/daemon/volume/service/store.go#L112",
        ),
    ),
)

_NETWORK = (
    Cause(
        "address-pools",
        r"all predefined address pools have been fully subnetted"
        r"|could not find an available, non-overlapping IPv[46] address pool",
        "All address pools for networks are in use",
        (
            "Remove networks that nobody uses: docker network prune; those that a test makes go "
            "with the fixture dind_clean.",
            "Give the daemon another pool: "
            "--dind-arg=--default-address-pool=base=10.200.0.0/16,size=24.",
            "End a VPN whose routes cover the pools.",
        ),
        (
            "https://github.com/coollabsio/coolify/issues/3529",
            f"{FOR_LINUX}/issues/599",
            f"{MOBY}/issues/21170",
            f"{MOBY_CODE}/daemon/libnetwork/ipamapi/contract.go#L39",
        ),
    ),
    Cause(
        "subnet-clash",
        r"pool overlaps with other one on this address space|networks have overlapping IPv[46]",
        "The subnet of a network is taken by another network of the same daemon",
        (
            "Name no subnet: the daemon takes one that is free.",
            "Remove the other network (docker network ls), or name another subnet.",
        ),
        (
            f"{MOBY}/issues/48069",
            "https://github.com/maxking/docker-mailman/issues/85",
            f"{MOBY_CODE}/daemon/libnetwork/ipamapi/contract.go#L37",
            f"{MOBY_CODE}/daemon/libnetwork/drivers/bridge/bridge_linux.go#L338",
        ),
    ),
    Cause(
        "port-taken",
        r"port is already allocated|failed to bind host port|ports are not available"
        r"|bind: address already in use",
        "A port that a container publishes is taken",
        (
            "Let the daemon choose one: ports={'80/tcp': None} (--publish 80), and ask "
            "Daemon.address.",
            "End the container that has it (docker ps --filter publish=PORT); what a test starts "
            "goes with the fixture dind_clean.",
        ),
        (
            f"{MOBY_CODE}/daemon/libnetwork/portallocator/portallocator.go#L34",
            "https://github.com/docker/for-win/issues/6613",
        ),
    ),
    Cause(
        "name-taken",
        r"the container name \S+ is already in use by container",
        "A container of this name is there already",
        (
            "Remove the other one (docker rm -f NAME); what a test starts goes with the fixture "
            "dind_clean.",
            "Give no name, and use the id.",
        ),
        (f"{MOBY_CODE}/daemon/errors.go#L63", f"{MOBY}/issues/25932"),
    ),
)

_REGISTRY = (
    Cause(
        "rate-limit",
        r"toomanyrequests|429 Too Many Requests|pull rate limit",
        "The registry has had too many pulls from this address, or of this user, for now",
        (
            "Log in (docker login): daemons of this run have the credentials, and the limit is "
            "higher.",
            "Pull through a mirror: --dind-registry-mirror URL.",
            "Let the daemon have the engine's copy of an image: --dind-load IMAGE.",
            "Wait: Docker Hub counts the last six hours.",
        ),
        (
            "https://github.com/docker/hub-feedback/issues/2464",
            "https://github.com/hystax/optscale/issues/845",
        ),
    ),
    Cause(
        "clock",
        r"certificate has expired or is not yet valid",
        "By this clock a certificate is not valid yet, or no more: the clock may be wrong",
        (
            "Compare the clock of the engine's machine (date) with the times in the message; set "
            "it, by NTP at best. A virtual machine's stops while it sleeps.",
            "Where the clock is right, have the server's certificate renewed.",
        ),
        (
            f"{MOBY}/issues/11534",
            "https://github.com/henrygd/beszel/issues/2123",
            "https://github.com/elastic/cloud-on-k8s/issues/4943",
        ),
    ),
    Cause(
        "unknown-authority",
        r"certificate signed by unknown authority|unable to get local issuer certificate"
        r"|self[- ]signed certificate",
        "A certificate is signed by an authority that is not trusted where it was checked",
        (
            "Have the daemon trust it: --dind-ca [HOST=]FILE.",
            "Where the machine's engine pulls, put it into /etc/docker/certs.d/HOST/ca.crt there.",
            "Where a step of a build or a nested container asks, its image must trust it.",
        ),
        (
            f"{MOBY}/issues/25587",
            "https://github.com/distribution/distribution/issues/1731",
            "https://docs.docker.com/engine/security/certificates/",
        ),
    ),
    Cause(
        "plain-http",
        r"server gave HTTP response to HTTPS client"
        r"|first record does not look like a TLS handshake",
        "The registry speaks HTTP without TLS, which a daemon takes from its own loopback alone",
        (
            "Allow it: --dind-insecure-registry HOST:PORT.",
            "Give the registry a certificate, and trust its authority: --dind-ca HOST:PORT=FILE.",
        ),
        (
            "https://github.com/distribution/distribution/issues/1874",
            "https://github.com/docker/cli/issues/3811",
            "https://github.com/golang/go/blob/go1.24.9/src/crypto/tls/conn.go",
        ),
    ),
    Cause(
        "proxy",
        r"proxyconnect tcp:|proxy authentication required",
        "The proxy that is set does not answer, or does not let this through",
        (
            "See which it is (docker info), and whether it is reached from there: 127.0.0.1 is the "
            "container's own loopback in a container.",
            "Name another, or none: HTTPS_PROXY and NO_PROXY by --dind-env.",
        ),
        (
            "https://github.com/docker/for-win/issues/9400",
            f"{FOR_MAC}/issues/6306",
        ),
    ),
    Cause(
        "dns",
        r"lookup \S+( on \S+)?: (no such host|server misbehaving|[^\n]*i/o timeout"
        r"|[^\n]*connection refused|temporary failure)|temporary failure (in name resolution"
        r"|resolving)|could not resolve (host|')|wget: bad address",
        "A name was not resolved: it is wrong, or the name server is not reached",
        (
            "Check the name for a typing error.",
            "Give the daemon a name server that it reaches: --dind-arg=--dns=ADDRESS.",
            "See what the daemon's container asks: cat /etc/resolv.conf (pytest-dind shell NAME).",
        ),
        (
            f"{FOR_MAC}/issues/2152",
            f"{FOR_MAC}/issues/1317",
            f"{MOBY}/issues/33953",
            f"{_BUILDKIT}/issues/757",
            f"{_BUILDKIT}/issues/1004",
        ),
    ),
    Cause(
        "platform",
        r"exec format error|no matching manifest for|no match for platform in manifest"
        r"|does not match the (specified|detected host) platform",
        "An image is for another platform than the one that it is to run on",
        (
            "Take an image that is for it, or for several: docker buildx imagetools inspect IMAGE "
            "lists them.",
            "Build it for the daemon: Daemon.build does.",
            "Emulate the other: docker run --privileged --rm tonistiigi/binfmt --install all, on "
            "the engine's machine.",
        ),
        (
            f"{MOBY_CODE}/daemon/internal/distribution/pull_v2.go#L813",
            f"{MOBY_CODE}/daemon/images/image.go#L197",
            f"{CONTAINERD_CODE}/core/images/image.go#L250",
            "https://github.com/docker-library/mysql/issues/698",
            "https://github.com/Red5d/docker-autocompose/issues/27",
        ),
    ),
    Cause(
        "unauthorized",
        r"pull access denied|requested access to the resource is denied|no basic auth credentials"
        r"|unauthorized: (authentication required|access to|incorrect username)"
        r"|insufficient_scope",
        "The registry does not give the image to this user, or has none of this name",
        (
            "Check the name for a typing error.",
            "Log in (docker login): the engine and the daemons of this run have the credentials.",
        ),
        (
            f"{MOBY_CODE}/daemon/internal/distribution/errors.go#L55",
            "https://github.com/docker/for-win/issues/9562",
            "https://github.com/tusc/ntopng-udm/issues/1",
        ),
    ),
    Cause(
        "no-such-image",
        r"manifest unknown|manifest for \S+ not found",
        "The registry has no such tag or digest of the image",
        ("Check the tag for a typing error; the registry may have removed it.",),
        (
            f"{MOBY_CODE}/vendor/github.com/docker/distribution/registry/api/v2/errors.go#L67",
            "https://github.com/docker-archive-public/docker.kitematic/issues/5429",
        ),
    ),
    Cause(
        "unreachable",
        r"dial tcp [^\n]*(i/o timeout|connection refused|no route to host|network is unreachable)"
        r"|request canceled while waiting for connection|TLS handshake timeout",
        "A server was not reached",
        (
            "See whether it is reached from there: through a firewall, a VPN, or a proxy "
            "(HTTPS_PROXY).",
            "Where it is a server of the tests, let it listen on Daemon.gateway or on 0.0.0.0.",
        ),
        (f"{FOR_MAC}/issues/1866", f"{MOBY}/issues/29736"),
    ),
)

VFS = Cause(
    "vfs",
    r"(storage-driver|graphdriver(\(s\))?)=(vfs|native)\b",
    "A storage driver without copy-on-write is in use, which copies each layer whole: slow, and "
    "large on disk",
    (
        "Keep the engine's data on a file system that overlay works on (ext4, xfs).",
        "Name a driver that works there: --dind-arg=--storage-driver=fuse-overlayfs.",
    ),
    (
        f"{MOBY_CODE}/daemon/daemon.go#L1417",
        "https://github.com/containers/fuse-overlayfs/issues/375",
        "https://github.com/gitpod-io/workspace-images/issues/1454",
    ),
    fails=False,
)

_LAST = (
    Cause(
        "dockerd-option",
        r"unknown (shorthand )?flag:[^\n]*\s+See 'dockerd --help'"
        r"|unable to configure the Docker daemon with file",
        "dockerd refuses an option that it is given, or its file daemon.json",
        (
            "Leave out the --dind-arg, or spell it as this version does: docker run --rm IMAGE "
            "dockerd --help.",
        ),
        (f"{MOBY}/issues/42948", f"{MOBY}/issues/26044"),
    ),
    Cause(
        "storage-driver",
        r"error initializing graphdriver|graphdriver not supported|: driver not supported"
        r"|backing file system is unsupported for this graph driver"
        r"|prerequisites for driver not satisfied",
        "The storage driver that is asked for does not work on the data-root's file system",
        (
            "Leave --storage-driver out: the daemon takes one that works.",
            "Keep the engine's data on a file system that it works on (ext4, xfs for overlay2).",
        ),
        (f"{MOBY_CODE}/daemon/graphdriver/errors.go#L5",),
    ),
    Cause(
        "ip-vs",
        r"could not get ipvs family information from the kernel|Running modprobe ip_vs failed",
        "The kernel has no IP_VS: a swarm's routing mesh and virtual addresses do not work",
        (
            "Load the module on the engine's machine: sudo modprobe ip_vs.",
            "Do without them: --endpoint-mode dnsrr, and ports published in mode host.",
        ),
        (f"{MOBY}/issues/24005", "https://github.com/vmware/photon/issues/543"),
        fails=False,
    ),
    VFS,
)

CAUSES = (*_RUNTIME, *_KERNEL, *_LIMITS, *_NETWORK, *_REGISTRY, *_LAST)
