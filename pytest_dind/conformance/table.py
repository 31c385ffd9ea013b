"""The table of what works: for a terminal, and for the documentation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from .examination import Examined

_WORDS = {"passed": "yes", "failed": "NO", "skipped": "-"}


def text(found: Sequence[Examined]) -> Iterator[str]:
    """The lines for a terminal: a line for each test, a column for each mode; then the causes."""
    yield found[0].engine
    modes = [one.mode for one in found]
    says = _says(found)
    width = max(map(len, says))
    yield " ".join([" " * width, *(f"{mode:>7}" for mode in modes)])
    for line in says:
        cells = [_WORDS[_outcome(one, line)] for one in found]
        yield " ".join([f"{line:{width}}", *(f"{cell:>7}" for cell in cells)])
    for one in found:
        for failed in one.failed:
            yield f"mode {one.mode}: {failed.says}: {failed.cause}"


def markdown(found: Sequence[Examined]) -> Iterator[str]:
    """The lines for the documentation: a row for each engine and mode; then what does not work."""
    yield "| engine | mode | works | does not |"
    yield "|---|---|---|---|"
    for one in found:
        tried = [outcome for outcome in one.outcomes if outcome.outcome != "skipped"]
        passed = len(tried) - len(one.failed)
        yield f"| {one.engine} | {one.mode} | {passed} of {len(tried)} | {_missing(one)} |"


def _missing(one: Examined) -> str:
    """What does not work, by its causes; where nothing works, those alone."""
    causes: dict[str, list[str]] = {}
    for failed in one.failed:
        causes.setdefault(failed.cause, []).append(failed.says)
    if len(one.failed) > 1 and not any(o.outcome == "passed" for o in one.outcomes):
        return "<br>".join(map(_cell, causes))
    return "<br>".join(_cell(f"{'; '.join(says)}: {cause}") for cause, says in causes.items())


def _cell(line: str) -> str:
    return line.replace("|", "\\|")


def _says(found: Iterable[Examined]) -> list[str]:
    """What the tests show, in the suite's order."""
    return list(dict.fromkeys(outcome.says for one in found for outcome in one.outcomes))


def _outcome(one: Examined, says: str) -> str:
    return next((o.outcome for o in one.outcomes if o.says == says), "skipped")
