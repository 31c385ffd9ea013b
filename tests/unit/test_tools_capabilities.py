"""The capabilities this machine lacks, and the runtime that does without them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

import _capabilities

SETS = ("bounding", "effective", "permitted", "inheritable", "ambient")


def test_a_bound_without_a_capability_names_it() -> None:
    """The bit that CapBnd lacks is told by its name."""
    status = "CapEff:\t000001fffeffffff\nCapBnd:\t000001fffeffffff\nCapAmb:\t0\n"
    assert _capabilities.missing(status, 40) == ["CAP_SYS_RESOURCE"]


@pytest.mark.parametrize(
    ("status", "last"),
    [("CapBnd:\t000001ffffffffff\n", 40), ("CapBnd:\t000000ffffffffff\n", 39), ("Name:\tsh\n", 40)],
)
def test_a_full_bound_lacks_nothing(status: str, last: int) -> None:
    """What the kernel does not know, or does not tell, is not missing."""
    assert _capabilities.missing(status, last) == []


Runtime = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def runtime(tmp_path: Path) -> Runtime:
    """A wrapper around a runc that only prints its arguments, without two capabilities."""
    runc, wrapper = tmp_path / "a runc", tmp_path / "wrapper"
    runc.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\nexit 5\n')
    wrapper.write_text(_capabilities.wrapper(str(runc), ["CAP_SYS_RESOURCE", "CAP_BPF"]))
    for script in (runc, wrapper):
        script.chmod(0o755)

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([wrapper, *arguments], capture_output=True, text=True, check=False)

    return call


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize(
    "held",
    [
        ["CAP_SYS_RESOURCE", "CAP_CHOWN", "CAP_BPF", "CAP_KILL"],
        ["CAP_CHOWN", "CAP_KILL", "CAP_SYS_RESOURCE", "CAP_BPF"],
        ["CAP_CHOWN", "CAP_SYS_RESOURCE", "CAP_KILL"],
    ],
)
def test_the_wrapper_takes_capabilities_out_of_the_bundle(
    runtime: Runtime, tmp_path: Path, held: list[str], indent: int | None
) -> None:
    """`create` finds a bundle without the missing ones, in whatever place they stood."""
    process = {"capabilities": dict.fromkeys(SETS, held), "cwd": "/"}
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"process": process}, indent=indent))
    runtime("--root", "/r", "create", "--bundle", str(tmp_path), "id")
    left = json.loads(config.read_text())["process"]
    assert left == {"capabilities": {name: ["CAP_CHOWN", "CAP_KILL"] for name in SETS}, "cwd": "/"}


def test_the_wrapper_leaves_nothing_of_a_set_of_missing_ones(
    runtime: Runtime, tmp_path: Path
) -> None:
    """A set with only the missing ones becomes an empty one."""
    (tmp_path / "config.json").write_text('{"ambient":["CAP_BPF","CAP_SYS_RESOURCE"],"args":[]}')
    runtime("run", f"--bundle={tmp_path}", "id")
    assert json.loads((tmp_path / "config.json").read_text()) == {"ambient": [], "args": []}


def test_the_wrapper_touches_nothing_else(runtime: Runtime, tmp_path: Path) -> None:
    """The same words as arguments or in the environment stay, and so do commas in brackets."""
    spec = {
        "args": ["capsh", "CAP_BPF", "a, ]", '"bounding":["CAP_BPF"]'],
        "env": ['X="CAP_BPF"'],
        "bounding": ["CAP_BPF", "CAP_KILL"],
    }
    (tmp_path / "config.json").write_text(json.dumps(spec))
    runtime("create", "--bundle", str(tmp_path), "id")
    left = json.loads((tmp_path / "config.json").read_text())
    assert left == {**spec, "bounding": ["CAP_KILL"]}
    assert sorted(path.name for path in tmp_path.glob("config*")) == ["config.json"]


@pytest.mark.parametrize("form", ["--process {}", "--process={}"])
def test_the_wrapper_takes_capabilities_out_of_an_exec(
    runtime: Runtime, tmp_path: Path, form: str
) -> None:
    """`exec` gets its process file without the missing ones."""
    file = tmp_path / "process"
    file.write_text('{"capabilities":{"effective":["CAP_BPF","CAP_KILL"]}}')
    runtime("exec", *form.format(file).split(), "id")
    assert json.loads(file.read_text()) == {"capabilities": {"effective": ["CAP_KILL"]}}


def test_the_wrapper_passes_all_on(runtime: Runtime) -> None:
    """Arguments with blanks, and runc's exit status, go through as they are."""
    done = runtime("kill", "an id", "9")
    assert (done.stdout, done.stderr, done.returncode) == ("kill\nan id\n9\n", "", 5)


def test_our_configuration_keeps_the_machines() -> None:
    """Settings and runtimes of the machine stay; ours is added and becomes the default."""
    base = '{"mtu": 1400, "runtimes": {"x": {"path": "/x"}}, "hosts": ["fd://"], "pidfile": "/p"}'
    assert json.loads(_capabilities.daemon_config(base, "/w")) == {
        "mtu": 1400,
        "runtimes": {"x": {"path": "/x"}, _capabilities.RUNTIME: {"path": "/w"}},
        "default-runtime": _capabilities.RUNTIME,
    }


def test_a_machine_that_lacks_nothing_gets_no_runtime() -> None:
    """Without a wrapper the configuration is the machine's, here an empty one."""
    assert json.loads(_capabilities.daemon_config("", None)) == {}


@pytest.mark.parametrize("base", ["[]", "{"])
def test_a_configuration_that_is_no_object_is_refused(base: str) -> None:
    """A daemon.json that dockerd could not read is not passed on."""
    with pytest.raises(ValueError, match=r"not a JSON object|Expecting"):
        _capabilities.daemon_config(base, None)
