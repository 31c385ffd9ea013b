"""What a guard knows of images once it is started anew."""

from __future__ import annotations

import asyncio
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from pytest_dind.guard.http import upstream
from pytest_dind.guard.http.reply import Reply
from pytest_dind.guard.objects import leftovers, run_labels
from pytest_dind.guard.objects.journal import Journal
from pytest_dind.guard.objects.own_images import OwnImages
from pytest_dind.guard.rules.policy import Policy
from pytest_dind.lifetime import labels
from pytest_dind.lifetime.layout import GUARD, JOURNAL

_LABELS = run_labels.RunLabels(
    labels.make("run", mode="socket", keep="never", home=Path("/b/run/main"))
)
_POLICY = Policy("own", frozenset(), (), "/e", "/s", "/b")


def _images(home: Path) -> OwnImages:
    """What a guard that is started in this home knows."""
    return OwnImages(upstream.Upstream("/e"), _LABELS, _POLICY, Journal(home))


def test_what_was_learned(tmp_path: Path) -> None:
    """What the run brought stays its own, until it is removed; so do the names it gave."""
    before = _images(tmp_path)
    for image in ("kept", "removed", "again"):
        before.learn(image)
    for image in ("removed", "again", "another's"):
        before.forget(image)
    before.learn("again")
    before.record("moved:1", "first")
    before.named("brought:1", "host's")
    before.record("moved:1", "second")
    after = _images(tmp_path)

    for images in (before, after):
        owned = {name for name in ("kept", "removed", "again", "x") if images.owns({"Id": name})}
        assert owned == {"kept", "again"}
        assert images.gave("moved:1", {"Id": "second"})
        assert not images.gave("moved:1", {"Id": "first"})
        assert images.gave("brought:1", {"Id": "host's"})


class _Listing(upstream.Upstream):
    """An engine that lists images, and knows nothing else of them."""

    def __init__(self, *there: str) -> None:
        super().__init__("/e")
        self.there = [*there]

    async def call(self, *asked: Any, **_: Any) -> Reply:
        return Reply(200, b"", json.dumps([{"Id": image} for image in self.there]).encode())


def test_what_came_unseen(tmp_path: Path) -> None:
    """What came while BuildKit's own API was in use is the run's own, to remove by its name."""

    async def play() -> None:
        engine = _Listing("host's")
        images = OwnImages(engine, _LABELS, _POLICY, Journal(tmp_path))
        async with images.unseen():
            engine.there.append("first")
            async with images.unseen():
                engine.there.append("second")
            # Asked for before the end of the connection is noticed.
            await images.learn_unseen()
            assert images.owns({"Id": "first"})
            engine.there.append("third")
        engine.there.append("later")
        await images.learn_unseen()
        owned = {name for name in engine.there if images.owns({"Id": name})}
        assert owned == {"first", "second", "third"}

    asyncio.run(play())


class _Api:
    """An engine with one image of the run's, and below it one of a step that was made `at`."""

    def __init__(self, home: Path, at: float) -> None:
        self._labels = {labels.HOME: str(home), labels.ROLE: run_labels.IMAGE}
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at))
        self._images: dict[str, dict[str, Any]] = {
            "built": {"Parent": "step"},
            "step": {"Id": "step", "Parent": "", "RepoTags": [], "Created": f"{moment}.9Z"},
        }
        self.names = {"given:1": "host's", "brought:1": "host's"}

    def images(self, **_: Any) -> list[dict[str, Any]]:
        there = [name for name in self._images if name == "built"]
        return [
            {"Id": name, "Created": 1, "RepoTags": [], "Labels": self._labels} for name in there
        ]

    def containers(self, **_: Any) -> list[Any]:
        return []

    networks = containers

    def volumes(self, **_: Any) -> dict[str, Any]:
        return {"Volumes": None}

    def inspect_image(self, name: str) -> dict[str, Any]:
        from docker.errors import NotFound

        if name in self.names:
            return {"Id": self.names[name], "RepoTags": ["hosts:1", *self.names]}
        if name not in self._images:
            raise NotFound(name)
        return self._images[name]

    def remove_image(self, name: str, **_: Any) -> None:
        self._images.pop(name, None)
        self.names.pop(name, None)

    def info(self) -> dict[str, Any]:
        return {"Swarm": {"NodeID": "node"}}

    @property
    def left(self) -> set[str]:
        return {*self._images, *self.names}


