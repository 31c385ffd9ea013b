"""What a JUnit report has of daemons: facts as properties, sections as the output of tests."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest

from ..settings import MAIN

if TYPE_CHECKING:
    from ..backends.protocol import Record

Property = tuple[str, str]
"""A name and a value."""


def properties(records: Iterable[Record]) -> list[Property]:
    """Return the facts on daemons: mode, version and seconds to ready of each.

    Those of the daemon `main` are named `dind.mode` and so on, those of others `dind.NAME.mode`.
    """
    found = []
    for record in records:
        prefix = "dind" if record.home.name == MAIN else f"dind.{record.home.name}"
        found += [
            (f"{prefix}.mode", record.mode),
            (f"{prefix}.engine", record.version),
            (f"{prefix}.ready_seconds", f"{record.seconds:.2f}"),
        ]
    return found


def add_properties(config: pytest.Config, given: Iterable[Property]) -> None:
    """Add properties to the suite in the JUnit report, where one is written."""
    xml = _xml(config)
    for name, value in dict(given).items() if xml is not None else ():
        xml.add_global_property(name, value)


def add_output(config: pytest.Config, report: pytest.TestReport) -> None:
    """Add a report's sections on daemons to the test in the JUnit report, where one is written."""
    xml = _xml(config)
    if xml is None or not report.sections or (report.passed and not xml.log_passing_tests):
        return
    from _pytest.junitxml import bin_xml_escape

    from ..recorder.sections import PREFIX

    sections = [one for one in report.sections if one[0].startswith(PREFIX)]
    if not sections:
        return
    output = ET.Element("system-out")
    output.text = bin_xml_escape(
        "\n".join(f"{f' {title} ':-^80}\n{text}" for title, text in sections)
    )
    xml.node_reporter(report).append(output)


def _xml(config: pytest.Config) -> Any:
    """Return pytest's writer of the JUnit report; None where none is written, as in a worker."""
    if not config.pluginmanager.hasplugin("junitxml"):
        return None
    from _pytest.junitxml import xml_key

    return config.stash.get(xml_key, None)
