"""The markers for what a test requires: checked as tests are collected, applied as they run."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from ..errors import SettingsError
from ..options import CLEAN, IMAGES_MARKER, REQUIREMENTS, SNAPSHOT_MARKER
from ..settings import MODES

if TYPE_CHECKING:
    from packaging.specifiers import SpecifierSet
    from packaging.version import Version

    from ..backends.registry import Choice
    from ..settings import Settings


class Unmet(NamedTuple):
    """A requirement that is not met.

    Attributes:
        requirement: The requirement's name, as `--dind-require` has it.
        reason: Why it is not met, and how to run the test.
    """

    requirement: str
    reason: str


class Copied(NamedTuple):
    """What a daemon of a test's own is a copy of.

    Attributes:
        name: The name of the snapshot; empty for none.
        start: Whether the containers run again that ran in it.
    """

    name: str = ""
    start: bool = False


class Versioned(NamedTuple):
    """A marker that takes a version.

    Attributes:
        example: What that may be.
        fixture: The fixture whose version it is about.
        subject: What has that version, as a sentence begins.
        option: The option by which there is another one.
    """

    example: str
    fixture: str
    subject: str
    option: str


VERSIONED = {
    "requires_engine": Versioned(">=28", "dind_daemon", "the daemon's engine", "--dind-image"),
    "requires_kubernetes": Versioned(
        ">=1.33", "dind_kubernetes", "the cluster's Kubernetes", "--dind-kubernetes-image"
    ),
}
"""The markers that take a version, in the order in which they are looked at."""
_CLEAN_ARGUMENTS = {"images", "build_cache"}


def mistakes(nodes: Iterable[pytest.Item | pytest.Collector]) -> list[SettingsError]:
    """Return an error for each of these nodes' own markers whose arguments are not valid."""
    found: dict[int, SettingsError] = {}
    for node in nodes:
        for mark in node.own_markers:
            error = _mistake(node, mark)
            if error is not None:
                # The parameter sets of a function share its markers.
                found.setdefault(id(mark), error)
    return list(found.values())


def _mistake(node: pytest.Item | pytest.Collector, mark: pytest.Mark) -> SettingsError | None:
    if mark.name in ("requires_sysbox", "requires_isolation") and (mark.args or mark.kwargs):
        return _bad(node, mark, "It takes no arguments.", f"@pytest.mark.{mark.name}")
    if mark.name in VERSIONED:
        try:
            _specifier(mark)
        except ValueError as error:
            evidence = f"It takes one version specifier (PEP 440): {error}."
            example = f'@pytest.mark.{mark.name}("{VERSIONED[mark.name].example}")'
            return _bad(node, mark, evidence, example)
    if mark.name == CLEAN and (mark.args or not mark.kwargs.keys() <= _CLEAN_ARGUMENTS):
        evidence = f"Valid arguments, by name: {', '.join(sorted(_CLEAN_ARGUMENTS))}."
        return _bad(node, mark, evidence, "@pytest.mark.dind_clean(images=True)")
    if mark.name == CLEAN and any(not isinstance(one, bool) for one in mark.kwargs.values()):
        evidence = "Each of its arguments is True or False."
        return _bad(node, mark, evidence, "@pytest.mark.dind_clean(images=True)")
    if mark.name == IMAGES_MARKER:
        from . import matrix

        if evidence := matrix.problem(mark):
            example = f'@pytest.mark.{mark.name}("docker:28-dind", "docker:29-dind")'
            return _bad(node, mark, evidence, example)
    if mark.name == SNAPSHOT_MARKER and (evidence := _snapshot_problem(mark)):
        return _bad(node, mark, evidence, f'@pytest.mark.{mark.name}("migrated")')
    if mark.name == "dind_modes" and (
        mark.kwargs or not mark.args or any(mode not in MODES for mode in mark.args)
    ):
        valid = ", ".join(map(repr, MODES))
        return _bad(node, mark, f"Valid modes: {valid}.", f"@pytest.mark.dind_modes({valid})")
    return None


def _snapshot_problem(mark: pytest.Mark) -> str:
    """Return what is wrong with the arguments of a marker for a snapshot; empty for nothing."""
    from ..store.snapshots import demand_name

    if len(mark.args) != 1 or not mark.kwargs.keys() <= {"start"}:
        return "It takes the name of a snapshot, and by name start."
    if not isinstance(mark.kwargs.get("start", False), bool):
        return "Its argument start is True or False."
    try:
        demand_name(mark.name, mark.args[0])
    except SettingsError as error:
        return error.evidence
    return ""


def _specifier(mark: pytest.Mark) -> SpecifierSet:
    from packaging.specifiers import SpecifierSet

    text = mark.args[0] if len(mark.args) == 1 and not mark.kwargs else None
    if not isinstance(text, str) or not text.strip():
        raise ValueError("one text, and nothing else")
    return SpecifierSet(text)


