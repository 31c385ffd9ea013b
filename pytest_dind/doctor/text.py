"""The report as text for reading: short, aligned, in sections."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..causes import security
from ..engine import versions
from ..errors import EngineUnavailable
from ..forwarder.tunnel import TOOLS
from ..kubernetes.adapters.adapter import MOST_NODES
from ..settings import AUTO
from .kernel import HERE

if TYPE_CHECKING:
    from .kernel import Kernel
    from .outer import Outer
    from .ports import Ports
    from .report import Advice, Report
    from .trial import Started, Verdict

_WIDTH = 100
_LEFT = 18
_YES_NO = {True: "yes", False: "no", None: "unknown"}
_FILES = {
    True: "daemons have the project and tmp_path under the same path (--dind-mount)",
    False: "daemons have none of this machine's, but for copies: --dind-mount copy:PATH",
    None: "not tried",
}
_NO_PROXIES = (
    "none: neither the engine nor this process's environment has any (--dind-env gives one)"
)
_PRESENCE = {
    "present": "yes",
    "loadable": "as a module, which is not loaded",
    "missing": "no",
    "unknown": "not loaded; whether it could be is not known",
}


def render(report: Report) -> str:
    """Return the report as text."""
    sections = [("Modes", [line for verdict in report.modes for line in _verdict(verdict, report)])]
    if report.error is not None:
        head = "Engine" if isinstance(report.error, EngineUnavailable) else "Problem"
        sections = [(head, str(report.error).splitlines())]
    elif report.engine is not None:
        sections.append(("Engine", _rows(_engine(report, report.engine))))
    name = f"Kernel of {report.kernel.where}"
    sections.append((name, _rows(_kernel(report.kernel))))
    sections.append(("Recommendation", _advice(report)))
    return "\n\n".join(f"{head}\n" + "\n".join(f"  {t}" for t in body) for head, body in sections)


def _rows(pairs: Iterable[tuple[str, str]]) -> list[str]:
    return [line for name, content in pairs if content for line in _row(name, content)]


def _row(name: str, content: str, indent: int = _LEFT) -> list[str]:
    """Return a name and its content, wrapped in a column; the content's own line breaks stay."""
    lines: list[str] = []
    for part in content.splitlines():
        lines += textwrap.wrap(part, _WIDTH - indent, break_on_hyphens=False) or [""]
    heads = [name] + [""] * (len(lines) - 1)
    return [f"{head:{indent}}{line}".rstrip() for head, line in zip(heads, lines, strict=True)]


def _verdict(verdict: Verdict, report: Report) -> list[str]:
    answer = "works" if verdict.works else "no"
    lines = [verdict.cause] if verdict.cause else ["a container proved it"]
    if verdict.works and verdict.daemon is not None:
        daemon = verdict.daemon
        lines = [
            f"a daemon was ready in {daemon.seconds:.2f} s (Docker {daemon.version}, "
            f"{daemon.storage_driver})",
            "nested containers were not tried: the image has no docker command"
            if daemon.nested_seconds is None
            else f"a nested container ran in {daemon.nested_seconds:.2f} s",
        ]
        lines += _reached(daemon) if verdict.mode != "socket" else []
    if verdict.evidence:
        lines += verdict.evidence.splitlines()
    found = _row(f"{verdict.mode:9}{answer}", "\n".join(lines))
    for remedy in verdict.remedy:
        found += _row(" " * _LEFT + "- ", remedy, _LEFT + 2)
    return found


def _reached(daemon: Started) -> list[str]:
    """Return what the started daemon showed of the way to its address."""
    if daemon.reached:
        return [f"its address, {daemon.address}, is reached from here"]
    if not daemon.address:
        return ["its ports are reached through the engine"]
    return [
        f"its ports are reached through the engine: nothing came back from its address, "
        f"{daemon.address}",
        "- Let this machine reach containers' addresses: a firewall or a VPN may be in the way.",
    ]


