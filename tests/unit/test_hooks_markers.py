"""The markers' arguments, and what a test requires and doesn't have."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from pytest_dind.backends.registry import Choice
from pytest_dind.hooks import markers
from pytest_dind.options import REQUIREMENTS
from pytest_dind.settings import MODES


@dataclass
class _Node:
    """A test, as far as markers go; its last marker is the closest."""

    own_markers: list[pytest.Mark] = field(default_factory=list)
    nodeid: str = "test_it.py::test_it"

    def iter_markers(self, name: str) -> Iterator[pytest.Mark]:
        return (mark for mark in self.own_markers if mark.name == name)


def _mark(name: str, *args: Any, **kwargs: Any) -> pytest.Mark:
    decorator: pytest.MarkDecorator = getattr(pytest.mark, name)
    return decorator.with_args(*args, **kwargs).mark


def _mistakes(*nodes: _Node) -> list[str]:
    return list(map(str, markers.mistakes(cast("list[pytest.Item]", nodes))))


def _unmet(choice: Choice, *marks: pytest.Mark) -> list[markers.Unmet]:
    return list(markers.unmet(cast("pytest.Item", _Node(list(marks))), choice))


def _unmet_by(version: str, *specifiers: str) -> list[markers.Unmet]:
    return _unmet_by_version("requires_engine", "dind_daemon", version, *specifiers)


def _unmet_by_version(
    marker: str, fixture: str, version: str, *specifiers: str
) -> list[markers.Unmet]:
    versions = {fixture: version}
    node = _Node([_mark(marker, specifier) for specifier in specifiers])
    item = cast("pytest.Item", node)
    return list(markers.unmet_by_version(item, marker, versions.__getitem__))


@pytest.mark.parametrize(
    "mark",
    [
        _mark("requires_sysbox"),
        _mark("requires_isolation"),
        _mark("requires_engine", ">=28"),
        _mark("requires_engine", ">=20.10,<29,!=28.0.1"),
        _mark("requires_engine", " ~= 28.1 "),
        _mark("requires_engine", "==28.*"),
        *(_mark("dind_modes", mode) for mode in MODES),
        _mark("dind_modes", *MODES),
        _mark("dind_clean"),
        _mark("dind_clean", images=True, build_cache=False),
        _mark("usefixtures", 1, mode="x"),
    ],
    ids=str,
)
def test_good_arguments(mark: pytest.Mark) -> None:
    """What the contract shows is taken; markers of others are passed over."""
    assert _mistakes(_Node([mark])) == []


@pytest.mark.parametrize("name", ["requires_sysbox", "requires_isolation"])
@pytest.mark.parametrize(
    ("args", "kwargs", "shown"),
    [(("0.7",), {}, "'0.7'"), ((), {"reason": "x"}, "reason='x'"), ((1,), {"a": 2}, "1, a=2")],
)
def test_arguments_where_there_are_none(
    name: str, args: tuple[Any, ...], kwargs: dict[str, Any], shown: str
) -> None:
    """A marker without arguments that gets some is told with them, and how to write it."""
    assert _mistakes(_Node([_mark(name, *args, **kwargs)])) == [
        f"test_it.py::test_it: the marker {name}({shown}) is not valid.\n"
        "Evidence:\n"
        "  It takes no arguments.\n"
        "To fix this:\n"
        f"  - Write it like this: @pytest.mark.{name}."
    ]


@pytest.mark.parametrize(
    "mark",
    [
        _mark("dind_modes"),
        _mark("dind_modes", "auto"),
        _mark("dind_modes", "dind", "sysbocks"),
        _mark("dind_modes", list(MODES)),
        _mark("dind_modes", "DIND"),
        _mark("dind_modes", None),
        _mark("dind_modes", mode="dind"),
        _mark("dind_modes", "dind", strict=True),
    ],
    ids=str,
)
def test_bad_modes(mark: pytest.Mark) -> None:
    """A mode that doesn't exist, or none at all, is told with every mode that does."""
    (text,) = _mistakes(_Node([mark]))

    assert text.startswith("test_it.py::test_it: the marker dind_modes(")
    assert f"Valid modes: {', '.join(map(repr, MODES))}." in text
    assert f"@pytest.mark.dind_modes({', '.join(map(repr, MODES))})." in text


