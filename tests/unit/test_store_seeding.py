"""The warm store without an engine: which golden root is whose, and what the scripts remove."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pytest_dind import ImageUnavailable, Settings
from pytest_dind.engine import containers, images
from pytest_dind.lifetime.files import Directory, Files
from pytest_dind.lifetime.layout import Home
from pytest_dind.store import seeding
from pytest_dind.store.loaded import LoadedImages

from ..support import until


def _source(said: list[str]) -> images.ImageSource:
    return images.ImageSource(cast(Any, SimpleNamespace()), said.append)


@pytest.fixture(autouse=True)
def _ids(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each image's id is made of its name."""
    monkeypatch.setattr(images.ImageSource, "ensure", lambda source, name: {"Id": f"sha256:{name}"})


def _key(mode: str = "dind", image: str = "sha256:1", **settings: Any) -> str:
    given = Settings(load=("a", "b")).replace(**settings)
    return seeding.preload(given, mode, image, _source([])).seed.key


@pytest.mark.parametrize("settings", [{"cache": "off"}, {"load": []}])
def test_no_golden_root(settings: dict[str, Any]) -> None:
    """Without images, or with the store off, there is no golden root to have."""
    assert _key(**settings) == ""


@pytest.mark.parametrize("cache", ["on", "off"])
def test_images_are_made_sure_of_first(monkeypatch: pytest.MonkeyPatch, cache: str) -> None:
    """What is to be loaded is pulled before there is a daemon that would wait for it."""
    asked: list[str] = []

    def ensure(source: images.ImageSource, name: str) -> dict[str, str]:
        asked.append(name)
        return {"Id": name}

    monkeypatch.setattr(images.ImageSource, "ensure", ensure)
    _key(load=["a", "b"], cache=cache)

    assert asked == ["a", "b"]


def test_key_is_of_images_and_daemon() -> None:
    """Its first part is the daemon's, its second the images', in whatever order they are named."""
    daemon, _, loaded = _key().partition("-")

    assert _key(load=["b", "a"]) == f"{daemon}-{loaded}"
    assert _key(timeout=7, publish=["80"], cache="refresh") == f"{daemon}-{loaded}"
    assert _key(load=["a"]).startswith(f"{daemon}-")
    for other in (_key(mode="sysbox"), _key(image="sha256:2"), _key(arg=["--debug"])):
        assert other.endswith(f"-{loaded}")
        assert not other.startswith(daemon)
    assert not _key(load=["a"]).endswith(loaded)


def test_key_follows_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new image behind a name is another golden root for the same daemon."""
    before = _key()
    monkeypatch.setattr(images.ImageSource, "ensure", lambda source, name: {"Id": "sha256:new"})
    assert _key() != before
    assert _key().partition("-")[0] == before.partition("-")[0]


class _Extra:
    """What a golden root has besides images.

    Args:
        image: What it is made of.
        made: Where it notes that it was made.
        error: What its making raises.
    """

    name = "more"

    def __init__(self, image: str, made: list[str], error: Exception | None = None) -> None:
        self.images = (image,)
        self._made = made
        self._error = error

    def make(self, daemon: Any, source: images.ImageSource) -> None:
        self._made += self.images
        if self._error is not None:
            raise self._error


def _key_of(extra: _Extra) -> str:
    settings = Settings(load=("a", "b"))
    return seeding.preload(settings, "dind", "sha256:1", _source([]), extra).seed.key


def test_key_is_of_what_is_there_besides() -> None:
    """A root that has more than images is never the beginning of one that has not."""
    daemon, _, loaded = _key_of(_Extra("x", [])).partition("-")

    assert _key_of(_Extra("x", [])) == f"{daemon}-{loaded}"
    assert _key_of(_Extra("y", [])).partition("-")[0] == daemon
    assert not _key_of(_Extra("y", [])).endswith(loaded)
    assert not _key().startswith(daemon)


@pytest.mark.parametrize(
    ("text", "kibibytes"), [("500k", 500), ("1m", 1024), ("1.5G", 1572864), ("2t", 2147483648)]
)
def test_size(text: str, kibibytes: int) -> None:
    """A size is in KiB for the script, in whatever unit it was given."""
    assert seeding.kibibytes(text) == kibibytes


class _New:
    """A daemon whose restarts have the outcomes that a test gives."""

    def __init__(self, home: Home, driver: str, *outcomes: str) -> None:
        self._home = home
        self.files: Files = Directory(home.path)
        self._outcomes = iter(outcomes)
        self._driver = driver
        self.restarts = 0
        self._begin()

    def _begin(self) -> None:
        (self._home.path / "store").write_text(f"{next(self._outcomes)}\n")

    @contextlib.contextmanager
    def client(self) -> Iterator[Any]:
        yield SimpleNamespace(info=lambda: {"Driver": self._driver})

    def publish(self) -> None:
        self.restarts += 1
        assert not seeding.outcome(self.files), "the next outcome is told from the last"
        self._begin()

    def restart(self) -> None:
        """As an engine's daemon is restarted, which changes nothing that is looked at here."""