def _engine(report: Report, engine: Outer) -> list[tuple[str, str]]:
    space = report.space
    users = ["rootless"] * engine.rootless + ["userns-remap"] * engine.userns_remap
    others = [name for name in engine.runtimes if name != engine.default_runtime]
    nested = {True: "run", False: "do not run", None: "not tried"}
    newer = versions.unread(engine.api_max) if engine.api_max else ""
    privileged = {True: "allowed", False: "refused", None: "not tried"}[report.privileged]
    if report.unprivileged is False:
        privileged += "; neither does it run other containers"
    return [
        ("host", engine.host + ("" if engine.local else " (not on this machine, or not provably)")),
        (
            "version",
            f"{engine.product} {engine.version}".strip()
            + f" (API {engine.api_min} to {engine.api_max}), {engine.os}"
            + (f"\n{newer}" if newer else ""),
        ),
        (
            "storage",
            engine.storage_driver
            + (f" on {engine.backing_filesystem}" if engine.backing_filesystem else ""),
        ),
        (
            "free space",
            f"{_size(space.free)} of {_size(space.total)} at {engine.root_dir}"
            if space
            else "unknown",
        ),
        ("cgroups", f"version {engine.cgroup_version}, driver {engine.cgroup_driver or 'unknown'}"),
        (
            "container root",
            f"a user of the machine ({', '.join(users)})" if users else "the machine's root",
        ),
        ("security", ", ".join(engine.security) or "none"),
        ("", _module(engine)),
        ("runtimes", ", ".join([f"{engine.default_runtime} (default)", *others])),
        ("proxies", "\n".join(engine.proxies) or _NO_PROXIES),
        ("image's iptables", report.image_iptables),
        ("files", _FILES[report.shares]),
        (
            "way back",
            f"nested containers reach the tests at {report.gateway}, as host.docker.internal with "
            "host-gateway"
            if report.gateway
            else "none is known: the engine is on another machine, or in a virtual one",
        ),
        ("names", _names(report)),
        *_ports(report),
        ("kubernetes", _clusters(report)),
        ("--privileged", privileged),
        ("nested", nested[report.nested]),
    ]


def _names(report: Report) -> str:
    """Return which names nested containers know."""
    asked = ", ".join(report.resolvers)
    return (
        "nested containers ask the resolvers that the engine's own ask"
        + (f" ({asked})" if asked else "")
        + "; they know the daemons of dind_factory, and what is in the network of --dind-network"
    )


def _ports(report: Report) -> list[tuple[str, str]]:
    """Return where tests reach published ports, with cause and remedies where that is a detour."""
    ports = report.ports
    if ports is None:
        return []
    if report.mode == "socket":
        where = (
            "the engine publishes them itself, on this machine's loopback"
            if ports.here
            else "the engine publishes them itself, in a network that is not reached from here\n"
            "- Use a mode with a daemon of its own, whose ports are opened here: --dind-mode=auto."
        )
        return [("published ports", where)]
    return [("published ports", _forwarded(ports)), ("address()", _addressed(ports))]


def _forwarded(ports: Ports) -> str:
    if not ports.forward:
        return (
            "not opened on this machine's loopback: --dind-forward=off\n"
            "- Leave --dind-forward=off out."
        )
    if ports.refused:
        return (
            f"can't be opened on this machine's loopback: 127.0.0.1: {ports.refused}\n"
            "- Set the loopback interface up: ip link set lo up."
        )
    text = f"opened on {' and '.join(ports.loopback)}, under the same numbers while these are free"
    if not ports.low_refused:
        return text
    return (
        f"{text}; none below 1024, which this user may not open: {ports.low_refused}\n"
        "- Publish them under higher numbers, or use address(), which finds the way in any case.\n"
        "- Let all users open them: sysctl net.ipv4.ip_unprivileged_port_start=0."
    )


def _addressed(ports: Ports) -> str:
    if not ports.detour:
        return "leads to the daemon's own address"
    lacks, remedies = [], []
    if not ports.forward:
        lacks.append("--dind-forward=off")
    if ports.refused:
        lacks.append("nothing can be opened on this machine's loopback")
    if ports.tools == ():
        lacks.append(f"the daemon's image has none of {', '.join(TOOLS)}")
        remedies.append("Use an image that has one of these, as docker:dind has: --dind-image.")
    if ports.here:
        remedies.append("Have the engine publish a port: --dind-publish PORT.")
    remedies.append(
        "Run the tests where the engine's network is: on its machine, or in a container of it."
    )
    text = (
        f"leads nowhere, because of the engine ({ports.detour}), and because there is no way "
        f"through it: {', '.join(lacks)}"
        if lacks
        else "leads to a port of this machine's loopback, and on through the engine, by a command "
        f"in the daemon's container, because of the engine: {ports.detour}; each connection takes "
        "some 0.1 s longer"
    )
    return "\n".join([text, *(f"- {remedy}" for remedy in remedies)])


