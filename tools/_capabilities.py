"""Capabilities this machine itself lacks, and a runtime that does without them.

Where the bounding set of the machine (a container or a small VM, say) lacks a capability, runc
refuses every `--privileged` container: "unable to apply caps: operation not permitted". The
wrapper takes the missing ones out of what it is asked for, and hands over to runc.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable
from typing import Any

RUNTIME = "runc-within-bounds"

# In the order of their numbers in linux/capability.h.
CAPABILITIES = tuple(
    f"CAP_{name}"
    for name in re.findall(
        r"\w+",
        """
        CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE
        NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO
        SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME
        SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG
        WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE
        """,
    )
)

_WRAPPER = """\
#!/bin/sh
# Written by pytest-dind's tools/engine.py: runc, without the capabilities this machine lacks.
set -eu

strip() {{
    [ -f "$1" ] || return 0
    tr '\\n' ' ' <"$1" | sed -E \\
        -e ':again' \\
        -e 's/({sets}[^]]*)"({missing})" *,? */\\1/' \\
        -e 't again' \\
        -e ':comma' \\
        -e 's/({sets}[^]]*[^], ]) *, *\\]/\\1]/' \\
        -e 't comma' >"$1.within-bounds"
    cat "$1.within-bounds" >"$1"
    rm "$1.within-bounds"
}}

previous=
for argument in "$@"; do
    case $previous in
        --bundle) strip "$argument/config.json" ;;
        --process) strip "$argument" ;;
    esac
    case $argument in
        --bundle=*) strip "${{argument#*=}}/config.json" ;;
        --process=*) strip "${{argument#*=}}" ;;
    esac
    previous=$argument
done
exec {runc} "$@"
"""
_SETS = r'"(bounding|effective|permitted|inheritable|ambient)" *: *\['


def missing(status: str, last_capability: int) -> list[str]:
    """Name the capabilities that a process can't have here, whoever it is.

    Args:
        status: the text of /proc/self/status.
        last_capability: the highest number the kernel knows, /proc/sys/kernel/cap_last_cap.
    """
    found = re.search(r"^CapBnd:\s*([0-9a-fA-F]+)$", status, re.MULTILINE)
    if not found:
        return []
    bound = int(found.group(1), 16)
    known = CAPABILITIES[: last_capability + 1]
    return [name for number, name in enumerate(known) if not bound >> number & 1]


def wrapper(runc: str, lacking: Iterable[str]) -> str:
    """Write the shell script that is runc without these capabilities."""
    return _WRAPPER.format(sets=_SETS, missing="|".join(lacking), runc=shlex.quote(runc))


def daemon_config(base: str, runtime_path: str | None) -> str:
    """Make a daemon's configuration of our own from the machine's.

    Args:
        base: the text of the machine's daemon.json, or nothing.
        runtime_path: a runtime that is to be the default one, if any.

    Raises:
        ValueError: the base is not a JSON object.
    """
    config: dict[str, Any] = json.loads(base) if base.strip() else {}
    if not isinstance(config, dict):
        raise ValueError("not a JSON object")
    for given_on_the_command_line in ("hosts", "pidfile"):
        config.pop(given_on_the_command_line, None)
    if runtime_path is not None:
        config["runtimes"] = {**config.get("runtimes", {}), RUNTIME: {"path": runtime_path}}
        config["default-runtime"] = RUNTIME
    return json.dumps(config, indent=2) + "\n"
