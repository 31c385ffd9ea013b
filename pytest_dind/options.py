"""The plugin's options and markers in pytest's terms, and the settings that the options give."""

from __future__ import annotations

import argparse
import dataclasses
import os
import shlex
from typing import Any, Literal

import pytest

from .settings import MODES, Settings

SETTINGS: pytest.StashKey[Settings] = pytest.StashKey()
"""The settings of a run, in its `config.stash`."""
REPORT: pytest.StashKey[Any] = pytest.StashKey()
"""The report of a run that has one, in its `config.stash`: a `hooks.reporting.Report`."""

DAEMON_FIXTURES = frozenset(
    {"dind_daemon", "dind_client", "dind_env", "dind_activated", "dind_clean"}
)
"""The fixtures that start the daemon."""
CLUSTER_FIXTURES = frozenset({"dind_kubernetes", "dind_swarm"})
"""The fixtures that start a cluster."""
FRESH = "dind_fresh"
"""The fixture that gives a test a daemon of its own."""

# In pytest's own TOML tables ([tool.pytest], from 9 on) values have types.
_HAS_TYPES = pytest.version_tuple >= (9,)

AHEAD = "dind/ahead"
"""The name of pytest's cache that has what each run needed."""

CLEAN = "dind_clean"
"""The name of a fixture and of a marker."""
IMAGES_MARKER = "dind_images"
SNAPSHOT_MARKER = "dind_snapshot"
IMAGE_FIXTURE = "_dind_image"
"""The fixture that has the image on which a test runs as its parameter, where there are several."""
MARKERS = {
    "requires_sysbox": ": skipped, with the cause, unless the daemon is Sysbox's",
    "requires_isolation": ": skipped in socket mode, where the daemon is the machine's own engine",
    "requires_engine": "(specifier): skipped unless the daemon's engine is of this version, "
    'such as ">=28"',
    "requires_kubernetes": "(specifier): skipped unless the cluster of dind_kubernetes is of this "
    'version, such as ">=1.33"',
    "dind_modes": f"(mode, ...): skipped in other modes than these ({', '.join(MODES)})",
    IMAGES_MARKER: "(image, ...): run on a daemon of each of these images, whatever --dind-image "
    "says; the test's id has the image's short name",
    SNAPSHOT_MARKER: "(name, start=False): dind_fresh is a copy of this snapshot, which a fixture "
    "has taken before; with start=True the containers that ran in it run again, and are healthy",
    CLEAN: "(images=False, build_cache=False): after the test everything that it added to the "
    "daemon is removed, as by the fixture dind_clean; on request new images and build cache too.",
}
"""The arguments and the meaning of each marker, by its name."""
REQUIREMENTS = tuple(
    name for name in MARKERS if name not in (CLEAN, IMAGES_MARKER, SNAPSHOT_MARKER)
)
"""The markers for requirements."""
IMAGES: pytest.StashKey[tuple[str, ...]] = pytest.StashKey()
"""The images of the options, in a run's `config.stash`."""


def add_options(parser: pytest.Parser) -> None:
    """Register an option and an ini key for each setting."""
    group = parser.getgroup("dind", "a Docker daemon for tests (pytest-dind)")
    for field in dataclasses.fields(Settings):
        repeatable = field.metadata["repeatable"]
        repeat = repeatable or field.metadata["several"]
        text = field.metadata["text"]
        if repeatable:
            text += "; repeatable"
        if field.default:
            default: Any = field.default
            default = ", ".join(default) if repeatable else default
            text += f" (default: {default})"
        bare = field.metadata["bare"]
        group.addoption(
            f"--dind-{field.name.replace('_', '-')}",
            **({"nargs": "?", "const": bare} if bare else {}),
            action="append" if repeat else "store",
            dest=f"dind_{field.name}",
            # None tells "not given" from an empty value, which wins over the ini key.
            default=None,
            metavar=field.metadata["metavar"],
            help=f"{text}; ini key: dind_{field.name}",
        )
        kind: Literal["linelist", "float", "string"] = "linelist" if repeat else "string"
        if _HAS_TYPES and isinstance(field.default, (int, float)):
            kind = "float"
        parser.addini(f"dind_{field.name}", text, type=kind, default=None)


def from_config(config: pytest.Config) -> Settings:
    """Return the settings: from the command line, else from the ini file, else the defaults.

    An empty value for a repeatable option on the command line empties the list.

    Raises:
        SettingsError: a value is not valid.
    """
    values: dict[str, Any] = {}
    for field in dataclasses.fields(Settings):
        raw = _given(config, field.name)
        if raw is None:
            continue
        if field.metadata["several"]:
            raw = next(iter(raw), "")
        # Not at the top: a run in which no setting is given does not load the validation.
        from .validation import read

        values[field.name] = read(field, raw)
    return Settings(**values)


def _of_file(config: pytest.Config, key: str) -> Any:
    """Return the value of an ini key; None where the file has none.

    Raises:
        SettingsError: the value is of another type than the key's.
    """
    try:
        return config.getini(key)
    # pytest's own error differs from release to release.
    except (TypeError, ValueError, pytest.UsageError) as error:
        from .errors import SettingsError

        raise SettingsError(
            f"The ini key {key} has a value of a type that it can't have.",
            evidence=str(error),
            remedy=[
                "Write a number of seconds as a number, as in dind_timeout = 60.",
                'Write all else as text, as in dind_cpus = "1.5", and what may be given more than '
                'once as a list of texts, as in dind_publish = ["8080"].',
            ],
        ) from error


def _given(config: pytest.Config, name: str) -> Any:
    """Return what the command line, else the ini file, gives for a setting; None for nothing."""
    raw = config.getoption(f"dind_{name}")
    if raw is None:
        return _of_file(config, f"dind_{name}")
    return _nearest_images(config, raw) if name == "image" else raw


def _nearest_images(config: pytest.Config, images: list[str]) -> list[str]:
    """Return the images of the command line, where some are, without those that `addopts` gives.

    pytest puts the ini file's `addopts`, the variable PYTEST_ADDOPTS and the command line together,
    so that the last one wins; of an option that may be given several times, all would remain.
    """
    if len(images) == 1:
        return images
    parser = argparse.ArgumentParser(
        add_help=False, allow_abbrev=False, exit_on_error=False, fromfile_prefix_chars="@"
    )
    parser.add_argument("--dind-image", action="append")
    variable = shlex.split(os.environ.get("PYTEST_ADDOPTS", ""))
    for arguments in (config.invocation_params.args, variable):
        found: list[str] | None = parser.parse_known_args([*map(str, arguments)])[0].dind_image
        if found:
            return found
    return images


def images_from_config(config: pytest.Config, settings: Settings) -> tuple[str, ...]:
    """Return the images that tests run on; mostly there is one, that of the settings.

    Raises:
        SettingsError: one is not valid, or there are several in a mode that takes none.
    """
    images = tuple(dict.fromkeys(_given(config, "image") or (settings.image,)))
    if len(images) == 1:
        return images
    for image in images:
        settings.replace(image=image)
    if settings.mode == "socket":
        from .errors import SettingsError

        raise SettingsError(
            f"--dind-image: {len(images)} images are given, in mode socket.",
            evidence="There the tests use the outer engine itself, which is of one version.",
            remedy=["Give one image, or none.", "Choose another mode: --dind-mode=auto."],
        )
    return images
