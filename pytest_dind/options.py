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

DAEMON_FIXTURES = frozenset(
    {"dind_daemon", "dind_client", "dind_env", "dind_activated", "dind_clean"}
)
"""The fixtures that start the daemon."""

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
        kind: Literal["linelist", "string"] = "linelist" if repeat else "string"
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
            raw = config.getini(f"dind_{field.name}")
        if raw is None:
            continue
        # Not at the top: a run in which no setting is given does not load the validation.
        from . import validation

        values[field.name] = validation.read(field, raw)
    return Settings(**values)


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
    """Skip the test when no daemon can be had in this context, if `--dind-unavailable` is skip."""
    try:
        yield
    except SettingsError:
        raise
    except DindError as error:
        if settings.unavailable == "skip":
            raise Unavailable(error.line(), settings.require) from error
        raise
