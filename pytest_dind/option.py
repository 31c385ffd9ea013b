"""What an option is: a field of the settings, with its text, its values, and what it shapes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from .errors import SettingsError


def option(
    default: Any,
    text: str,
    *,
    metavar: str,
    parse: Callable[[str], Any] = str,
    choices: Sequence[str] = (),
    shapes: bool = True,
    commas: bool = False,
    bare: str | None = None,
) -> Any:
    """A field of `Settings` that is an option too; a tuple as default makes it repeatable.

    Args:
        default: Its value when it is not given.
        text: Its help.
        metavar: What stands for its value in the help.
        parse: Makes its value, or one of its values, from text.
        choices: The valid values, where only some are.
        shapes: Whether daemons with other values of it are different daemons.
        commas: Whether one text may hold several values.
        bare: What the option means without a value, where it may have none.
    """
    return dataclasses.field(
        default=default,
        metadata={
            "text": text,
            "metavar": metavar,
            "parse": parse,
            "choices": tuple(choices),
            "shapes": shapes,
            "commas": commas,
            "bare": bare,
        },
    )


def bad(name: str, value: object, valid: Iterable[str]) -> SettingsError:
    """The error for a value of this setting; the valid ones are listed, or told of."""
    flag = f"--dind-{name.replace('_', '-')}"
    return SettingsError(
        f"{flag}: {value!r} is not a valid value.",
        evidence=f"Valid: {', '.join(valid)}.",
        remedy=[f"Give {flag} (or the ini key dind_{name}) one of the valid values."],
    )


def repeatable(field: dataclasses.Field[Any]) -> bool:
    """Whether a setting has several values."""
    return isinstance(field.default, tuple)
