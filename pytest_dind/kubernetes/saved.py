"""What other processes need to know of a cluster to take it up: a file in its daemon's home."""

from __future__ import annotations

import dataclasses
import json
from ipaddress import IPv4Network
from pathlib import Path

from ..lifetime import layout
from . import access
from .adapters.adapter import Plan

KIND = "kubernetes"


def write(home: Path, plan: Plan) -> None:
    """Write what nodes have in common; for this user alone, since it has a secret."""
    facts = {**dataclasses.asdict(plan), "subnet": str(plan.subnet)}
    content = json.dumps({"kind": KIND, "plan": facts})
    access.private(home / layout.CLUSTER, content.encode())


def read(home: Path) -> Plan | None:
    """Read it; None where there is none, or none that this version can read."""
    try:
        facts = json.loads((home / layout.CLUSTER).read_text())["plan"]
        return Plan(**{**facts, "subnet": IPv4Network(facts["subnet"])})
    except (OSError, ValueError, KeyError, TypeError):
        return None
