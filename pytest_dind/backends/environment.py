"""The environment of a daemon's container."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..engine import activation
from ..validation import variables as read_variables
from . import authorities, proxies

if TYPE_CHECKING:
    from ..engine.streams import Progress
    from ..settings import Settings


def variables(
    settings: Settings, around: proxies.Surroundings, progress: Progress
) -> dict[str, str]:
    """The proxies, what the setting `env` gives, which wins, and where certificates are.

    Args:
        settings: The daemon's settings.
        around: What the proxies depend on.
        progress: Writes a progress line.
    """
    given = given_variables(settings)
    # Tools read proxies in capitals, in small letters, or both.
    decided = {name.upper() for name in given}
    by_rule = around.proxies(progress)
    found = {name: value for name, value in by_rule.items() if name not in decided}
    is_proxied = found or any(given.get(name) or given.get(name.lower()) for name in proxies.KINDS)
    if is_proxied and proxies.NO_PROXY not in decided:
        found[proxies.NO_PROXY] = around.no_proxy()
    found |= {name.lower(): value for name, value in found.items()} | given
    return found | authorities.variables(settings.ca, given)


def may_be_proxied(settings: Settings, info: Mapping[str, Any]) -> bool:
    """Whether a daemon may have a proxy, so that its NO_PROXY matters.

    Args:
        settings: The daemon's settings.
        info: The outer engine's, as its API gives it.
    """
    around = (activation.outside(), given_variables(settings))
    told = (info.get(key) for key in proxies.KINDS.values())
    ours = (one.get(name) or one.get(name.lower()) for one in around for name in proxies.KINDS)
    return any((*told, *ours))


def given_variables(settings: Settings) -> dict[str, str]:
    """What the setting `env` gives; a name alone is this process's variable, where there is one."""
    ours = activation.outside()
    found = read_variables(settings.env)
    values = {name: ours.get(name) if value is None else value for name, value in found.items()}
    return {name: value for name, value in values.items() if value is not None}
