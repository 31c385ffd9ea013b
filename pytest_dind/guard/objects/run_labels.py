"""The labels of the objects that are made through a guard, and the filters that select them."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Mapping
from typing import Any

from ...lifetime import labels
from ..http.refusal import malformed
from ..rules.body import parse_text
from .roles import CLIENT as CLIENT
from .roles import CONTAINER as CONTAINER
from .roles import IMAGE as IMAGE
from .roles import NETWORK as NETWORK
from .roles import SWARM as SWARM
from .roles import VOLUME as VOLUME

_OF_IMAGES = (labels.RUN, labels.OWNER, labels.HOME, labels.CONTAINER)


class RunLabels:
    """The labels of the objects of one daemon.

    Args:
        base: The labels of the daemon, as `labels.make` gives them.
    """

    def __init__(self, base: Mapping[str, str]) -> None:
        self._base = dict(base)

    def for_role(self, role: str) -> dict[str, str]:
        """The labels of an object of a role."""
        # The older builder makes an image for each label, so images get no more than needed.
        kept = [key for key in self._base if role != IMAGE or key in _OF_IMAGES]
        return {**{key: self._base[key] for key in kept}, labels.ROLE: role}

    def owns(self, role: str, found: Mapping[str, str] | None) -> bool:
        """Whether labels are those of an object of this daemon, of a role."""
        found = found or {}
        return found.get(labels.ROLE) == role and (
            found.get(labels.HOME) == self._base[labels.HOME]
        )

    def filters(self, role: str, given: str = "") -> str:
        """Filters, as list and prune calls take them, that select this daemon's objects alone.

        Args:
            role: The objects' role.
            given: The client's own filters, in either of the two forms that engines know.

        Raises:
            Refusal: they are not filters.
        """
        found = read_filters(given)
        found.setdefault("label", {}).update(
            {
                f"{labels.HOME}={self._base[labels.HOME]}": True,
                f"{labels.ROLE}={role}": True,
            }
        )
        return json.dumps(found)


def read_filters(given: str) -> dict[str, dict[str, bool]]:
    """The filters of a list or prune call, in the newer of their two forms.

    Raises:
        Refusal: they are in neither.
    """
    if not given:
        return {}
    parsed: Any = parse_text(given, "the parameter filters")
    if not isinstance(parsed, dict):
        raise malformed("the parameter filters is not a JSON object")
    found: dict[str, dict[str, bool]] = {}
    for key, values in parsed.items():
        if isinstance(values, list) and all(isinstance(value, str) for value in values):
            found[key] = dict.fromkeys(values, True)
        elif isinstance(values, dict) and all(value is True for value in values.values()):
            found[key] = values
        else:
            raise malformed(f"the parameter filters has values for {key} that are not text")
    return found


def with_labels(labels_json: str, added: Mapping[str, str]) -> str:
    """Add labels to those of a build, as its parameter has them; the added ones win.

    Raises:
        Refusal: they are not an object of strings.
    """
    found = parse_text(labels_json, "the parameter labels") if labels_json else {}
    if found is None:
        found = {}
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise malformed("the parameter labels is not an object of strings")
    return json.dumps({**found, **added})


def dockerfile_lines(added: Mapping[str, str]) -> list[str]:
    """Labels as lines of a Dockerfile: a later one wins over those before it.

    Each has a line of its own, since Podman takes all after the first `=` for the first one's text.
    """

    def quote(text: str) -> str:
        escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$")
        return f'"{escaped}"'

    return [f"LABEL {quote(key)}={quote(text)}" for key, text in added.items()]


def created(details: Mapping[str, Any]) -> float:
    """The time when an image was made, in seconds since 1970, by the engine's details.

    With the fraction: an image of the second in which a guard began may be its tests' own. An image
    without a time counts as the oldest.
    """
    found = re.match(r"(.{19})(\.\d+)?", details.get("Created") or "")
    if not found:
        return 0.0
    second, fraction = found.groups("0")
    return datetime.datetime.fromisoformat(f"{second}+00:00").timestamp() + float(fraction)
