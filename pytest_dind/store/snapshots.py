"""Snapshots: prepared daemons, frozen in the warm store, each a golden root of a kind of its own.

`freeze.sh` makes an archive of a daemon's data-root, and `snapshot.sh` puts it into the store. What
containers can't change, the layers of images, is shared there as for any golden root; all else is
copied for each daemon that starts from the snapshot.
"""

from __future__ import annotations

import dataclasses
import json
import queue
import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

from ..causes import explained
from ..engine import containers, steps
from ..engine import exec as exec_module
from ..errors import SettingsError, SnapshotFailed
from ..lifetime import labels, layout
from ..lifetime.layout import Home
from ..validation import shown
from . import seeding

if TYPE_CHECKING:
    from ..engine.engine import Engine
    from ..engine.streams import Progress
    from ..settings import Settings

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,39}")
_PUT = ("store/store.sh", "store/snapshot.sh")
_FREEZE = "store/freeze.sh"
_KEPT = "kept"
_WITHOUT_ATTRIBUTES = "without-attributes"
# A daemon holds still no longer than this, whatever becomes of the copy.
_FREEZE_SECONDS = 600
# Chunks of the archive that are on their way.
_CHUNKS = 32
_END_SECONDS = 10
# Settings that make no other contents, or are of one run's directories.
_UNLIKE = {"mode", "image", "host", "arg", "load", "mount", "publish", "guard", "guard_allow"}


@dataclass(frozen=True)
class Snapshot:
    """A snapshot in the warm store.

    Attributes:
        name: The name by which tests know it.
        key: Its key in the store.
        mode: The mode of the daemon that it is of.
        image: The name of that daemon's image.
        image_id: That image's id on the outer engine.
        engine: The URL of that engine, whose store has it.
        version: The version of the daemon's own engine.
        arg: That daemon's dockerd arguments.
        running: The ids of the containers that ran, in the order in which they had started.
        images: The names of all images in it.
        once: Whether it is for one run, which removes it in the end.
        networks: Whether it has networks that were made in it.
    """

    name: str
    key: str
    mode: str
    image: str
    image_id: str
    engine: str
    version: str
    arg: tuple[str, ...] = ()
    running: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    once: bool = True
    networks: bool = True

    def to_json(self) -> str:
        """The snapshot as one line of JSON."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Snapshot | None:
        """The snapshot that a line of JSON tells of; None where it tells of none."""
        try:
            found = json.loads(text)
            lists = {name: tuple(found[name]) for name in ("arg", "running", "images")}
            return cls(**{**found, **lists})
        except (ValueError, TypeError, KeyError):
            return None

    def demand_same(self, mode: str, image_id: str, settings: Settings) -> None:
        """Check that a daemon that is to start from it is like the one that it is of.

        Args:
            mode: The daemon's mode.
            image_id: The id of its image.
            settings: Its settings.

        Raises:
            SnapshotFailed: it is not: what one engine has written another may not be able to read.
        """
        unlike = {
            "image": (self.image_id, image_id),
            "mode": (self.mode, mode),
            "args": (list(self.arg), list(settings.arg)),
        }
        unlike = {name: pair for name, pair in unlike.items() if pair[0] != pair[1]}
        if not unlike:
            return
        shown_as = {"image": (self.image, settings.image)} if "image" in unlike else {}
        names = "; ".join(
            f"{name}: {was!r} -> {now!r}" for name, (was, now) in {**unlike, **shown_as}.items()
        )
        ids = " (another image of this name)" if self.image == settings.image else ""
        raise SnapshotFailed(
            f"The snapshot {self.name!r} is of another daemon than the one that is to start from "
            "it.",
            evidence=f"It was made by Docker {self.version} of the image {self.image}, in mode "
            f"{self.mode}. Unlike: {names}{ids if 'image' in unlike else ''}.",
            remedy=[
                "Start it with the same image, mode and args.",
                "Take a snapshot of a daemon of each.",
            ],
        )


def demand_name(call: str, name: object) -> str:
    """Check a snapshot's name.

    Raises:
        SettingsError: it is not valid.
    """
    if isinstance(name, str) and _NAME.fullmatch(name):
        return name
    raise SettingsError(
        f"{call}: {shown(name)} is not a valid name of a snapshot.",
        evidence="Valid: 1 to 40 of a-z, 0-9, _, . and -, the first a letter or a digit.",
        remedy=["Give it such a name."],
    )


class Wanted(NamedTuple):
    """A snapshot that is to be taken: its name, its key in the store, and whether for one run."""

    name: str
    key: str
    once: bool


def for_one_run(name: str) -> Wanted:
    """A snapshot of this name that is for one run."""
    return Wanted(name, f"snapshot-{name}-{uuid4().hex[:12]}", once=True)


def key_for(name: str, mode: str, image_id: str, settings: Settings, *extra: object) -> str:
    """The key of a snapshot that later runs may use again.

    Args:
        name: The snapshot's name.
        mode: The mode of the daemon that it is of.
        image_id: The id of that daemon's image.
        settings: That daemon's settings.
        extra: What else its contents depend on, as JSON can have it.
    """
    shape = {name: value for name, value in settings.shape().items() if name not in _UNLIKE}
    digest = seeding.digest([seeding.fits(mode, image_id, settings), shape, extra])
    return f"snapshot-{name}-{digest}"


def without_isolation(mode: str) -> SettingsError:
    """The error for a mode in which there are no snapshots."""
    return SettingsError(
        f"Snapshots can't be had in mode {mode}.",
        evidence="There the tests use the outer engine itself; no daemon is started.",
        remedy=[
            "Use dind_clean: what the test adds is removed after it.",
            "Choose another mode: --dind-mode=auto.",
            "Have the tests skipped in this mode: @pytest.mark.requires_isolation.",
        ],
    )


@dataclass(frozen=True)
class Source:
    """The daemon that a snapshot is of, as its outer engine knows it.

    Attributes:
        engine: The outer engine.
        home: The daemon's home.
        container: Its container's id.
        host_config: What containers of its mode are, as docker-py's `create_host_config` takes it.
        noted: The images that it has from the outer engine, as in its home.
        limit: The limit of the store, in KiB.
    """

    engine: Engine
    home: Home
    container: str
    host_config: Mapping[str, Any]
    noted: str
    limit: int


def take(source: Source, snapshot: Snapshot, progress: Progress) -> None:
    """Put a snapshot of a daemon into the store; the daemon holds still meanwhile.

    Raises:
        SnapshotFailed: it could not be made; nothing of it is left.
    """
    from docker.errors import APIError
    from requests.exceptions import RequestException

    with steps.Step(progress, f"keeping a snapshot {snapshot.name!r}", silent=True) as step:
        archive = _Archive(source)
        try:
            said = _put(source, snapshot, archive.chunks(step))
        except _Broken as error:
            raise _failed(snapshot, str(error)) from None
        except (APIError, RequestException, OSError) as error:
            raise _failed(snapshot, str(getattr(error, "explanation", None) or error)) from error
        finally:
            archive.close()
    output, errors = said
    if output.strip() != _KEPT:
        raise _failed(snapshot, errors or output or "The container that makes it was ended.")
    if not archive.keeps_attributes:
        progress(
            f"the snapshot {snapshot.name!r} lacks extended attributes (file capabilities, access "
            "lists, directories that hide others): the daemon's image has no GNU tar"
        )


class _Broken(Exception):
    """The archive of the data-root is not whole; the text has the cause."""


class _Archive:
    """The archive of a daemon's data-root, as it comes.

    Attributes:
        keeps_attributes: Whether files have their extended attributes in it.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._chunks: queue.Queue[bytes | None] = queue.Queue(_CHUNKS)
        self._is_given_up = threading.Event()
        self._error = ""
        self.keeps_attributes = True
        self._thread = threading.Thread(target=self._run, name="pytest-dind", daemon=True)

    def chunks(self, step: steps.Step) -> Iterator[bytes]:
        """The archive in chunks; the daemon goes on once all have come.

        Raises:
            _Broken: it is not whole.
        """
        self._thread.start()
        yield from step.counted(iter(self._chunks.get, None))
        if self._error:
            raise _Broken(self._error)

    def close(self) -> None:
        """Wait for the end of what still goes on, which nobody takes any more."""
        self._is_given_up.set()
        if self._thread.is_alive():
            self._thread.join(_END_SECONDS)

    def _run(self) -> None:
        script = containers.script(_FREEZE)
        command = exec_module.Command(
            ["sh", "-c", script, "sh", str(_FREEZE_SECONDS)], stdout=self._take
        )
        try:
            done = exec_module.run(self._source.engine.client, self._source.container, command)
            said = done.stderr.decode(errors="replace")
            self.keeps_attributes = _WITHOUT_ATTRIBUTES not in said
            if done.returncode:
                self._error = f"Exit code {done.returncode} in the daemon's container.\n{said}"
        except Exception as error:
            self._error = str(getattr(error, "explanation", None) or error)
        finally:
            self._take(None)

    def _take(self, chunk: bytes | None) -> None:
        while not self._is_given_up.is_set():
            try:
                self._chunks.put(chunk, timeout=0.1)
            except queue.Full:
                continue
            return