@pytest.fixture
def brought(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str]]:
    """What was loaded, each time."""
    found: list[Sequence[str]] = []
    monkeypatch.setattr(LoadedImages, "bring", lambda images, source, names: found.append(names))
    monkeypatch.setattr(LoadedImages, "name_by_digest", lambda images, names, dropped=(): False)
    return found


def _provide(new: _New, **settings: Any) -> list[str]:
    given = Settings(load=("a",)).replace(**settings)
    said: list[str] = []
    seeding.preload(given, "dind", "sha256:1", _source(said)).provide(new)
    return said


def test_seeded_daemon(tmp_path: Path, brought: list[Sequence[str]]) -> None:
    """A daemon that has a golden root is looked after without a word."""
    new = _New(Home(tmp_path), "overlay2", "seeded")
    assert _provide(new) == []
    assert (new.restarts, len(brought)) == (0, 1)


def test_cold_daemon(tmp_path: Path, brought: list[Sequence[str]]) -> None:
    """The first daemon gets its images, becomes a golden root, and starts again from it."""
    new = _New(Home(tmp_path), "overlayfs", "cold", "seeded")
    assert _provide(new) == ["making a warm data-root of the images, once"]
    assert new.restarts == 1
    assert not (tmp_path / "abandon").exists()


@pytest.mark.parametrize(
    ("outcomes", "made", "loads"), [(["cold", "seeded"], ["x"], 2), (["seeded"], [], 1)]
)
def test_extra_is_made_once(
    tmp_path: Path,
    brought: list[Sequence[str]],
    outcomes: list[str],
    made: list[str],
    loads: int,
) -> None:
    """The first daemon makes what golden roots have besides images; others have it."""
    new, found = _New(Home(tmp_path), "overlay2", *outcomes), list[str]()
    given = Settings(load=("a",))
    seeding.preload(given, "dind", "sha256:1", _source([]), _Extra("x", found)).provide(new)
    assert (found, len(brought)) == (made, loads)
    assert seeding.is_seeded(new.files)
    if made:
        assert (tmp_path / "images").read_text() == "sha256:x x\n"


def test_extra_that_fails(tmp_path: Path, brought: list[Sequence[str]]) -> None:
    """Without it there is no golden root, and the daemon has its images all the same."""
    new, said = _New(Home(tmp_path), "overlay2", "cold", "failed"), list[str]()
    extra = _Extra("x", [], ImageUnavailable("No room.", remedy=["Make room."]))
    seeding.preload(Settings(load=("a",)), "dind", "sha256:1", _source(said), extra).provide(new)
    assert said[-1].startswith("images are loaded without the warm store")
    assert not seeding.is_seeded(new.files)


@pytest.mark.parametrize(
    ("driver", "outcomes", "why", "restarts"),
    [
        ("vfs", ["cold", "unfit storage driver vfs"], "storage driver vfs", 1),
        ("vfs", ["unfit storage driver vfs"], "storage driver vfs", 0),
        ("overlay2", ["preloaded"], "the daemon's image has nested images of its own", 0),
        ("overlay2", ["failed"], "it could not be written or mounted", 0),
        ("overlay2", ["cold", "failed"], "it could not be written or mounted", 1),
    ],
)
def test_line_where_there_is_no_golden_root(
    tmp_path: Path,
    brought: list[Sequence[str]],
    driver: str,
    outcomes: list[str],
    why: str,
    restarts: int,
) -> None:
    """The images are loaded, and the last line says why the store has no part in it."""
    new = _New(Home(tmp_path), driver, *outcomes)
    said = _provide(new)

    assert said[-1] == f"images are loaded without the warm store ({why})"
    assert brought[-1] == ("a",)
    assert new.restarts == restarts
    assert (tmp_path / "abandon").exists() == (driver == "vfs" and restarts == 1)


