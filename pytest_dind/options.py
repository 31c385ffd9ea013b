"""The plugin's options and markers in pytest's terms, and the settings that the options give."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import pytest

from .errors import DindError, SettingsError
from .settings import MODES, Settings

SETTINGS: pytest.StashKey[Settings] = pytest.StashKey()
"""The settings of a run, in its `config.stash`."""
REPORT: pytest.StashKey[Any] = pytest.StashKey()
"""The report of a run that has one, in its `config.stash`: a `hooks.reporting.Report`."""

DAEMON_FIXTURES = frozenset(
    {"dind_daemon", "dind_client", "dind_env", "dind_activated", "dind_clean"}
)
"""The fixtures that start the daemon."""

# In pytest's own TOML tables ([tool.pytest], from 9 on) values have types.
_HAS_TYPES = pytest.version_tuple >= (9,)

CLEAN = "dind_clean"
"""The name of a fixture and of a marker."""
MARKERS = {
    "requires_sysbox": ": skipped, with the cause, unless the daemon is Sysbox's",
    "requires_isolation": ": skipped in socket mode, where the daemon is the machine's own engine",
    "requires_engine": "(specifier): skipped unless the daemon's engine is of this version, "
    'such as ">=28"',
    "dind_modes": f"(mode, ...): skipped in other modes than these ({', '.join(MODES)})",
    CLEAN: "(images=False, build_cache=False): after the test everything that it added to the "
    "daemon is removed, as by the fixture dind_clean; on request new images and build cache too.",
}
"""The arguments and the meaning of each marker, by its name."""


def add_options(parser: pytest.Parser) -> None:
    """Register an option and an ini key for each setting."""
    group = parser.getgroup("dind", "a Docker daemon for tests (pytest-dind)")
    for field in dataclasses.fields(Settings):
        repeat = field.metadata["repeatable"]
        text = field.metadata["text"]
        if repeat:
            text += "; repeatable"
        if field.default:
            default: Any = field.default
            default = ", ".join(default) if repeat else default
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
        raw = config.getoption(f"dind_{field.name}")
        if raw is None:
            raw = _of_file(config, f"dind_{field.name}")
        if raw is None:
            continue
        # Not at the top: a run in which no setting is given does not load the validation.
        from . import validation

        values[field.name] = validation.read(field, raw)
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
        raise SettingsError(
            f"The ini key {key} has a value of a type that it can't have.",
            evidence=str(error),
            remedy=[
                "Write a number of seconds as a number, as in dind_timeout = 60.",
                'Write all else as text, as in dind_cpus = "1.5", and what may be given more than '
                'once as a list of texts, as in dind_publish = ["8080"].',
            ],
        ) from error


class Unavailable(pytest.skip.Exception):  # type: ignore[misc, name-defined]
    """The skip of a test for which no daemon can be had, with `--dind-unavailable=skip`.

    Args:
        reason: Why no daemon can be had.
        require: The requirements of `--dind-require`: a test that has one of their markers fails.
    """

    def __init__(self, reason: str, require: Sequence[str]) -> None:
        super().__init__(reason)
        self.require = require


@contextmanager
def unavailable(settings: Settings) -> Iterator[None]:
    """Skip the test when no daemon can be had in this context, if `--dind-unavailable` is skip.

    Raises:
        SettingsError: the settings are none: an override of `dind_config` gives something else.
    """
    if not isinstance(settings, Settings):
        raise SettingsError(
            f"The fixture dind_config gives {settings!r} instead of settings.",
            evidence=f"Its type is {type(settings).__name__}.",
            remedy=["Have its override return dind_config.replace(...), or dind_config."],
        )
    try:
        yield
    except SettingsError:
        raise
    except DindError as error:
        if settings.unavailable == "skip":
            raise Unavailable(error.line(), settings.require) from error
        raise
