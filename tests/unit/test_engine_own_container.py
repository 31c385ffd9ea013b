"""The tests' own container: which it is, and what of its files the engine has."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_dind.engine import own_container
from pytest_dind.engine.engine import Engine
from pytest_dind.engine.own_container import Share, SharedFiles

from ..support import Answer, FakeEngine, Reply

OWN, OTHER = "a1" * 32, "b2" * 32
_OVERLAY = "rw,lowerdir=/l/1:/l/2,upperdir=/var/lib/docker/overlay2/{}/diff,workdir=/w"

Inside = Callable[..., None]


@pytest.fixture
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Inside:
    """Have this process run in a container, by what the kernel tells of its mounts."""

    def inside(*places: str, owner: str = OWN, upper: str = "mine", name: str = OWN[:12]) -> None:
        options = _OVERLAY.format(upper) if upper else "rw"
        lines = [
            f"1 0 0:1 / / rw - overlay overlay {options}",
            *(
                f"2 1 8:1 /d/containers/{owner}/{file} /etc/{file} rw - ext4 /dev/a rw"
                for file in ("hosts", "hostname", "resolv.conf")
            ),
            "3 1 0:2 / /proc rw - proc proc rw",
            *(f"4 1 8:1 /any {place} rw master:1 - ext4 /dev/a rw" for place in places),
        ]
        table = tmp_path / "mountinfo"
        table.write_text("".join(f"{line}\n" for line in lines))
        monkeypatch.setattr(own_container, "_MOUNTS", table)
        monkeypatch.setattr("socket.gethostname", lambda: name)

    return inside


def _details(name: str, upper: str = "", *mounts: str, **more: Any) -> dict[str, Any]:
    """What an engine tells of a container."""
    data = {"UpperDir": f"/var/lib/docker/overlay2/{upper}/diff"} if upper else None
    return {
        "Id": name,
        "State": {"Running": True},
        "GraphDriver": {"Data": data},
        "Mounts": [{"Type": "bind", "Destination": mount, "Source": "/s"} for mount in mounts],
        **more,
    }


@contextlib.contextmanager
def _engine(
    path: Path, known: list[dict[str, Any]], names: dict[str, Reply] | None = None
) -> Iterator[Engine]:
    """An engine that has containers, and knows some by name, too."""
    answers: dict[str, Reply] = {
        f"GET /containers/{item['Id']}/json": Answer(body=item) for item in known
    }
    listed = [{"Id": item["Id"], "Mounts": item["Mounts"]} for item in known]
    answers["GET /containers/json"] = Answer(body=listed)
    with (
        FakeEngine(path / "s", answers | (names or {})) as fake,
        contextlib.closing(Engine(fake.host)) as engine,
    ):
        yield engine


def test_outside_of_containers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process in no container is in none of the engine's, which is not even asked."""
    for text in ("1 0 8:1 / / rw - ext4 /dev/a rw\n", None):
        table = tmp_path / "mountinfo"
        table.unlink(missing_ok=True)
        if text:
            table.write_text(text)
        monkeypatch.setattr(own_container, "_MOUNTS", table)
        engine = Engine("unix:///nonexistent")
        assert not own_container.is_contained()
        assert engine.own_container is None
        assert engine.own_container_id == ""


def test_known_by_its_mounts(short_path: Path, inside: Inside) -> None:
    """Its id is in the paths that the engine mounted, whatever its host name is."""
    inside(name="builder")
    with _engine(short_path, [_details(OWN, "mine"), _details(OTHER, "other")]) as engine:
        assert engine.own_container_id == OWN


def test_that_shares_the_network_of_another(short_path: Path, inside: Inside) -> None:
    """Then those paths have the other one's id, and the name is its too: its files are not."""
    inside(owner=OTHER, name=OTHER[:12])
    other = _details(OTHER, "other")
    name: dict[str, Reply] = {f"GET /containers/{OTHER[:12]}/json": Answer(body=other)}
    others = [other, _details("c3" * 32, "mine", "/not-here")]
    with _engine(short_path, [*others, _details(OWN, "mine")], name) as engine:
        assert engine.own_container_id == OWN
    with _engine(short_path, [other], name) as engine:
        assert engine.own_container is None