def test_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images that don't fit into the store are loaded outside of it; it is tried again later."""
    tries = iter([ImageUnavailable("No room.", remedy=["Make room."])])

    def bring(*given: object) -> None:
        for error in tries:
            raise error

    monkeypatch.setattr(LoadedImages, "bring", bring)
    said = _provide(_New(Home(tmp_path), "overlay2", "cold", "failed"))

    assert said[-1].startswith("images are loaded without the warm store")
    assert (tmp_path / "abandon").read_text() == ""


def test_store_off_is_silent(tmp_path: Path, brought: list[Sequence[str]]) -> None:
    """Who wants no store is not told that there is none."""
    (tmp_path / "store").touch()
    new = SimpleNamespace(
        client=lambda: contextlib.nullcontext(SimpleNamespace()), files=Directory(tmp_path)
    )
    assert _provide(cast(Any, new), cache="off") == []
    assert brought == [("a",)]


_SHELLS = [shell for shell in ("dash", "bash", "busybox") if shutil.which(shell)] or ["sh"]

_needs_flock = pytest.mark.skipif(
    not (shutil.which("flock") and Path("/proc/self/fd").exists()),
    reason="the scripts run in Linux containers, and need flock",
)


class Disk:
    """A store on the disk of this machine, and the shell that the scripts run in."""

    def __init__(self, path: Path, shell: str) -> None:
        self.path = path
        self.home = path / "home"
        self._shell = [shell, "sh"] if shell == "busybox" else [shell]
        for name in ("golden", "making", "old", "unfit", "layers", "blobs", "home", "data"):
            (path / name).mkdir(parents=True)

    def run(self, script: str, *arguments: str) -> str:
        """Run what calls the store's functions."""
        constants = f"store={self.path} home={self.home} data={self.path / 'data'}"
        lists = containers.script("store/store.sh").replace(
            "/run/pytest-dind.", f"{self.path}/run."
        )
        text = f"{lists}\n{constants}\n{script}\n"
        done = subprocess.run(
            [*self._shell, "-c", text, "sh", *arguments], capture_output=True, text=True
        )
        return done.stdout + done.stderr

    def root(self, name: str, *layers: str, used: float = 0, place: str = "golden") -> Path:
        """A root with these layers."""
        path = self.path / place / name
        (path / "root" / "image").mkdir(parents=True)
        (path / "root" / "image" / "db").write_text(name)
        (path / "root" / "link").symlink_to("image")
        for file in ("used", "images", "mounts"):
            (path / file).touch()
        (path / "refs").write_text("".join(f"layers/{layer}\n" for layer in layers))
        for layer in layers:
            self.layer(layer)
        os.utime(path / "used", (used, used))
        self.run('sum "$1" >"$1/sum"', str(path))
        return path

    def layer(self, name: str) -> Path:
        """A layer of 64 KiB."""
        path = self.path / "layers" / name
        path.mkdir(exist_ok=True)
        (path / "file").write_bytes(b"x" * 65536)
        return path

    def names(self, place: str) -> set[str]:
        """What is in a directory of the store."""
        return {path.name for path in (self.path / place).iterdir()}


@contextlib.contextmanager
def _held(root: Path) -> Iterator[None]:
    """Hold a root, as the first process of a daemon does."""
    with (root / "used").open() as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        yield


@pytest.fixture(params=_SHELLS)
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Disk:
    """A store, for each shell that there is."""
    return Disk(tmp_path / "store", request.param)


@_needs_flock
def test_layers_that_are_needed_stay(disk: Disk) -> None:
    """What no root refers to is removed; what any refers to stays, also one in the making."""
    disk.root("k1", "a", "b")
    disk.root("k2", "b", "c")
    making = disk.root("other", "d", place="making")
    replaced = disk.root("before", "e", place="old")
    disk.layer("nobody's")
    with _held(making), _held(replaced):
        assert disk.run("collect") == ""
        assert disk.names("layers") == {"a", "b", "c", "d", "e"}
    disk.run("collect")
    assert disk.names("layers") == {"a", "b", "c"}
    assert disk.names("making") == disk.names("old") == set()