def _bad(
    node: pytest.Item | pytest.Collector, mark: pytest.Mark, evidence: str, example: str
) -> SettingsError:
    arguments = [*map(repr, mark.args), *(f"{key}={val!r}" for key, val in mark.kwargs.items())]
    return SettingsError(
        f"{node.nodeid}: the marker {mark.name}({', '.join(arguments)}) is not valid.",
        evidence=evidence,
        remedy=[f"Write it like this: {example}."],
    )


def apply(request: pytest.FixtureRequest, settings: Settings, choice: Choice) -> None:
    """Skip a test whose requirements are not met, or fail it with `--dind-require`.

    Args:
        request: The request of the test.
        settings: The daemon's settings.
        choice: The mode in force, and why.
    """

    def version(fixture: str) -> str:
        return str(request.getfixturevalue(fixture).version)

    found = list(unmet(request.node, choice))
    for name in VERSIONED:
        # What a version is asked of starts for that.
        found = found or list(unmet_by_version(request.node, name, version))
    for one in found:
        if {one.requirement, "all"}.intersection(settings.require):
            pytest.fail(f"{one.reason} (--dind-require)", pytrace=False)
    if found:
        pytest.skip(found[0].reason)


def copied(item: pytest.Item) -> Copied:
    """Return what the daemon of a test's own is a copy of."""
    mark = item.get_closest_marker(SNAPSHOT_MARKER)
    return Copied(mark.args[0], mark.kwargs.get("start", False)) if mark else Copied()


def required(item: pytest.Item, require: Sequence[str]) -> list[str]:
    """Return the markers of a test whose requirements `--dind-require` names."""
    names = [name for name in REQUIREMENTS if item.get_closest_marker(name)]
    return [name for name in names if {name.rpartition("_")[2], "all"}.intersection(require)]


def unmet(item: pytest.Item, choice: Choice) -> Iterator[Unmet]:
    """Yield the requirements of a test that the mode in force does not meet.

    Args:
        item: The test.
        choice: The mode in force, and why.
    """
    from ..backends.registry import isolates

    mode, isolated = choice.mode, [mode for mode in MODES if isolates(mode)]
    for mark in item.iter_markers("requires_sysbox"):
        if mode != "sysbox":
            yield Unmet(
                "sysbox",
                f"{mark.name}: the mode in force is {mode}"
                + (f" (auto: {choice.because})" if choice.because else "")
                + ". To run it, use an engine with Sysbox and --dind-mode=sysbox or auto",
            )
    for mark in item.iter_markers("requires_isolation"):
        if mode not in isolated:
            yield Unmet(
                "isolation",
                f"{mark.name}: mode {mode} is not isolated. To run it, use "
                f"--dind-mode={' or --dind-mode='.join(isolated)}",
            )
    for mark in item.iter_markers("dind_modes"):
        if mode not in mark.args:
            yield Unmet(
                "modes",
                f"{mark.name}: the mode in force is {mode}. To run it, use "
                f"--dind-mode={' or --dind-mode='.join(mark.args)}",
            )


def unmet_by_version(
    item: pytest.Item, marker: str, version: Callable[[str], str]
) -> Iterator[Unmet]:
    """Yield the requirements of a test that a version does not meet.

    Args:
        item: The test.
        marker: The marker, one of `VERSIONED`.
        version: Returns the version of what a fixture gives, which may start for that.
    """
    of = VERSIONED[marker]
    for mark in item.iter_markers(marker):
        specifier, found = _specifier(mark), version(of.fixture)
        if not specifier.contains(_release(found), prereleases=True):
            yield Unmet(
                marker.rpartition("_")[2],
                f"{mark.name}: {of.subject} is {found}, not {specifier}. To run it, name another "
                f"image: {of.option}",
            )


def _release(version: str) -> Version:
    """Return a version without what is around it, as `28.5.2+dfsg4` and `v1.34.2+k3s1` have it."""
    from packaging.version import Version

    match = re.match(r"\d+(\.\d+)*", version.removeprefix("v"))
    return Version(match[0] if match else "0")


def needs_daemon(items: Sequence[pytest.Item], fixtures: frozenset[str]) -> bool:
    """Tell whether one of these tests is certain to need the daemon that the options describe.

    A test that a marker may skip is not certain to; and where a conftest.py has a `dind_config` of
    its own, its settings aren't known yet.

    Args:
        items: The tests.
        fixtures: The fixtures that start the daemon.
    """
    using = [item for item in items if fixtures.intersection(getattr(item, "fixturenames", ()))]
    if any(overrides(item, "dind_config") for item in using):
        return False
    return any(
        not any(map(item.get_closest_marker, (*REQUIREMENTS, "skip", "skipif"))) for item in using
    )


def overrides(item: pytest.Item, *fixtures: str) -> bool:
    """Tell whether a test may have other fixtures of these names than the plugin's own."""
    info: Any = getattr(item, "_fixtureinfo", None)
    return info is None or any(len(info.name2fixturedefs.get(one, ())) != 1 for one in fixtures)
