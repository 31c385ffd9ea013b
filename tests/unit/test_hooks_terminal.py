"""What the summary says of daemons."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from pytest_dind.backends.protocol import Record
from pytest_dind.hooks.terminal import Progress, summary, unread_apis
from pytest_dind.lifetime.layout import Home


def _record(id_: str, **more: Any) -> Record:
    home = Home(Path("/h/0123abcd/main"))
    fields: dict[str, Any] = dict.fromkeys(["host", "address"], "") | {"api_version": "1.51"}
    return Record(
        mode="dind", home=home, id=id_, published=(), version="1", driver="overlay2",
        user_namespace=False, seconds=0.5, **{**fields, **more},
    )  # fmt: skip


def test_daemons_that_took_equally_long() -> None:
    """What is said of a daemon is told by its id, whoever says it, and however alike they are."""
    one, two = summary([], [_record("a"), _record("b")], [])

    assert one != two
    assert (
        one[1] == two[1] == ("dind: daemon 'main' ready in 0.50 s (mode dind, Docker 1, overlay2)")
    )
    assert summary([], [_record("a")], []) == [one]


def test_pull_is_told_apart() -> None:
    """What was pulled for a daemon is told beside its start, and only where something was."""
    told = summary([], [_record("a", pulled=71.5)], [])

    assert told == [
        (
            "a",
            "dind: daemon 'main' pulled in 71.50 s, ready in 0.50 s "
            "(mode dind, Docker 1, overlay2)",
        )
    ]


def test_newer_apis() -> None:
    """An engine or daemon whose API is newer than the plugin knows is told of, no other is."""
    outer = {"unix:///old": "1.41", "unix:///new": "1.99"}
    used = [_record("a", api_version="1.51"), _record("b", api_version="1.98")]

    assert unread_apis(outer, used) == [
        (
            "",
            "dind: the outer engine at unix:///new: API 1.99 is newer than the newest that is "
            "known, 1.57",
        ),
        ("b", "dind: daemon 'main': API 1.98 is newer than the newest that is known, 1.57"),
    ]


def test_lines_of_another_thread() -> None:
    """A line of another thread waits for the next of the main thread, or for the summary."""
    printed: list[str] = []
    plugins = {"terminalreporter": SimpleNamespace(write_line=printed.append)}
    config: Any = SimpleNamespace(
        get_verbosity=lambda: 0, pluginmanager=SimpleNamespace(get_plugin=plugins.get)
    )
    progress = Progress(config)

    def from_another_thread(text: str) -> None:
        thread = threading.Thread(target=progress, args=[text])
        thread.start()
        thread.join()

    from_another_thread("one")
    assert printed == []
    progress("two")
    assert printed == ["dind: one", "dind: two"]
    from_another_thread("three")
    assert progress.pending() == ["dind: three"]
    assert progress.pending() == []
    assert printed == ["dind: one", "dind: two"]