@_needs_flock
def test_list_that_is_cut_short_costs_nothing(disk: Disk) -> None:
    """Where the list of what is needed can't be written, no layer is removed."""
    disk.root("k1", "a")
    (disk.path / "run.refs").mkdir()
    assert "failed" in disk.run("collect || echo failed")
    assert disk.names("layers") == {"a"}


@_needs_flock
def test_root_without_its_lock_goes(disk: Disk) -> None:
    """A removal that was cut short is finished."""
    (disk.root("k1", "a") / "used").unlink()
    disk.run("collect")
    assert disk.names("golden") == disk.names("layers") == set()


@_needs_flock
def test_least_recently_used_goes_first(disk: Disk) -> None:
    """The oldest roots are removed until the limit is kept, but none that a daemon has."""
    oldest = disk.root("k1", "a", used=1)
    disk.root("k2", "b", used=2)
    disk.root("k3", "c", used=3)
    disk.run("limit=1000000 && evict")
    assert disk.names("golden") == {"k1", "k2", "k3"}
    with _held(oldest):
        disk.run('limit=$(($(du -sk "$store" | cut -f1) - 1)) && evict')
        assert disk.names("golden") == {"k1", "k3"}
        disk.run("limit=1 && evict")
    assert disk.names("golden") == {"k1"}
    assert disk.names("layers") == {"a"}


def _cut(root: Path) -> None:
    (root / "root/image/db").write_text("")


def _unlink(root: Path) -> None:
    (root / "root/link").unlink()


def _garbage(root: Path) -> None:
    (root / "mounts").write_text("layers/../.. etc\n")


def _no_sum(root: Path) -> None:
    (root / "sum").unlink()


def _no_refs(root: Path) -> None:
    (root / "refs").unlink()


def _no_layer(root: Path) -> None:
    shutil.rmtree(root.parents[1] / "layers" / "a")


@_needs_flock
@pytest.mark.parametrize("damage", [_cut, _unlink, _garbage, _no_sum, _no_refs, _no_layer])
def test_damage_is_seen(disk: Disk, damage: Callable[[Path], None]) -> None:
    """A root is sound as it was made, and not after anything was done to it."""
    root = disk.root("k1", "a")
    sound = 'damaged= && is_sound "$1" && echo sound'
    assert disk.run(sound, str(root)) == "sound\n"
    damage(root)
    assert "sound\n" not in disk.run(sound, str(root))


@_needs_flock
def test_hold(disk: Disk) -> None:
    """A root that a shell holds is not removed while it lives; one that is gone isn't held."""
    root = disk.root("k1", "a")
    assert disk.run('hold "$1" && (remove "$1" || echo in use)', str(root)) == "in use\n"
    assert disk.run('remove "$1" && echo gone', str(root)) == "gone\n"
    assert disk.run('hold "$1" 2>/dev/null || echo no; echo alive', str(root)) == "no\nalive\n"


@_needs_flock
def test_hold_of_a_root_that_is_being_removed(disk: Disk) -> None:
    """Who waits for a root while it is removed doesn't have it then, nor what took its place."""
    root = disk.root("k1", "a")
    with (root / "used").open() as file, ThreadPoolExecutor() as pool:
        fcntl.flock(file, fcntl.LOCK_EX)
        locks = Path("/proc/locks")
        inode = f":{os.fstat(file.fileno()).st_ino} "
        held = pool.submit(disk.run, 'hold "$1" || echo no', str(root))
        until(
            lambda: [x for x in locks.read_text().splitlines() if "->" in x and inode in x],
            10,
            "the shell waits for the lock",
        )
        shutil.rmtree(root)
        disk.root("k1", "a")
        fcntl.flock(file, fcntl.LOCK_UN)
        assert held.result() == "no\n"


@_needs_flock
@pytest.mark.parametrize("fails", ["mv", "mkdir", "rmdir", "cp", "rm"])
def test_publish_that_fails(disk: Disk, fails: str) -> None:
    """Whatever fails on the way, nothing comes to the golden roots' place."""
    layer = disk.path / "making/me/root/overlay2/l1/diff"
    known = disk.path / "making/me/root/overlay2/l2/diff"
    for path in (layer, known):
        path.mkdir(parents=True)
    disk.layer("l2")
    for file in ("used", "refs"):
        (disk.path / "making/me" / file).touch()
    (disk.home / "images").touch()
    publish = (
        "making=$store/making/me golden=$store/golden/k1 key=k1 refresh=no limit=100000\n"
        "umount() { :; }\n{}\n(set -e && locked publish 8>>$store/lock)\necho $?\n"
    )
    failing = f"{fails}() {{ return 1; }}"
    assert disk.run(publish.replace("{}", failing)).splitlines()[-1] != "0"
    assert disk.names("golden") == set()


