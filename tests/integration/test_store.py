"""The warm store on a real engine: daemons that start with their images, and what they share."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import shlex
import tarfile
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from uuid import uuid4

import docker
import pytest

from conftest import DAEMON_IMAGE, NESTED_IMAGE
from pytest_dind import Settings
from pytest_dind import __main__ as command
from pytest_dind.backends.container import StartingDaemon
from pytest_dind.daemon.handle import Daemon
from pytest_dind.engine import images
from pytest_dind.engine.engine import Engine
from pytest_dind.engine.images import ImageSource
from pytest_dind.lifetime import directories, labels, layout
from pytest_dind.lifetime.files import Directory
from pytest_dind.store import seeding
from pytest_dind.store.contents import Cache, Root
from pytest_dind.store.loaded import LoadedImages

from ..store import look
from ..support import until
from .conftest import DeriveImage, StartDaemon
from .projects import Project
from .traces import Traces

# The machine's own engine has its images already.
# They damage, limit and prune what is in the one store of the engine: one worker has them all.
pytestmark = [pytest.mark.requires_isolation, pytest.mark.xdist_group("store")]

_MAKING = "making a warm data-root"
_SOUND = ["echo", "sound"]


class Warm:
    """The golden roots of one test: others of the same store are of other daemons.

    Args:
        engine: The outer engine.
        mode: The mode under test.
        arguments: What makes the daemons use one kind of image store.
    """

    def __init__(self, engine: Engine, mode: str, arguments: Sequence[str]) -> None:
        self._engine = engine
        self._mode = mode
        self.arg = [f"--label=warm={uuid4().hex[:8]}", *arguments]
        self.cache = Cache(engine, DAEMON_IMAGE)
        self.image = DAEMON_IMAGE
        self.origin: seeding.Origin | None = None

    def key(self, *names: str) -> str:
        """The key of the golden root with these images."""
        api: Any = self._engine.client.api
        settings = Settings(arg=tuple(self.arg), load=names or (NESTED_IMAGE,))
        daemon = api.inspect_image(self.image)["Id"]
        source = images.ImageSource(self._engine.client, print)
        return seeding.preload(settings, self._mode, daemon, source, self.origin).seed.key

    def roots(self) -> dict[str, Root]:
        """The golden roots of this test."""
        fits = self.key().partition("-")[0]
        return {root.key: root for root in self.cache.roots()[0] if root.key.startswith(fits)}

    def look(self, script: str, *arguments: str) -> str:
        """Run a script in the store, as root who may write."""
        return look(self._engine, script, *arguments)

    def refs(self, *names: str) -> set[str]:
        """The layers and blobs of a golden root."""
        return set(self.look('cat "golden/$1/refs"', self.key(*names)).split())

    def checksum(self) -> str:
        """Of all that is in the golden root and its layers: contents, modes, owners, times."""
        return self.look(
            'files=$(cd golden/$1 && cat refs | sort -u); find "golden/$1" $files ! -name used '
            '-printf "%p %y %m %U %G %s %l %T@\\n" | sort | sha256sum; '
            'find "golden/$1" $files -type f -exec sha256sum {} + | sort | sha256sum',
            self.key(),
        )

    def made(self) -> str:
        """What changes when the golden root is made anew."""
        return self.look('stat -c "%i %y" "golden/$1/sum"', self.key())


def _outcome(daemon: Any) -> str:
    """What became of a daemon's golden root."""
    return seeding.outcome(Directory(daemon.home.path))


@pytest.fixture(
    params=[(), ("--feature=containerd-snapshotter=true",)], ids=["overlay2", "containerd"]
)
def arguments(request: pytest.FixtureRequest) -> Sequence[str]:
    """What makes the daemon use each kind of image store."""
    found: Sequence[str] = request.param
    return found