@pytest.mark.parametrize(
    ("mark", "evidence"),
    [
        (_mark("requires_engine"), "one text"),
        (_mark("requires_engine", ""), "one text"),
        (_mark("requires_engine", " "), "one text"),
        (_mark("requires_engine", 28), "one text"),
        (_mark("requires_engine", None), "one text"),
        (_mark("requires_engine", [">=28"]), "one text"),
        (_mark("requires_engine", ">=28", "<29"), "one text"),
        (_mark("requires_engine", version=">=28"), "one text"),
        (_mark("requires_engine", ">=28", reason="x"), "one text"),
        (_mark("requires_engine", "28"), "Invalid specifier: '28'"),
        (_mark("requires_engine", ">= new"), "Invalid specifier: '>= new'"),
        (_mark("requires_engine", "=>28"), "Invalid specifier: '=>28'"),
    ],
    ids=str,
)
def test_bad_specifier(mark: pytest.Mark, evidence: str) -> None:
    """What is no single version specifier is told, with one that is."""
    (text,) = _mistakes(_Node([mark]))

    assert text.startswith("test_it.py::test_it: the marker requires_engine(")
    assert f"  It takes one version specifier (PEP 440): {evidence}" in text
    assert '@pytest.mark.requires_engine(">=28").' in text


def test_all_mistakes_are_told_at_once() -> None:
    """Each bad marker of each node is told; one that parameter sets share is told once."""
    shared = _mark("dind_modes", "x")
    nodes = [
        _Node([shared, _mark("requires_engine", "y")], "t.py::a[0]"),
        _Node([shared], "t.py::a[1]"),
        _Node([_mark("requires_sysbox")], "t.py::b"),
        _Node([_mark("requires_sysbox", "z")], "t.py::c"),
    ]

    assert [text.partition(" is ")[0] for text in _mistakes(*nodes)] == [
        "t.py::a[0]: the marker dind_modes('x')",
        "t.py::a[0]: the marker requires_engine('y')",
        "t.py::c: the marker requires_sysbox('z')",
    ]


def test_nothing_is_required() -> None:
    """A test without markers has all it requires; the engine's version isn't asked for."""
    assert _unmet(Choice("dind")) == []
    assert _unmet_by("0") == []


def test_requires_sysbox() -> None:
    """Only mode sysbox will do; the reason has the mode, why `auto` took it, and the way there."""
    mark = _mark("requires_sysbox")
    picked = Choice("dind", "the runtime sysbox-runc is not registered")

    assert _unmet(Choice("sysbox"), mark) == []
    assert _unmet(Choice("dind"), mark) == [
        markers.Unmet(
            "sysbox",
            "requires_sysbox: the mode in force is dind. To run it, use an engine with Sysbox and "
            "--dind-mode=sysbox or auto",
        )
    ]
    assert "is dind (auto: the runtime sysbox-runc is not registered). To" in (
        _unmet(picked, mark)[0].reason
    )


def test_requires_isolation() -> None:
    """Each mode with a daemon of its own is isolated; `socket` is not, and those are named."""
    mark = _mark("requires_isolation")

    assert _unmet(Choice("dind"), mark) == _unmet(Choice("sysbox"), mark) == []
    (found,) = _unmet(Choice("socket"), mark)
    assert found.requirement == "isolation"
    assert found.reason == (
        "requires_isolation: mode socket is not isolated. To run it, use --dind-mode=sysbox or "
        "--dind-mode=dind"
    )


def test_dind_modes() -> None:
    """Any of the modes that are named will do; the reason names them."""
    mark = _mark("dind_modes", "sysbox")

    assert _unmet(Choice("sysbox"), mark) == []
    assert _unmet(Choice("dind"), _mark("dind_modes", "sysbox", "dind")) == []
    assert _unmet(Choice("dind"), mark) == [
        markers.Unmet(
            "modes",
            "dind_modes: the mode in force is dind. To run it, use --dind-mode=sysbox",
        )
    ]