@_needs_flock
def test_publish(disk: Disk) -> None:
    """A data-root becomes a golden root without its layers, which are shared from then on."""
    root = disk.path / "making/me/root"
    for layer in ("l1", "l2"):
        (root / "overlay2" / layer / "diff").mkdir(parents=True)
    (root / "overlay2/l1/diff/new").write_text("new")
    (root / "network").mkdir()
    snapshot = root / "containerd/daemon/io.containerd.snapshotter.v1.overlayfs/snapshots/1/fs"
    blobs = root / "containerd/daemon/io.containerd.content.v1.content/blobs/sha256"
    snapshot.mkdir(parents=True)
    (snapshot / "x").write_text("x")
    blobs.mkdir(parents=True)
    (blobs / "abc").write_text("blob")
    disk.layer("l2")
    for file in ("used", "refs"):
        (disk.path / "making/me" / file).touch()
    (disk.home / "images").write_text("sha256:1 a\n")
    output = disk.run(
        "making=$store/making/me golden=$store/golden/k1 key=k1 refresh=no limit=100000\n"
        "umount() { :; }\n(set -e && locked publish 8>>$store/lock)\necho $?\n"
        "damaged= && is_sound $golden && echo sound"
    )

    golden = disk.path / "golden/k1"
    assert output == "0\nsound\n"
    assert (disk.path / "layers/l1/new").read_text() == "new"
    assert (disk.path / "layers/l2/file").exists()
    assert list((golden / "root/overlay2/l1/diff").iterdir()) == []
    assert (golden / "mounts").read_text().splitlines() == [
        "layers/l1 overlay2/l1/diff",
        "layers/l2 overlay2/l2/diff",
    ]
    (link,) = golden.glob("root/containerd/daemon/*snapshotter*/snapshots/1/fs")
    assert (link / "x").read_text() == "x"
    assert link.is_symlink()
    assert (golden / "root" / blobs.relative_to(root) / "abc").read_text() == "blob"
    assert not (golden / "root/network").exists()
    assert len((golden / "refs").read_text().split()) == 4
    assert disk.names("making") == set()


@_needs_flock
def test_publish_of_several_containerds(disk: Disk) -> None:
    """Each directory of containerd has its own layers, and contents that are the same once."""
    root = disk.path / "making/me/root"
    for name in ("daemon", "more"):
        layer = root / f"containerd/{name}/io.containerd.snapshotter.v1.overlayfs/snapshots/1/fs"
        blobs = root / f"containerd/{name}/io.containerd.content.v1.content/blobs/sha256"
        layer.mkdir(parents=True)
        (layer / "whose").write_text(name)
        blobs.mkdir(parents=True)
        (blobs / "abc").write_text("blob")
    for file in ("used", "refs"):
        (disk.path / "making/me" / file).touch()
    (disk.home / "images").touch()
    output = disk.run(
        "making=$store/making/me golden=$store/golden/k1 key=k1 refresh=no limit=100000\n"
        "umount() { :; }\n(set -e && locked publish 8>>$store/lock)\necho $?\n"
        "damaged= && is_sound $golden && echo sound"
    )

    assert output == "0\nsound\n"
    for name in ("daemon", "more"):
        found = disk.path / "golden/k1/root/containerd" / name
        assert (next(found.glob("*snapshotter*/snapshots/1/fs")) / "whose").read_text() == name
        assert next(found.glob("*content*/blobs/sha256/abc")).read_text() == "blob"
    assert len(disk.names("layers")) == 2
    assert disk.names("blobs") == {"abc"}


@_needs_flock
def test_lock_that_is_never_free(disk: Disk) -> None:
    """A store that another holds for good is given up after a while, and the others go on."""
    script = "sleep() { :; }\nlocked echo done 8>>$store/lock || echo given up"
    assert disk.run(script) == "done\n"
    with (disk.path / "lock").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        told = "given up\nAnother process holds the store's lock.\n"
        assert disk.run(script) == told
        # As many tries as are asked for, each after a tenth of a second.
        counted = script.replace(":;", "echo waits;")
        assert disk.run(f"patience=3\n{counted}") == f"waits\nwaits\n{told}"
