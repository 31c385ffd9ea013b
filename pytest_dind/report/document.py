"""The data of a report: entries in lines, and the document that they make.

An entry names a kind, a thing, and facts on it. Later entries add to earlier ones, of whichever
process they are. `docs/report.schema.json` describes the document.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ..errors import DindError
from . import page

VERSION = 1
KINDS = (
    *("workers", "daemons", "clusters", "tests", "containers", "images", "networks", "volumes"),
    *("namespaces", "leaks", "events", "gaps"),
)
"""The kinds of things; the document has a list of each. Facts on the run itself are of `RUN`."""
RUN = "run"

Document = dict[str, Any]


def line(kind: str, name: str, facts: dict[str, Any]) -> str:
    """Return an entry as a line of a page: nothing in it ends the element that it is in."""
    return json.dumps([kind, name, facts]).replace("<", "\\u003c").replace(">", "\\u003e")


def merged(lines: Iterable[str]) -> Document:
    """Return the document that entries make; those that were cut short count as a gap."""
    found: dict[str, dict[str, Any]] = {kind: {} for kind in (RUN, *KINDS)}
    broken = 0
    for text in lines:
        if not text.strip():
            continue
        try:
            kind, name, facts = json.loads(text)
            found[kind].setdefault(name, {"id": name}).update(facts)
        except (ValueError, TypeError, KeyError):
            broken += 1
    if broken:
        text = f"{broken} entries of this report were cut short"
        found["gaps"]["entries"] = {"id": "entries", "text": text}
    run = found.pop(RUN).get("", {"id": ""})
    del run["id"]
    return {
        "version": VERSION,
        "run": run,
        **{kind: list(things.values()) for kind, things in found.items() if kind != "gaps"},
        "gaps": _joined(found["gaps"].values()),
    }


def _joined(gaps: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return gaps, those of one daemon that overlap as one: each process tells of its own."""
    joined: list[dict[str, Any]] = []
    for gap in sorted(gaps, key=lambda one: float(one.get("start", 0))):
        same = [
            one
            for one in joined
            if {"start", "end"} <= one.keys() & gap.keys()
            and (one.get("daemon"), one.get("text")) == (gap.get("daemon"), gap.get("text"))
            and gap["start"] <= one["end"]
        ]
        if same:
            same[0]["end"] = max(same[0]["end"], gap["end"])
        else:
            joined.append(gap)
    return joined


def lines(document: Document) -> Iterator[str]:
    """Return the entries of a document, a line each."""
    yield line(RUN, "", document["run"])
    for kind in KINDS:
        for thing in document[kind]:
            yield line(kind, thing["id"], {k: v for k, v in thing.items() if k != "id"})


def read(path: Path) -> Document:
    """Read a report: its data, or its page, also one that was cut short.

    Raises:
        DindError: it is no report, or none of this version.
    """
    try:
        # What isn't UTF-8 is in an entry that is broken.
        text = path.read_text(encoding="utf-8", errors="replace")
        if page.OPENING in text:
            return merged(page.data(text).splitlines())
        found: Document = json.loads(text)
        if found["version"] != VERSION:
            raise ValueError(f"It is of version {found['version']}; this is {VERSION}.")
        # What can be made a page again.
        for _ in lines(found):
            pass
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DindError(
            f"{str(path)!r} can't be read as a report.",
            evidence=f"{type(error).__name__}: {error}",
            remedy=["Name what --dind-report wrote: REPORT.html, or REPORT.html.json."],
        ) from error
    return found


def write(path: Path, document: Document) -> None:
    """Write a document, whole or not at all.

    Raises:
        OSError: it can't be written.
    """
    _write(path, [json.dumps(document, indent=1), "\n"])


def write_page(path: Path, document: Document) -> None:
    """Write the page of a document, whole or not at all.

    Raises:
        OSError: it can't be written.
    """
    _write(path, [page.head(), *(f"{text}\n" for text in lines(document)), page.TAIL])


def _write(path: Path, content: Iterable[str]) -> None:
    aside = path.with_name(f"{path.name}.new")
    with aside.open("w", encoding="utf-8") as file:
        file.writelines(content)
    aside.replace(path)