class _Outer:
    def __init__(self, api: _Api) -> None:
        self.api = api

    @property
    def client(self) -> _Outer:
        return self


@pytest.mark.parametrize(("seconds", "goes"), [(5, True), (-5, False)])
def test_what_is_removed_in_the_end(tmp_path: Path, seconds: float, goes: bool) -> None:
    """A step from before a restart is the run's own; one from before the run is the host's.

    So it is with names: those that tests gave are taken back, those that were brought stay.
    """
    began = time.time()
    first = _images(tmp_path)
    first.record("given:1", "host's")
    first.named("brought:1", "host's")
    (tmp_path / GUARD).touch()
    os.utime(tmp_path / GUARD, (began + 60, began + 60))
    _images(tmp_path)
    api = _Api(tmp_path, began + seconds)
    engine: Any = _Outer(api)
    leftovers.purge(engine, tmp_path)

    assert api.left == {"brought:1"} if goes else {"brought:1", "step"}


def test_home_in_which_no_guard_has_begun(tmp_path: Path) -> None:
    """No step is known to be the run's, also where the journal is none: a label may lead there."""
    for text in (None, b"since then\n\xff"):
        if text is not None:
            (tmp_path / JOURNAL).write_bytes(text)
        api = _Api(tmp_path, time.time())
        engine: Any = _Outer(api)
        leftovers.purge(engine, tmp_path)

        assert "step" in api.left


class _Podman(_Api):
    """An engine that removes the step with what was made of it, and refuses to look at it then."""

    def remove_image(self, name: str, **_: Any) -> None:
        super().remove_image(name)
        self._images.pop("step", None)

    def inspect_image(self, name: str) -> dict[str, Any]:
        from docker.errors import APIError

        if name == "step" and name not in self._images:
            raise APIError("cannot specify 64-byte hexadecimal strings")
        return super().inspect_image(name)


def test_step_that_went_with_its_image(tmp_path: Path) -> None:
    """Where the engine fails to look at a step that is gone, the removal goes on."""
    _images(tmp_path)
    api = _Podman(tmp_path, time.time() + 5)
    engine: Any = _Outer(api)
    leftovers.purge(engine, tmp_path)

    assert api.left == {"given:1", "brought:1"}


class _Swarm(_Api):
    """An engine that is a node of a swarm, with things of the run's in it and another's."""

    def __init__(self, home: Path) -> None:
        super().__init__(home, 0)
        self.did: list[Any] = []
        self._home = home

    def leave_swarm(self, force: bool) -> None:
        self.did.append(("leave", force))

    def _listed(self, filters: dict[str, list[str]]) -> list[dict[str, str]]:
        assert filters["label"] == [
            f"{labels.ROLE}={run_labels.SWARM}",
            f"{labels.HOME}={self._home}",
        ]
        return [{"ID": "ours"}]

    services = secrets = configs = _listed

    def remove_service(self, identity: str) -> None:
        self.did.append(("service", identity))

    def remove_secret(self, identity: str) -> None:
        self.did.append(("secret", identity))

    def remove_config(self, identity: str) -> None:
        self.did.append(("config", identity))

    def remove_network(self, name: str) -> None:
        self.did.append(("network", name))


@pytest.mark.parametrize(
    ("noted", "did"),
    [
        ([], []),
        ([("swarm", "node", "gw")], [("leave", True), ("network", "gw")]),
        ([("swarm", "node"), ("labelled",)], [("leave", True)]),
        (
            [("swarm", "another"), ("labelled",), ("labelled",)],
            [("service", "ours"), ("secret", "ours"), ("config", "ours")],
        ),
    ],
)
def test_swarm_in_the_end(tmp_path: Path, noted: list[tuple[str, ...]], did: list[Any]) -> None:
    """The run's swarm is left; of one that it did not join goes what it made there."""
    for words in noted:
        Journal(tmp_path).write(*words)
    api = _Swarm(tmp_path)
    engine: Any = _Outer(api)
    leftovers.purge(engine, tmp_path)

    assert api.did == did
