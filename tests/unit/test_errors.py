"""The errors: three parts, and safe to send between processes."""

from __future__ import annotations

import copy
import pickle

import pytest

from pytest_dind import errors

_ALL = [
    errors.SettingsError,
    errors.EngineUnavailable,
    errors.ModeUnavailable,
    errors.ImageUnavailable,
    errors.BuildFailed,
    errors.CopyFailed,
    errors.ContainerFailed,
    errors.ContainerTimeout,
    errors.SwarmFailed,
    errors.ServiceFailed,
    errors.ServiceTimeout,
    errors.KubernetesFailed,
    errors.WorkloadFailed,
    errors.WorkloadTimeout,
    errors.DaemonExited,
    errors.SnapshotFailed,
    errors.StartTimeout,
    errors.DaemonUnhealthy,
    errors.DaemonLost,
    errors.AddressUnreachable,
]


def test_three_parts() -> None:
    """The text says what failed, the evidence, and the ways on, one a line."""
    error = errors.DindError("It failed.", evidence="one\ntwo\n", remedy=["Do this.", "Do that."])

    assert str(error) == (
        "It failed.\nEvidence:\n  one\n  two\nTo fix this, either:\n  - Do this.\n  - Do that."
    )


def test_one_remedy_and_no_evidence() -> None:
    """A single remedy is no alternative, and missing evidence leaves no empty heading."""
    error = errors.DindError("It failed.", remedy=["Do this."])

    assert str(error) == "It failed.\nTo fix this:\n  - Do this."


def test_one_line() -> None:
    """For a list the parts are in one line, without evidence that takes several."""
    short = errors.DindError("It failed.", evidence="Code 1.", remedy=["Do this.", "Do that."])
    long = errors.DindError("It failed.", evidence="one\ntwo", remedy=["Do this."])

    assert short.line() == "It failed. Code 1. To fix this: Do this. Or: Do that."
    assert long.line() == "It failed. To fix this: Do this."


@pytest.mark.parametrize("kind", _ALL)
@pytest.mark.parametrize("how", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))])
def test_pickle(kind: type[errors.DindError], how: object) -> None:
    """An error survives pickling (multiprocessing, xdist) with its class and all its parts."""
    error = kind("what", evidence="seen", remedy=["a", "b"])
    assert callable(how)
    again = how(error)

    assert type(again) is kind
    assert (again.what, again.evidence, again.remedy) == ("what", "seen", ("a", "b"))
    assert str(again) == str(error)


def test_one_base() -> None:
    """`except DindError` catches all of them, and nothing is left out of this list."""
    assert set(_ALL) == set(errors.DindError.__subclasses__())