@pytest.mark.parametrize(
    ("places", "mounts", "own"),
    [
        (["/p", "/p/below"], ["/p"], True),
        (["/p"], ["/p", "/q"], False),
        (["/p", "/q"], ["/p"], False),
    ],
)
def test_on_other_storage(
    short_path: Path, inside: Inside, places: list[str], mounts: list[str], own: bool
) -> None:
    """Where the engine does not tell what is a container's own, its mounts must be the same."""
    inside(*places, upper="")
    with _engine(short_path, [_details(OWN, "", *mounts)]) as engine:
        assert (engine.own_container is not None) is own


@pytest.mark.parametrize("status", [403, 404])
def test_engine_that_does_not_tell(short_path: Path, inside: Inside, status: int) -> None:
    """Another engine, or one behind a proxy that refuses to tell, knows no such container."""
    inside()
    refusal = Answer(status, {"message": "no"})
    paths = (f"GET /containers/{OWN}/json", f"GET /containers/{OWN[:12]}/json")
    answers: dict[str, Reply] = {**dict.fromkeys(paths, refusal), "GET /containers/json": refusal}
    with _engine(short_path, [], answers) as engine:
        assert engine.own_container is None


def test_shared_files(tmp_path: Path) -> None:
    """The deepest mount decides; the engine has no path of what is in memory, or in no mount."""
    root = tmp_path.resolve()
    (root / "real").mkdir()
    (root / "link").symlink_to("real")
    volume = {"Type": "volume", "Driver": "local", "Source": "/v", "RW": False}
    details = {
        "HostConfig": {
            "Tmpfs": {f"{root}/real/memory": ""},
            "Mounts": [{"Target": f"{root}/part", "VolumeOptions": {"Subpath": "x"}}],
        },
        "Mounts": [
            {"Type": "bind", "Destination": f"{root}/link", "Source": "/host dir", "RW": True},
            {**volume, "Destination": f"{root}/real/deep"},
            {**volume, "Destination": f"{root}/part"},
            {**volume, "Destination": f"{root}/plugin", "Driver": "plugin"},
            {"Type": "tmpfs", "Destination": f"{root}/real/deep/er", "Source": ""},
        ],
    }
    shared = own_container.shared(details)

    assert shared.path(f"{root}/real") == shared.path(f"{root}/link") == "/host dir"
    assert shared.path(f"{root}/link/a/b") == "/host dir/a/b"
    assert shared.path(f"{root}/real/deep/a") == "/v/a"
    for lacking in ("", "real2", "real/memory/a", "real/deep/er", "part/a", "plugin"):
        assert shared.path(f"{root}/{lacking}") == ""
    share = shared.around(f"{root}/real/deep/a")
    assert share is not None
    assert share.read_only
    assert SharedFiles(Share(*fields) for fields in shared.fields()).shares == shared.shares


def test_root_of_the_machine() -> None:
    """Where the machine's root is mounted, its own paths are found."""
    shared = SharedFiles([Share("/nonexistent", "/")])

    assert shared.path("/nonexistent/etc") == "/etc"
    assert shared.path("/nonexistent") == "/"


def test_shared_around(inside: Inside) -> None:
    """What is proved of one directory holds for the mount that it is in, and for no other."""
    inside("/nonexistent", "/nonexistent/a\\040b", "/other")
    shared = own_container.shared_around(Path("/nonexistent/a b/run"))

    assert shared is not None
    assert shared.path("/nonexistent/a b/x") == "/nonexistent/a b/x"
    assert shared.path("/nonexistent/x") == shared.path("/other") == ""
    # In the container's own root the engine itself runs there.
    assert own_container.shared_around(Path("/run-of-its-own")) is None