def test_several_requirements() -> None:
    """All of a test's markers count, of one name too: a class's and its method's."""
    found = _unmet(
        Choice("dind"),
        _mark("dind_modes", "dind"),
        _mark("dind_modes", "sysbox"),
        _mark("requires_sysbox"),
        _mark("requires_isolation"),
    )

    assert [one.requirement for one in found] == ["sysbox", "modes"]
    assert len(_unmet_by("28.1", ">=28", "<28", "<27")) == 2


@pytest.mark.parametrize(
    ("version", "specifier"),
    [
        ("28.5.2", ">=28"),
        ("28.5.2", "==28.*"),
        ("28.5.2+dfsg4", "==28.5.2"),
        ("28.5.2+dfsg4", "<=28.5.2"),
        ("20.10.24+dfsg1", "<23"),
        ("20.10.24-ce", "==20.10.24"),
        ("17.03.2-ce", ">=17.3"),
        ("28.0.0-rc.2", ">=28"),
        ("28.0.0-beta.1", "==28.0.0"),
        ("29.0.0-dev", ">28"),
        ("28", ">=28.0"),
        ("28.1.1.m", ">=28.1"),
    ],
)
def test_version_that_will_do(version: str, specifier: str) -> None:
    """A release counts as itself, whatever a distribution or a build adds to its number."""
    assert _unmet_by(version, specifier) == []


@pytest.mark.parametrize(
    ("version", "specifier"),
    [
        ("27.5.1", ">=28"),
        ("28.5.2+dfsg4", "!=28.5.2"),
        ("28.5.2", "<28"),
        ("", ">=1"),
        ("dev", ">=1"),
        ("master-dockerproject-2019-01-01", ">=1"),
        ("library-import", ">=20"),
    ],
)
def test_version_that_will_not_do(version: str, specifier: str) -> None:
    """Another release is told with what was asked for; a version without a number is older."""
    assert _unmet_by(version, specifier) == [
        markers.Unmet(
            "engine",
            f"requires_engine: the daemon's engine is {version}, not {specifier}. To run it, name "
            "another image: --dind-image",
        )
    ]


def _unmet_by_kubernetes(version: str, specifier: str) -> list[markers.Unmet]:
    return _unmet_by_version("requires_kubernetes", "dind_kubernetes", version, specifier)


@pytest.mark.parametrize("specifier", [">=1.33", "==1.34.*", "~=1.34.2", ">=1.30,<1.35"])
def test_kubernetes_that_will_do(specifier: str) -> None:
    """What k3s adds to the version, and the letter before it, don't count."""
    assert not _unmet_by_kubernetes("v1.34.2+k3s1", specifier)


def test_kubernetes_that_will_not_do() -> None:
    """Another release is told with what was asked for."""
    assert _unmet_by_kubernetes("v1.34.2", ">=1.35") == [
        markers.Unmet(
            "kubernetes",
            "requires_kubernetes: the cluster's Kubernetes is v1.34.2, not >=1.35. To run it, "
            "name another image: --dind-kubernetes-image",
        )
    ]


def test_names() -> None:
    """Every marker has a description, and the other way round."""
    assert REQUIREMENTS == (
        "requires_sysbox",
        "requires_isolation",
        "requires_engine",
        "requires_kubernetes",
        "dind_modes",
    )


@pytest.mark.parametrize(
    "mark", [_mark("dind_clean", True), _mark("dind_clean", image=True)], ids=str
)
def test_bad_wishes_for_cleaning(mark: pytest.Mark) -> None:
    """What dind_clean can't do is told with what it can."""
    (text,) = _mistakes(_Node([mark]))

    assert "the marker dind_clean(" in text
    assert "Valid arguments, by name: build_cache, images." in text


@pytest.mark.parametrize("value", ["yes", 1, None], ids=str)
def test_wish_for_cleaning_that_is_no_switch(value: object) -> None:
    """What dind_clean is to remove is said by True or False alone."""
    (text,) = _mistakes(_Node([_mark("dind_clean", images=value)]))

    assert f"the marker dind_clean(images={value!r}) is not valid" in text
    assert "Each of its arguments is True or False." in text