@pytest.fixture
def warm(engine: Engine, mode: str, arguments: Sequence[str]) -> Iterator[Warm]:
    """The test's own golden roots in the store; in the end they are removed."""
    warm = Warm(engine, mode, arguments)
    yield warm
    removal = warm.cache.remove([*warm.roots(), warm.key()])
    assert removal.held == ()


_one_kind = pytest.mark.parametrize("arguments", [()], ids=["overlay2"])
"""For what doesn't depend on the kind of image store."""


@pytest.fixture
def begin(warm: Warm, start: StartDaemon) -> StartDaemon:
    """Start daemons with the nested image in them."""

    def begin(**settings: object) -> Any:
        given = {"arg": warm.arg, "load": [NESTED_IMAGE], **settings}
        return start(origin=warm.origin, **given)

    return begin


def _works(daemon: Daemon, image: str = NESTED_IMAGE) -> bool:
    with contextlib.closing(daemon.client()) as client:
        return bool(client.containers.run(image, _SOUND, remove=True) == b"sound\n")


def _has(daemon: Daemon, name: str) -> bool:
    with contextlib.closing(daemon.client()) as client:
        return name in [tag for image in client.images.list() for tag in image.tags]


@pytest.mark.engines
# The store is made by a daemon of its own, with a start of its own.
@pytest.mark.cgroups
def test_second_daemon_is_seeded(
    begin: StartDaemon, warm: Warm, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first daemon makes a golden root and has it; the second has it without a load."""
    first = begin()
    assert _MAKING in capsys.readouterr().out
    made = warm.made()
    second = begin()

    assert _MAKING not in capsys.readouterr().out
    assert _outcome(first) == _outcome(second) == seeding.SEEDED
    assert _works(first.daemon)
    assert _works(second.daemon)
    assert warm.made() == made
    assert list(warm.roots()) == [warm.key()]


def _spoil(client: docker.DockerClient) -> None:
    """Overwrite, commit, tag, build, prune, and delete every image of a daemon."""
    script = "echo spoilt >/bin/busybox; chmod 777 /etc; chown 7 /bin; rm -rf /etc; mkdir /new"
    client.containers.run(
        NESTED_IMAGE, ["sh", "-c", f"mount -o remount,rw / ; {script}"], privileged=True, name="it"
    )
    client.containers.get("it").commit("spoilt", "1")
    client.images.get(NESTED_IMAGE).tag("spoilt", "2")
    dockerfile = f'FROM {NESTED_IMAGE}\nRUN ["/bin/busybox", "rm", "-rf", "/bin"]\n'
    client.images.build(fileobj=io.BytesIO(dockerfile.encode()), tag="spoilt:3", rm=True)
    client.images.get("spoilt:1").tag(NESTED_IMAGE)
    client.containers.prune()
    client.images.prune({"dangling": False})
    for image in client.images.list(all=True):
        with contextlib.suppress(docker.errors.ImageNotFound):
            client.images.remove(str(image.id), force=True)
    assert client.images.list(all=True) == []


def test_isolation(begin: StartDaemon, warm: Warm) -> None:
    """Whatever a daemon does to its images reaches neither the golden root nor another daemon."""
    other, spoilt = begin(), begin()
    before = warm.checksum()
    with contextlib.closing(spoilt.daemon.client()) as client:
        _spoil(client)

    assert warm.checksum() == before
    assert _works(other.daemon)
    third = begin()
    assert _outcome(third) == seeding.SEEDED
    assert _works(third.daemon)
    assert not _has(third.daemon, "spoilt:2")


class _More:
    """What a golden root has besides images: as containerd's directories are, of a test's own."""

    name = "more"
    images = (DAEMON_IMAGE,)
    _directory = "/var/lib/docker/containerd/more"
    _layer = "io.containerd.snapshotter.v1.overlayfs/snapshots/1/fs"
    _blobs = "io.containerd.content.v1.content/blobs/sha256"

    def make(self, daemon: docker.DockerClient, source: ImageSource) -> None:
        script = f"mkdir -p {self._layer} {self._blobs}; echo layer >{self._layer}/x"
        self.run(daemon, f"{script}; echo blob >{self._blobs}/abc; echo db >a.db")

    def read(self, daemon: Daemon) -> list[str]:
        """What a container sees of it that has the store, too."""
        with contextlib.closing(daemon.client()) as client:
            return self.run(client, f"cat {self._layer}/x {self._blobs}/abc a.db").split()

    def spoil(self, daemon: Daemon) -> None:
        """Change what can be."""
        with contextlib.closing(daemon.client()) as client:
            for file in (f"{self._layer}/x", f"{self._blobs}/abc"):
                with pytest.raises(docker.errors.ContainerError, match="Read-only file system"):
                    self.run(client, f"echo spoilt >{file}")
            self.run(client, f"echo spoilt >a.db; rm -r {self._layer}")

    def run(self, client: docker.DockerClient, script: str) -> str:
        """Run a script in it."""
        places = [self._directory, layout.STORE_IN_CONTAINER]
        done = client.containers.run(
            NESTED_IMAGE,
            ["sh", "-ec", script],
            volumes=[f"{place}:{place}" for place in places],
            working_dir=self._directory,
            privileged=True,
            remove=True,
        )
        return str(done.decode())


def test_more_than_images(begin: StartDaemon, warm: Warm) -> None:
    """What was made besides images is each daemon's own, but for what no daemon changes."""
    warm.origin = more = _More()
    first, second = begin(), begin()
    assert _outcome(first) == _outcome(second) == seeding.SEEDED
    assert set(warm.roots()[warm.key()].images) == {NESTED_IMAGE, DAEMON_IMAGE}
    assert more.read(first.daemon) == more.read(second.daemon) == ["layer", "blob", "db"]
    before = warm.checksum()
    more.spoil(second.daemon)
    assert warm.checksum() == before
    assert more.read(first.daemon) == more.read(begin().daemon) == ["layer", "blob", "db"]
    first.daemon.restart()
    assert more.read(first.daemon) == ["layer", "blob", "db"]
    assert _works(first.daemon)


@_one_kind
def test_store_is_read_only(begin: StartDaemon) -> None:
    """Root in the daemon's container can't write to the store by mistake."""
    begin()
    daemon = begin().daemon
    store = layout.STORE_IN_CONTAINER
    script = f"touch {store}/x || touch {store}/layers/*/x || rm -rf {store}/layers"
    done = daemon.exec(["sh", "-c", script], check=False)
    assert done.returncode
    assert "Read-only file system" in done.stderr


_SPECIAL = """
mkdir /made/gone /made/opaque /made/kept; echo 1 >/made/gone/x; echo 1 >/made/opaque/old
echo secret >/made/deleted; echo twice >/made/link1; ln /made/link1 /made/link2
ln -s ../nowhere /made/symbolic; mkfifo -m 640 /made/fifo; mknod -m 600 /made/device c 1 3
cp /bin/busybox /made/setuid; chown 1234:2345 /made/setuid; chmod 6755 /made/setuid
dd if=/dev/zero of=/made/sparse bs=1 count=1 seek=4194303; chmod 1777 /made/kept
echo x >"/made/a name with spaces"; touch -d @1000000000 /made/link1
"""
_CHANGED = """
rm /made/deleted; rm -rf /made/gone /made/opaque; mkdir /made/opaque; echo 2 >/made/opaque/new
echo 3 >/made/link3; ln /made/link3 /made/link4
"""
_CAPABILITY = "SCHILY.xattr.security.capability"
_ARCHIVE = """
pid=$(docker inspect -f '{{.State.Pid}}' special) && cd /proc/$pid/root && tar --sort=name \
--numeric-owner --xattrs --xattrs-include='*' --sparse --format=posix \
--pax-option=delete=atime,delete=ctime -c made | base64 -w0
"""


@pytest.fixture
def special_image(engine: Engine) -> Iterator[str]:
    """An image whose layers hold all that file systems know, and whiteouts."""
    client = engine.client
    name = f"pytest-dind/special:{uuid4().hex[:8]}"
    repository, _, tag = name.partition(":")
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
        directory = tarfile.TarInfo("made")
        directory.type, directory.mode = tarfile.DIRTYPE, 0o755
        tar.addfile(directory)
        marked = tarfile.TarInfo("made/marked")
        # VFS_CAP_REVISION_2, with CAP_NET_RAW permitted and effective (linux/capability.h).
        capability = b"\x01\x00\x00\x02\x00\x20\x00\x00" + bytes(12)
        marked.pax_headers = {
            _CAPABILITY: capability.decode("latin-1"),
        }
        tar.addfile(marked)
    try:
        base = NESTED_IMAGE
        for script in (_SPECIAL, _CHANGED):
            container = client.containers.create(base, ["sh", "-ec", script])
            if base == NESTED_IMAGE:
                container.put_archive("/", stream.getvalue())
            container.start()
            assert container.wait()["StatusCode"] == 0, container.logs().decode()
            base = str(container.commit(repository, tag).id)
            container.remove(v=True)
        yield name
    finally:
        client.images.remove(name, force=True)


def _archive(daemon: Daemon, image: str) -> bytes:
    """What a container of an image has in /made, as GNU tar tells all of it."""
    with contextlib.closing(daemon.client()) as client:
        client.containers.run(image, ["sleep", "600"], name="special", detach=True)
    return base64.b64decode(daemon.exec(["sh", "-ec", _ARCHIVE]).stdout)


def test_files_are_as_loaded(begin: StartDaemon, special_image: str, mode: str) -> None:
    """File by file, a container of a seeded image is what one of a loaded image is."""
    loaded = _archive(begin(load=[special_image], cache="off").daemon, special_image)
    begin(load=[special_image])
    started = begin(load=[special_image])
    assert _outcome(started) == seeding.SEEDED
    seeded = _archive(started.daemon, special_image)

    with tarfile.open(fileobj=io.BytesIO(seeded)) as tar:
        files = {member.name: member for member in tar.getmembers()}
    assert seeded == loaded
    assert files["made/setuid"].mode == 0o6755
    assert (files["made/setuid"].uid, files["made/setuid"].gid) == (1234, 2345)
    assert _CAPABILITY in files["made/marked"].pax_headers
    assert files["made/link2"].islnk()
    assert files["made/link4"].islnk()
    # Users that are mapped may make no device; a load leaves it out.
    assert ("made/device" in files) == (mode == "dind")
    assert files["made/fifo"].isfifo()
    assert "made/opaque/new" in files
    assert not {"made/deleted", "made/gone", "made/opaque/old"} & set(files)


@_one_kind
def test_other_driver(
    start: StartDaemon, warm: Warm, capsys: pytest.CaptureFixture[str], mode: str
) -> None:
    """A driver whose layers are elsewhere gets its images by load, and a line says so."""
    warm.arg.append("--storage-driver=vfs")
    with pytest.warns(match="vfs"):
        first = start(arg=warm.arg, load=[NESTED_IMAGE])
    said = capsys.readouterr().out
    with pytest.warns(match="vfs"):
        second = start(arg=warm.arg, load=[NESTED_IMAGE])

    # On a slow machine there are lines on how far it is, too.
    line = "images are loaded without the warm store (storage driver vfs)"
    for told in (said, capsys.readouterr().out):
        assert [one for one in told.splitlines() if "store" in one] == [line]
    assert _works(first.daemon)
    assert _works(second.daemon)
    assert warm.roots() == {}
    assert warm.look('find making -name "$1*"', first.home.label) == ""


@_one_kind
def test_layers_that_are_elsewhere(
    begin: StartDaemon, warm: Warm, capsys: pytest.CaptureFixture[str], mode: str
) -> None:
    """A data-root of another layout, as with mapped users, is never taken for a golden root."""
    if mode != "dind":
        pytest.skip("users are mapped already in this mode")
    warm.arg.append("--userns-remap=default")
    daemon = begin().daemon

    assert "without the warm store (its data-root has no layers" in capsys.readouterr().out
    assert _works(daemon)
    assert warm.roots() == {}


def _tag(engine: Engine, base: str, name: str) -> None:
    """Put a new image, a layer more than another, behind a tag."""
    repository, _, tag = name.partition(":")
    container = engine.client.containers.create(base, ["sh", "-c", f"echo {uuid4()} >/new"])
    container.start()
    container.wait()
    container.commit(repository, tag)
    container.remove(v=True)


@pytest.fixture
def changing(engine: Engine) -> Iterator[str]:
    """The name of an image that the test changes."""
    name = f"pytest-dind/changing:{uuid4().hex[:8]}"
    _tag(engine, NESTED_IMAGE, name)
    yield name
    # Each is made from the last, which goes with it.
    engine.client.images.remove(name, force=True)


def test_image_that_changed(begin: StartDaemon, warm: Warm, engine: Engine, changing: str) -> None:
    """A new image behind the tag is noticed; its new layer is added, and the old image is gone."""
    begin(load=[changing])
    old_id, old_refs = engine.client.images.get(changing).id, warm.refs(changing)
    _tag(engine, changing, changing)
    daemon = begin(load=[changing]).daemon
    new_refs = warm.refs(changing)

    layers = [ref for ref in new_refs - old_refs if ref.startswith("layers/")]
    assert len(layers) == 1
    with contextlib.closing(daemon.client()) as client:
        inside = client.images.get(changing).history()
        assert len(inside) == len(engine.client.images.get(changing).history())
        assert [image.tags for image in client.images.list(all=True)] == [[changing]]
        assert old_id not in [image.id for image in client.images.list(all=True)]
    assert _works(daemon, changing)
    assert _works(begin(load=[changing]).daemon, changing)


@_one_kind
def test_other_images(begin: StartDaemon, changing: str) -> None:
    """A golden root that began as one with more images has those alone that were asked for."""
    begin(load=[NESTED_IMAGE, changing])
    daemon = begin(load=[NESTED_IMAGE]).daemon

    assert not _has(daemon, changing)
    assert _works(daemon)


@_one_kind
def test_refresh(begin: StartDaemon, warm: Warm) -> None:
    """Made anew, while a daemon that has the old one keeps all of it, until it ends."""
    old = begin()
    made, refs = warm.made(), warm.refs()
    assert _outcome(begin(cache="refresh")) == seeding.SEEDED

    assert warm.made() != made
    removed = {ref for ref in refs - warm.refs() if ref.startswith("layers/")}
    assert removed, "nothing of the old one is taken over"
    warm.cache.prune("10g")
    assert _works(old.daemon)
    old.daemon.stop()
    old.lease.release()
    warm.cache.prune("10g")
    assert not removed & set(warm.look("ls -d layers/*").split())


@_one_kind
def test_off(begin: StartDaemon, warm: Warm) -> None:
    """Without the store there is no golden root, and the daemon has no part in the volume."""
    daemon = begin(cache="off").daemon

    assert _works(daemon)
    assert warm.roots() == {}
    assert daemon.container is not None
    assert layout.STORE_IN_CONTAINER not in [
        mount["Destination"] for mount in daemon.container.attrs["Mounts"]
    ]


_WORKER = f"""
    import pytest

    @pytest.mark.parametrize("number", range(6))
    def test_it(dind_client, number):
        out = dind_client.containers.run("{NESTED_IMAGE}", "echo hi", remove=True)
        assert out == b"hi\\n"
        assert not [tag for i in dind_client.images.list() for tag in i.tags if "mine" in tag]

    def test_last(dind_client):
        dind_client.images.get("{NESTED_IMAGE}").tag("mine")
"""


# Each daemon moves its own processes only.
@pytest.mark.cgroups
@_one_kind
def test_daemons_at_once(warm: Warm, project: Project) -> None:
    """Several workers' daemons start from one golden root, made by whoever is the first."""
    project.write(_WORKER)
    options = [f"--dind-load={NESTED_IMAGE}", *(f"--dind-arg={arg}" for arg in warm.arg)]
    output = project.run(*options, "--dind-scope=worker", "-n3", "--dist=each")

    assert "21 passed" in output
    assert list(warm.roots()) == [warm.key()]
    assert "21 passed" in project.run(*options, "--dind-scope=worker", "-n3", "--dist=each")


@_one_kind
def test_reused_daemon(
    warm: Warm, project: Project, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A daemon that outlives its run keeps its golden root, and has its images in the next."""
    project.write(_WORKER.partition("def test_last")[0])
    options = [f"--dind-load={NESTED_IMAGE}", *(f"--dind-arg={arg}" for arg in warm.arg)]
    base = project.temp / f"pytest-dind-{os.getuid()}"
    try:
        project.run(*options, "--dind-reuse=warm")
        assert warm.roots()[warm.key()].held
        assert warm.cache.remove([warm.key()]).held == (warm.key(),)
        project.run(*options, "--dind-reuse=warm")
    finally:
        monkeypatch.setattr(directories, "base", lambda: base)
        assert command.main(["rm", "--all", f"--host={engine.url}"]) == 0
    assert not warm.roots()[warm.key()].held


@pytest.fixture
def own_store(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Have a store that no other run has; gives what makes its volume, with driver options."""
    monkeypatch.setattr(seeding, "VOLUME", f"pytest-dind-test-{uuid4().hex[:8]}")

    def make(**options: str) -> None:
        engine.client.volumes.create(seeding.VOLUME, driver_opts=options)

    yield make
    engine.client.volumes.get(seeding.VOLUME).remove()


@_one_kind
def test_limit(
    own_store: Callable[..., None], warm: Warm, begin: StartDaemon, changing: str
) -> None:
    """Above the limit the least recently used root goes, but none that a daemon has."""
    own_store()
    first = begin()
    held = begin(load=[changing], cache_size="1k")
    assert set(warm.roots()) == {warm.key(), warm.key(changing)}
    first.daemon.stop()
    begin(load=[NESTED_IMAGE, changing], cache_size="1k")

    assert set(warm.roots()) == {warm.key(changing), warm.key(NESTED_IMAGE, changing)}
    assert _works(held.daemon, changing)


@_one_kind
def test_volume(own_store: Callable[..., None], begin: StartDaemon, engine: Engine) -> None:
    """The store's volume says whose it is; it belongs to no run, so that no sweep takes it."""
    begin().daemon.stop()
    found = engine.client.volumes.get(seeding.VOLUME).attrs["Labels"]

    assert found[labels.ROLE] == "cache"
    assert found[labels.IMAGE] == DAEMON_IMAGE
    assert labels.RUN not in found


@_one_kind
def test_full_disk(
    own_store: Callable[..., None],
    warm: Warm,
    begin: StartDaemon,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Where the store has no room, the daemon has its images all the same, outside of it."""
    own_store(type="tmpfs", device="tmpfs", o="size=1m")
    started = begin()
    said = capsys.readouterr().out

    assert _outcome(started) == seeding.FAILED
    assert "without the warm store (it could not be written or mounted)" in said
    assert _works(started.daemon)
    assert warm.roots() == {}


_BUSYBOX = (
    "mkdir /tools; for tool in $(busybox --list); do ln -s /usr/bin/busybox /tools/$tool; done"
)


@_one_kind
def test_busybox(begin: StartDaemon, warm: Warm, derive: DeriveImage) -> None:
    """With busybox's shell and tools, as in the official image, the store is the same."""
    warm.image = derive(_BUSYBOX, "ENV PATH=/tools:/usr/sbin:/usr/bin:/sbin:/bin")
    first = begin(image=warm.image)
    assert "BusyBox" in first.daemon.exec(["sh", "--help"], check=False).stdout
    made = warm.made()
    second = begin(image=warm.image)

    assert _outcome(second) == seeding.SEEDED
    assert warm.made() == made
    assert _works(second.daemon)


@_one_kind
def test_failed_copy(begin: StartDaemon, warm: Warm, derive: DeriveImage) -> None:
    """Where a golden root can't be used after all, nothing of it stays in the data-root."""
    path = "ENV PATH=/tools:/usr/sbin:/usr/bin:/sbin:/bin"
    # The list of mounts can't be written, once all else has been copied.
    warm.image = derive(f"{_BUSYBOX}; mkdir -p /run/pytest-dind.fstab", path)
    started = begin(image=warm.image)

    assert _outcome(started) == seeding.FAILED
    assert _works(started.daemon)


@_one_kind
def test_entrypoint_that_deletes_pid_files(
    begin: StartDaemon, warm: Warm, engine: Engine, derive: DeriveImage
) -> None:
    """What the official image's entrypoint deletes below /run is no file of an image's."""
    script = "#!/bin/sh\nfind /run /var/run -iname 'docker*.pid' -delete || :\nexec \"$@\"\n"
    write = f"printf '%s' {shlex.quote(script)} >/entry; chmod +x /entry"
    warm.image = derive(write, 'ENTRYPOINT ["/entry"]')
    name = f"pytest-dind/pids:{uuid4().hex[:8]}"
    container = engine.client.containers.create(NESTED_IMAGE, ["touch", "/docker-other.pid"])
    container.start()
    container.wait()
    container.commit(*name.split(":"))
    container.remove()
    try:
        begin(image=warm.image, load=[name])
        # One that makes a golden root of its own may write to the store.
        begin(image=warm.image)
        seeded = begin(image=warm.image, load=[name])
        assert _outcome(seeded) == seeding.SEEDED
        with contextlib.closing(seeded.daemon.client()) as client:
            client.containers.run(name, ["ls", "/docker-other.pid"])
    finally:
        engine.client.images.remove(name, force=True)


_DAMAGES = {
    "a file is cut short": 'truncate -s 1 "$(find golden/$1/root -type f -size +1 | head -n 1)"',
    "a layer is gone": 'rm -rf "$(grep layers/ golden/$1/refs | head -n 1)"',
    "garbage in mounts": 'echo "layers/../.. /etc" >>golden/$1/mounts',
}


@_one_kind
@pytest.mark.parametrize("damage", _DAMAGES)
def test_damaged_root(begin: StartDaemon, warm: Warm, damage: str) -> None:
    """A golden root that was damaged is made anew, and never a daemon's."""
    begin()
    warm.look(_DAMAGES[damage], warm.key())
    daemon = begin()

    assert _outcome(daemon) == seeding.SEEDED
    assert _works(daemon.daemon)
    assert list(warm.roots()) == [warm.key()]


def _kill(engine: Engine, traces: Traces) -> None:
    for container in traces.containers():
        with contextlib.suppress(docker.errors.APIError):
            engine.client.api.kill(container, "SIGKILL")


_Moment = Callable[[Engine, Traces, pytest.MonkeyPatch], None]


def _while_loading(engine: Engine, traces: Traces, patch: pytest.MonkeyPatch) -> None:
    def bring(*arguments: object) -> None:
        _kill(engine, traces)
        raise ConnectionError

    patch.setattr(LoadedImages, "bring", bring)


def _while_publishing(engine: Engine, traces: Traces, patch: pytest.MonkeyPatch) -> None:
    publish = StartingDaemon.publish

    def publish_and_die(new: StartingDaemon) -> None:
        mark = new._spec.home.path / "log"
        current_run = mark.stat().st_size

        def kill() -> None:
            # dockerd writes its last lines while it ends; what follows takes a tenth of a second.
            until(lambda: mark.stat().st_size > current_run, 10, "dockerd is told to end")
            _kill(engine, traces)

        killer = threading.Thread(target=kill)
        killer.start()
        try:
            publish(new)
        finally:
            killer.join()

    patch.setattr(StartingDaemon, "publish", publish_and_die)


@_one_kind
@pytest.mark.parametrize("moment", [_while_loading, _while_publishing])
def test_kill_in_the_middle(
    begin: StartDaemon,
    warm: Warm,
    engine: Engine,
    traces: Traces,
    moment: _Moment,
) -> None:
    """After SIGKILL while a golden root is made, the next daemon makes it, and nothing is left."""
    with pytest.MonkeyPatch.context() as patch:
        moment(engine, traces, patch)
        with pytest.raises(Exception):  # noqa: B017, PT011
            begin()
    until(lambda: not traces.containers(), 10, "the container is gone")
    daemon = begin()

    assert _outcome(daemon) == seeding.SEEDED
    assert _works(daemon.daemon)
    warm.cache.prune("10g")
    referred = warm.look("cat golden/*/refs making/*/refs old/*/refs 2>/dev/null || true").split()
    assert warm.refs() <= set(referred)
    assert warm.key() in warm.roots()


@_one_kind
def test_list_while_another_removes(
    begin: StartDaemon, warm: Warm, engine: Engine, derive: DeriveImage
) -> None:
    """What another process removes while the store is read is not listed."""
    begin().daemon.stop()
    # In the middle of this root: its `used` is there, and not when it is looked at next.
    key, golden = warm.key(), f"{layout.STORE_IN_CONTAINER}/golden/{warm.key()}"
    tool = f'#!/bin/sh\ncase $* in *{key}*) rm -rf {golden} ;; esac\nexec /usr/bin/du "$@"\n'
    script = f"printf %s {shlex.quote(tool)} >/usr/local/bin/du"
    meanwhile = Cache(engine, derive(f"{script}; chmod +x /usr/local/bin/du"))

    assert list(warm.roots()) == [key]
    assert key not in [root.key for root in meanwhile.roots()[0]]


@_one_kind
def test_command(
    begin: StartDaemon, warm: Warm, engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    """`cache ls` says what is there and who has it; `cache rm` removes what nobody has."""
    options = [f"--host={engine.url}", f"--image={DAEMON_IMAGE}"]
    started = begin()
    capsys.readouterr()

    assert command.main(["cache", "ls", "--json", *options]) == 0
    found = {root["key"]: root for root in json.loads(capsys.readouterr().out)["roots"]}
    root = found[warm.key()]
    assert (root["images"], root["daemons"]) == ([NESTED_IMAGE], [started.home.label])
    assert root["size"] > 1e6
    assert command.main(["cache", "ls", *options]) == 0
    (row,) = (x for x in capsys.readouterr().out.splitlines() if x.startswith(warm.key()))
    assert row.endswith(f"   {started.home.label}")

    assert command.main(["cache", "rm", warm.key(), *options]) == 1
    assert f"a daemon uses {warm.key()}; it stays" in capsys.readouterr().err
    # Ways to something else than a root, such as an empty variable gives.
    assert command.main(["cache", "rm", "", "..", "../layers", *options]) == 1
    assert "no '../layers' in the warm store" in capsys.readouterr().err
    assert _works(started.daemon)
    started.daemon.stop()
    assert command.main(["cache", "rm", warm.key(), *options]) == 0
    assert capsys.readouterr().out == f"{warm.key()}\n"
    assert command.main(["cache", "rm", warm.key(), *options]) == 1
    assert f"no '{warm.key()}' in the warm store" in capsys.readouterr().err
