"""Several images in one run: each test on a daemon of each, and what became of them."""

from __future__ import annotations

import contextlib
import hashlib
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pytest

from ..errors import DindError, SettingsError
from ..options import CLEAN, FRESH, IMAGE_FIXTURE, IMAGES_MARKER
from ..settings import MAIN

if TYPE_CHECKING:
    from ..daemon.handle import Daemon
    from ..settings import Settings

NEEDED = 300 << 20
"""The bytes of memory that a further daemon is taken to need, with what tests run in it."""
# Part of a unix socket's path and of a container's name, as the names of dind_factory are.
_LONGEST = 22
_DIGEST = 4
_EXEC_SECONDS = 10
# Markers for which a test has the daemon that does not ask for it otherwise.
_ASKING = ("requires_engine", CLEAN)
# Of the tests that failed on some engines, in a run that is not verbose.
_MOST_TESTS = 20
_FAILED = "failed"
_ALWAYS_SHOWN = ("passed", "failed", "skipped")
_COLUMNS = {
    "passed": "passed",
    "failed": "failed",
    "error": "failed",
    "skipped": "skipped",
    "xfailed": "xfailed",
    "xpassed": "xpassed",
}
"""The columns of the table, by pytest's outcomes."""


# ---------------------------------------------------------------- parameters


def parametrize(metafunc: pytest.Metafunc, images: Sequence[str]) -> None:
    """Have a test that uses the daemon run on each of its images.

    Args:
        metafunc: The test.
        images: The images of the options; those of the test's marker win.
    """
    test, names = metafunc.definition, metafunc.fixturenames
    mark = test.get_closest_marker(IMAGES_MARKER)
    if mark is not None:
        if problem(mark):
            # Told with the other bad arguments, once the tests are collected.
            return
        images = tuple(dict.fromkeys(mark.args))
    marked = any(map(test.get_closest_marker, _ASKING))
    if "dind_daemon" in names and IMAGE_FIXTURE not in names:
        # A dind_daemon of the suite's own, which does not depend on the image.
        return
    if not {"dind_daemon", FRESH}.intersection(names) and not marked:
        return
    if IMAGE_FIXTURE not in names:
        names.append(IMAGE_FIXTURE)
    # A worker that has all tests of a group needs one daemon, with `--dist loadgroup`.
    grouped = metafunc.config.pluginmanager.hasplugin("xdist") and not test.get_closest_marker(
        "xdist_group"
    )
    parameters = [
        pytest.param(image, id=name, marks=[pytest.mark.xdist_group(name)] if grouped else [])
        for image, name in zip(images, short_names(images), strict=True)
    ]
    metafunc.parametrize(IMAGE_FIXTURE, parameters, indirect=True, scope="session")


def problem(mark: pytest.Mark) -> str:
    """Return what is wrong with a marker's images; an empty text when they are valid."""
    from ..settings import Settings

    if mark.kwargs or not mark.args:
        return "It takes one image or more, and nothing else."
    for image in mark.args:
        if not isinstance(image, str):
            return f"{image!r} is not a text."
        try:
            Settings(image=image)
        except SettingsError as error:
            return f"{error.what} {error.evidence}"
    return ""


def image_of(item: pytest.Item) -> str:
    """Return the image that a test's parameter names; an empty text where it has none."""
    callspec = getattr(item, "callspec", None)
    return str(callspec.params.get(IMAGE_FIXTURE, "")) if callspec is not None else ""


def without_image(item: pytest.Item, image: str, images: Sequence[str]) -> str:
    """Return a test's id without the image: the same for the test on each engine.

    Args:
        item: The test.
        image: The image that its parameter names.
        images: The images of the options; those of the test's marker win.
    """
    mark = item.get_closest_marker(IMAGES_MARKER)
    images = [*dict.fromkeys(mark.args if mark is not None else images)]
    name = short_names(images)[images.index(image)] if image in images else ""
    path, bracket, parameters = item.nodeid.partition("[")
    if not bracket or not name:
        return item.nodeid
    # In front as a rule: where pytest's own parameters come first, it is last or between them.
    parts = f"-{parameters.removesuffix(']')}-".replace(f"-{name}-", "-", 1).strip("-")
    return f"{path}[{parts}]" if parts else path


def short_names(images: Sequence[str]) -> list[str]:
    """Return a name of each image, unique among them: its short one, else all of it."""
    names = [_short_name(image) for image in images]
    return [
        name if names.count(name) == 1 else image for image, name in zip(images, names, strict=True)
    ]


def _short_name(image: str) -> str:
    """Return `docker-28` of `registry:5000/library/docker:28-dind`."""
    path, _, digest = image.partition("@")
    name, _, tag = path.rpartition("/")[2].partition(":")
    tag = tag.removesuffix("-dind") or digest.rpartition(":")[2][:12]
    return f"{name}-{tag}" if tag else name


# ------------------------------------------------------------------- daemons


