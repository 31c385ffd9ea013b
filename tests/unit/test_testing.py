"""Daemons without pytest: what they can't be asked for."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_dind import SettingsError, testing


@pytest.mark.parametrize("give", [testing.daemon, testing.factory])
@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"report": "page.html"}, "report='page.html' has no effect"),
        ({"unavailable": "skip"}, "unavailable='skip' has no effect"),
        ({"mode": "vm"}, "mode"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_bad_settings(give: Any, settings: dict[str, str], text: str) -> None:
    """A setting of pytest's runs, a bad value, an unknown name: an error before anything starts."""
    with pytest.raises(SettingsError, match=text), give(**settings):
        pytest.fail("it has started")


def test_factory_keeps_nothing() -> None:
    """What only the one daemon of a block can have, a factory refuses."""
    with (
        pytest.raises(SettingsError, match="keep='always' has no effect"),
        testing.factory(keep="always"),
    ):
        pytest.fail("it has started")