def _put(source: Source, snapshot: Snapshot, chunks: Iterator[bytes]) -> tuple[str, str]:
    """Have a container put an archive into the store; gives what it has said."""
    engine = source.engine
    home = Home(source.home.path.parent / f"snapshot-{uuid4().hex[:8]}")
    store = containers.volume(
        layout.STORE_IN_CONTAINER, seeding.VOLUME, labels.of_store(snapshot.image)
    )
    one_off = containers.OneOff(
        image=snapshot.image_id,
        home=home,
        role="snapshot",
        command=[
            *("sh", "-c", containers.script(*_PUT), "sh"),
            *(home.label, snapshot.key, str(source.limit), _word(snapshot.once)),
            _word(snapshot.networks),
            *(snapshot.to_json(), source.noted),
        ],
        host_config={**source.host_config, "mounts": [store]},
    )
    return containers.fed(engine, one_off, chunks)


def _word(value: object) -> str:
    return "yes" if value else "no"


def _failed(snapshot: Snapshot, evidence: str) -> SnapshotFailed:
    return explained(
        SnapshotFailed(
            f"The snapshot {snapshot.name!r} could not be made; nothing of it is left.",
            evidence=evidence,
            remedy=[
                "See how much room the engine's disk has, and the store takes: docker system df, "
                "pytest-dind cache ls.",
                f"See which containers have the store: docker ps --filter volume={seeding.VOLUME}.",
                "Use an image of the daemon that has unshare, timeout and tar, as docker:dind has.",
            ],
        )
    )