def of(settings: Settings, image: str, main: str) -> tuple[Settings, str]:
    """Return the settings of the daemon for a parameter, and its name in the run.

    Args:
        settings: What `dind_config` gives.
        image: The parameter.
        main: The first image of the options, which the daemon of tests without parameter has.

    Raises:
        SettingsError: the mode is one that takes no image.
    """
    if settings.mode == "socket":
        raise SettingsError(
            f"Tests can't run on the image {image!r} in mode socket.",
            evidence="There they use the outer engine itself, which is of one version.",
            remedy=[
                "Choose another mode: --dind-mode=auto.",
                "Have the tests skipped in this mode: @pytest.mark.requires_isolation.",
            ],
        )
    if image == settings.image == main:
        return settings, MAIN
    name = _daemon_name(image)
    reuse = _limited(f"{settings.reuse}-{_short_name(image)}", image) if settings.reuse else ""
    return settings.replace(image=image, reuse=reuse), name


def _daemon_name(image: str) -> str:
    """Return the name of an image's daemon in a run: the same in each of xdist's workers."""
    return _limited(re.sub(r"[^a-z0-9]+", "-", _short_name(image).lower()).strip("-"), image)


def _limited(name: str, image: str) -> str:
    """Return a name with a digest that tells images of the same short name apart."""
    digest = hashlib.sha256(image.encode()).hexdigest()[:_DIGEST]
    name = re.sub(r"[^A-Za-z0-9_-]", "-", name)[: _LONGEST - len(digest) - 1].rstrip("-")
    return f"{name}-{digest}" if name else digest


def is_short_of_memory(daemon: Daemon) -> bool:
    """Tell whether the machine of a daemon has no room for another; false where that is unknown."""
    from docker.errors import DockerException

    from ..engine import meminfo

    told = ""
    # A daemon that is gone says nothing of its machine; one that shares a directory with this
    # process is on this machine.
    with contextlib.suppress(DindError, DockerException, OSError, subprocess.SubprocessError):
        if not daemon.record.is_unshared and meminfo.PATH.exists():
            told = meminfo.PATH.read_text()
        else:
            command = ["cat", str(meminfo.PATH)]
            told = daemon.exec(command, check=False, timeout=_EXEC_SECONDS).stdout
    available = meminfo.available(told)
    return available is not None and available < NEEDED


# -------------------------------------------------------------------- tables


def tables(stats: Mapping[str, Iterable[Any]], first: Sequence[str], *, verbose: bool) -> list[str]:
    """Return the lines on a run on several images: what became of the tests on each.

    The first table counts, for each image, how many tests passed, failed and so on. The second one
    has the single tests that failed on one image and not on all; of a verbose run, all tests.

    Args:
        stats: The reports of pytest's terminal, by outcome; those of tests that ran on an image
            have `dind_engine`: the image, the version of its engine as far as known, and the
            test's id without the image.
        first: The images that come first, in this order.
        verbose: Whether the run is a verbose one.
    """
    outcomes: dict[str, dict[str, str]] = {}
    versions: dict[str, str] = {}
    counts: dict[str, dict[str, int]] = {}
    for outcome, column in _COLUMNS.items():
        for report in stats.get(outcome, ()):
            image, version, test = getattr(report, "dind_engine", ("", "", ""))
            if image:
                row = counts.setdefault(image, dict.fromkeys(_COLUMNS.values(), 0))
                row[column] += 1
                versions[image] = versions.get(image) or version
                # A test that failed stays so, however its fixtures ended.
                of_test = outcomes.setdefault(test, {})
                of_test[image] = column if of_test.get(image) != _FAILED else _FAILED
    if not counts:
        return []
    images = [image for image in first if image in counts]
    images += sorted(counts.keys() - set(images))
    columns = [
        column
        for column in dict.fromkeys(_COLUMNS.values())
        if column in _ALWAYS_SHOWN or any(row[column] for row in counts.values())
    ]
    rows = [["engine", "Docker", *columns]]
    rows += [
        [image, versions[image] or "?", *(str(counts[image][column]) for column in columns)]
        for image in images
    ]
    return [*_aligned(rows, left=2), *_of_tests(outcomes, images, verbose=verbose)]


def _of_tests(
    outcomes: Mapping[str, Mapping[str, str]], images: Sequence[str], *, verbose: bool
) -> list[str]:
    """Return the lines of a table of tests, with what became of each on each image."""
    shown = sorted(
        test for test, found in outcomes.items() if verbose or {_FAILED} < set(found.values())
    )
    more = 0 if verbose else max(0, len(shown) - _MOST_TESTS)
    rows = [
        [test, *(outcomes[test].get(image, "-") for image in images)]
        for test in shown[: len(shown) - more]
    ]
    if not rows:
        return []
    title = "test" if verbose else "failed on some"
    lines = _aligned([[title, *images], *rows], left=len(images) + 1)
    return [*lines, *([f"dind: and {more} more, which -v shows"] if more else [])]


def _aligned(rows: Sequence[Sequence[str]], *, left: int) -> list[str]:
    """Return the lines of a table; the cells after the first `left` ones end below one another."""
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    return [
        "dind: "
        + "  ".join(
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
