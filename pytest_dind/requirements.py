"""The markers that say what a test needs: checked as tests are collected, applied as they run."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .errors import SettingsError
from .settings import MODES

if TYPE_CHECKING:
    import pytest
    from packaging.specifiers import SpecifierSet
    from packaging.version import Version

    from .backends import Choice

_ISOLATED = tuple(mode for mode in MODES if mode != "socket")


@dataclass(frozen=True)
class Unmet:
    """A requirement that is not met.

    Attributes:
        requirement: Its name, as `--dind-require` has it.
        reason: Why, and how to run the test.
    """

    requirement: str
    reason: str


DESCRIPTIONS = (
    "requires_sysbox: skipped, with the cause, unless the daemon is Sysbox's",
    "requires_isolation: skipped in socket mode, where the daemon is the machine's own engine",
    "requires_engine(specifier): skipped unless the daemon's engine is of this version, "
    'such as ">=28"',
    f"dind_modes(mode, ...): skipped in other modes than these ({', '.join(MODES)})",
)
NAMES = tuple(re.split(r"[:(]", text)[0] for text in DESCRIPTIONS)


def check(item: pytest.Item) -> None:
    """Check the arguments of a test's markers.

    Raises:
        SettingsError: some are not valid; the text names the valid ones.
    """
    for mark in item.iter_markers():
        if mark.name in ("requires_sysbox", "requires_isolation") and (mark.args or mark.kwargs):
            raise _bad(item, mark, "It takes no arguments.", f"@pytest.mark.{mark.name}")
        if mark.name == "requires_engine":
            _specifier(item, mark)
        if mark.name == "dind_modes" and (
            mark.kwargs or not mark.args or any(mode not in MODES for mode in mark.args)
        ):
            valid = ", ".join(map(repr, MODES))
            raise _bad(item, mark, f"Valid modes: {valid}.", f"@pytest.mark.dind_modes({valid})")


def _specifier(item: pytest.Item, mark: pytest.Mark) -> SpecifierSet:
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    try:
        (text,) = mark.args
        if mark.kwargs:
            raise ValueError("keyword arguments")
        return SpecifierSet(text)
    except (ValueError, TypeError, AttributeError, InvalidSpecifier) as error:
        raise _bad(
            item,
            mark,
            f"It takes one version specifier (PEP 440): {error}.",
            '@pytest.mark.requires_engine(">=28")',
        ) from error


def _bad(item: pytest.Item, mark: pytest.Mark, evidence: str, example: str) -> SettingsError:
    arguments = [*map(repr, mark.args), *(f"{key}={val!r}" for key, val in mark.kwargs.items())]
    return SettingsError(
        f"{item.nodeid}: the marker {mark.name}({', '.join(arguments)}) is not valid.",
        evidence=evidence,
        remedy=[f"Write it like this: {example}."],
    )


def unmet(item: pytest.Item, choice: Choice, version: Callable[[], str]) -> Iterator[Unmet]:
    """What a test requires and doesn't have, what needs no daemon to be known first.

    Args:
        item: The test.
        choice: The mode in force, and why.
        version: Gives the version of the daemon's engine; starts the daemon.
    """
    mode = choice.mode
    for mark in item.iter_markers("requires_sysbox"):
        if mode != "sysbox":
            yield Unmet(
                "sysbox",
                f"{mark.name}: the mode in force is {mode}"
                + (f" (auto: {choice.because})" if choice.because else "")
                + ". To run it, use an engine with Sysbox and --dind-mode=sysbox or auto",
            )
    for mark in item.iter_markers("requires_isolation"):
        if mode not in _ISOLATED:
            yield Unmet(
                "isolation",
                f"{mark.name}: mode {mode} is not isolated. To run it, use "
                f"--dind-mode={' or --dind-mode='.join(_ISOLATED)}",
            )
    for mark in item.iter_markers("dind_modes"):
        if mode not in mark.args:
            yield Unmet(
                "modes",
                f"{mark.name}: the mode in force is {mode}. To run it, use "
                f"--dind-mode={' or --dind-mode='.join(mark.args)}",
            )
    for mark in item.iter_markers("requires_engine"):
        specifier, found = _specifier(item, mark), version()
        if not specifier.contains(_release(found), prereleases=True):
            yield Unmet(
                "engine",
                f"{mark.name}: the daemon's engine is {found}, not {specifier}. To run it, name "
                "another image: --dind-image",
            )


def _release(version: str) -> Version:
    """An engine's version without its distribution's suffix (`28.5.2+dfsg4`, `20.10.24-ce`)."""
    from packaging.version import Version

    match = re.match(r"\d+(\.\d+)*", version)
    return Version(match[0] if match else "0")
