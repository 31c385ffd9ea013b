"""The explanation of a text, and of an error by its evidence, with the tables of known causes."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from ..errors import CAUSE, DindError

if TYPE_CHECKING:
    from .cause import Cause

E = TypeVar("E", bound=DindError)


def explain(text: str, *, refusal: bool = False) -> list[Cause]:
    """Find the known causes that a text tells of, most telling first.

    Args:
        text: What a daemon, an engine, a runtime or a registry has said: an answer, or a log.
        refusal: Whether it is the outer engine's refusal of a daemon's container, where the same
            words may mean something else than of a container in the daemon.
    """
    # A run in which nothing fails does not pay for the tables.
    from . import refusals, security, table

    rows = (*security.CAUSES, *(refusals.CAUSES if refusal else ()), *table.CAUSES)
    return [cause for cause in rows if cause.is_in(text)]


def cause_of(text: str, *, refusal: bool = False, worse: bool = False) -> Cause | None:
    """Find the known cause of a failure in what was said of it; None where it tells of none.

    Args:
        text: As `explain` takes it.
        refusal: As `explain` takes it.
        worse: Whether what only works worse, or slower, may be the cause.
    """
    found = (cause for cause in explain(text, refusal=refusal) if cause.fails or worse)
    return next(found, None)


def explained(error: E, *, refusal: bool = False, worse: bool = False) -> E:
    """Return an error with the cause that its evidence tells of.

    The cause is named first in the evidence, and its remedies are the first; an error without a
    known cause is returned as it is.

    Args:
        error: The error.
        refusal: As `explain` takes it.
        worse: As `cause_of` takes it.
    """
    cause = cause_of(error.evidence, refusal=refusal, worse=worse)
    if cause is None:
        return error
    remedy = [*cause.remedy, *(one for one in error.remedy if one not in cause.remedy)]
    evidence = f"{CAUSE}{cause.meaning}.\n{error.evidence}"
    return type(error)(error.what, evidence=evidence, remedy=remedy)