def _clusters(report: Report) -> str:
    """Return whether clusters of Kubernetes can be had, with cause and remedies."""
    found = report.clusters
    if found is None:
        return ""
    if report.mode in ("", "socket"):
        return (
            "no: nodes are in a daemon of their own\n"
            "- Use a mode that works and has one: --dind-mode=dind, or sysbox."
        )
    lines = []
    counts = [one for one in (found.memory_nodes, found.inotify_nodes) if one is not None]
    if found.lacks:
        lines.append(f"no: the engine's machine lacks {'; '.join(found.lacks)}")
    elif counts:
        most = min(*counts, MOST_NODES)
        lines.append(f"nodes can run, {most} of them at the most, where nothing else does")
    else:
        lines.append("nothing is known against nodes")
    if found.cgroup_version == 1:
        lines.append("versions from 1.35 on refuse control groups of version 1, which it has")
    if found.is_tight:
        lines.append(
            f"by fs.inotify.max_user_instances={found.inotify_instances}, all that root runs there "
            f"has room for {found.inotify_nodes} nodes\n"
            "- Raise it there, for more clusters at once: sudo sysctl "
            "fs.inotify.max_user_instances=8192."
        )
    return "\n".join(lines)


def _module(engine: Outer) -> str:
    """Return what the security modules mean for daemons, and the options that a user has."""
    found = {name.lower(): name for name in (security.SELINUX, security.APPARMOR)}
    lines = []
    for module in (found[name] for name in engine.security if name in found):
        lines.append(
            f"{module} confines containers; a --privileged one is free of it, its nested ones and "
            "Sysbox's need not be. Should it deny something:"
        )
        lines += [f"- {option}" for option in security.OPTIONS[module]]
    return "\n".join(lines)


def _kernel(kernel: Kernel) -> list[tuple[str, str]]:
    users = _YES_NO[kernel.user_namespaces]
    if kernel.user_namespaces and not kernel.unprivileged_user_namespaces:
        users = "yes, for root alone; rootless Docker takes more"
    fuse = _PRESENCE[kernel.fuse]
    if kernel.fuse == "present":
        fuse += ", and /dev/fuse" if kernel.fuse_device else ", but no /dev/fuse"
    tables = ""
    if kernel.legacy_tables is None:
        tables = "; only root may know which legacy tables are in use"
    elif kernel.legacy_tables:
        tables = f"; legacy tables in use: {', '.join(kernel.legacy_tables)}"
    modules = [f"SELinux ({kernel.selinux})"] if kernel.selinux else []
    modules += ["AppArmor"] if kernel.apparmor else []
    return [
        ("release", kernel.release or "unknown: not Linux, or hidden"),
        ("user namespaces", users),
        ("overlay", _PRESENCE[kernel.overlay]),
        ("fuse", fuse),
        ("iptables", kernel.iptables + tables if kernel.where == HERE else "unknown"),
        ("security", ", ".join(modules) or "neither SELinux nor AppArmor"),
    ]


def _advice(report: Report) -> list[str]:
    if report.mode and report.asked == AUTO:
        lines = [f"--dind-mode=auto takes {report.mode}."]
    elif report.mode:
        lines = [f"--dind-mode={report.mode} works."]
    elif report.asked == AUTO:
        lines = ["No isolated mode works here; see above for what each lacks."]
    else:
        lines = [f"--dind-mode={report.asked} does not work here; see above for what it lacks."]
    width = max(len(row.need) for row in report.advice())
    for row in report.advice():
        lines.append(f"{row.need:{width}}  {row.mode:8}{_here(row)}")
    return lines


def _here(row: Advice) -> str:
    if row.works:
        return "works here"
    lacks = "does not work here"
    return f"{lacks}; nearest: {row.instead}" if row.instead else lacks


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB"
