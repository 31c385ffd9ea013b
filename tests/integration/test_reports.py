"""What happened in the daemon stands in the report of the test that failed."""

from __future__ import annotations

import contextlib
import json
import re
from uuid import uuid4
from xml.etree import ElementTree as ET

import docker
import pytest

from conftest import NESTED_IMAGE
from pytest_dind.engine.engine import Engine

from .projects import Project

# A dozen containers in a row, on a machine that other tests use too.
_SECONDS = 200
_HELPERS = f"""
    import docker, pytest, time

    def run(client, script, **options):
        command = ["sh", "-c", script]
        return client.containers.run({NESTED_IMAGE!r}, command, detach=True, init=True, **options)

    def until_gone(client, name):
        deadline = time.monotonic() + 60
        while client.containers.list(all=True, filters={{"name": name}}, ignore_removed=True):
            assert time.monotonic() < deadline
"""
_SUITE = """
    from helpers import *

    @pytest.fixture(scope="session")
    def wide(dind_client):
        return run(dind_client, "echo says wide; sleep 600", name="wide")

    @pytest.fixture
    def own(dind_client, dind_daemon, wide):
        container = run(dind_client, "echo says own; sleep 600", name="own")
        dind_daemon.wait_for(container, log="says own")
        yield
        assert not "the teardown"

    @pytest.fixture
    def broken(dind_client):
        assert run(dind_client, "echo says broken; exit 3", name="broken").wait() == 0

    def test_removed(dind_client):
        run(dind_client, "echo says removed; sleep LIVES", name="removed", auto_remove=True)
        until_gone(dind_client, "removed")
        assert 0

    def test_forced(dind_client, dind_daemon):
        container = run(dind_client, "echo says forced; sleep 600", name="forced")
        dind_daemon.wait_for(container, log="says forced")
        container.remove(force=True)
        assert 0

    def test_oom(dind_client):
        greedy = run(dind_client, "exec tail /dev/zero", name="greedy", mem_limit="24m")
        assert greedy.wait()["StatusCode"] == 0

    def test_health(dind_client, dind_daemon):
        check = {"test": ["CMD-SHELL", "echo no; false"], "interval": 10**8, "retries": 1}
        sick = run(dind_client, "sleep 600", name="sick", healthcheck=check)
        dind_daemon.wait_for(sick, healthy=True)

    def test_setup(broken): ...

    def test_teardown(dind_clean, own): ...

    def test_secret(dind_client):
        run(dind_client, "echo the se''cret; printf '\\\\377\\\\0'", name="hidden").wait()
        assert 0

    def test_passes(dind_client):
        run(dind_client, "echo says passes", name="passes").wait()

    def test_without_a_daemon():
        assert 0
"""


@pytest.fixture
def helped(project: Project) -> Project:
    """A project with helpers, whose daemon has the nested image."""
    project.write(_HELPERS, "helpers.py")
    project.options = (*project.options, "--dind-load", NESTED_IMAGE, "--tb=line")
    return project


def _sections(output: str) -> list[tuple[str, str]]:
    """The sections of a run's output: titles and texts."""
    parts = re.split(r"^-+ (dind .*?) -+\n", output, flags=re.MULTILINE)[1:]
    texts = (re.split(r"^[-=_]{3,}", text, flags=re.MULTILINE)[0] for text in parts[1::2])
    return list(zip(parts[::2], texts, strict=True))


def _of(sections: list[tuple[str, str]], container: str) -> str:
    """The title and the text of a container's section, of which there is one."""
    (found,) = (
        f"{title}\n{text}" for title, text in sections if f"container '{container}'" in title
    )
    return found


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "shared"])
def test_sections(helped: Project, mode: str, workers: tuple[str, ...]) -> None:
    """Each cause is told, of containers too that are gone; so through xdist, and as JUnit has it.

    Where workers share the daemon, each has the labels of what it makes, since a test is cleaned up
    after.
    """
    # On the machine's own engine a log is asked for only when its container has started.
    helped.write(_SUITE.replace("LIVES", "1" if mode == "socket" else "0"))
    xml = helped.path / "junit.xml"
    # In mode socket there is no daemon to give a variable to.
    secret = () if mode == "socket" else ("--dind-env=TOKEN=secret",)
    options = ("--tb=short", *secret, f"--junitxml={xml}")
    output = helped.run(*workers, *options, code=1, seconds=_SECONDS)
    told = _sections(output)

    assert _of(told, "removed").startswith("dind log of container 'removed' (" + NESTED_IMAGE)
    assert "exited with code 0, removed\nMade by the test." in _of(told, "removed")
    assert _of(told, "removed").endswith("Its last log lines:\nsays removed\n")
    assert "exited with code 137, removed" in _of(told, "forced")
    assert _of(told, "forced").endswith("Its last log lines:\nsays forced\n")
    assert "exited with code 137, killed for want of memory (OOM)\n" in _of(told, "greedy")
    assert "running, unhealthy\n" in _of(told, "sick")
    assert "waited for until it is healthy, in vain.\n" in _of(told, "sick")
    assert "Its health check runs: echo no; false\n" in _of(told, "sick")
    assert "Health check, exit code 1: no\n" in _of(told, "sick")
    assert "Made by the test. It has exited with code 3." in _of(told, "broken")
    assert ", removed" in _of(told, "own")
    assert "says own\n" in _of(told, "own")
    # The engine itself keeps no byte that is no UTF-8.
    hidden = "***" if secret else "secret"
    assert f"the {hidden}\n\ufffd\\x00\n" in _of(told, "hidden")
    assert not [title for title, _ in told if "'passes'" in title]
    assert "by another process" not in output
    wide = [text for title, text in told if "'wide'" in title]
    assert wide
    assert all(text.startswith("Made by a fixture of a wider scope. It is run") for text in wide)
    events = "".join(text for title, text in told if title.startswith("dind events"))
    assert re.search(r"\d container greedy: die, exit code 137\n", events)

    suite = ET.parse(xml).getroot()
    facts = {one.get("name"): one.get("value") for one in suite.findall(".//properties/property")}
    assert {*facts} == {"dind.mode", "dind.engine", "dind.ready_seconds"}
    outputs = {
        case.get("name"): "".join(out.text or "" for out in case.findall("system-out"))
        for case in suite.iter("testcase")
    }
    assert "says removed" in outputs["test_removed"]
    assert "says broken" in outputs["test_setup"]
    assert "says own" in outputs["test_teardown"]
    assert outputs["test_passes"] == outputs["test_without_a_daemon"] == ""


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        (("--dind-logs=off",), []),
        (("--show-capture=no",), []),
        (("--show-capture=log", "--dind-log-lines=1"), ["failed"]),
        (("-rP", "--dind-logs=all"), ["passed", "failed"]),
    ],
    ids=["off", "no capture", "log", "all"],
)
def test_whose_report(helped: Project, options: tuple[str, ...], shown: list[str]) -> None:
    """The options choose whose reports have sections, and pytest's own whether they are shown."""
    helped.write(
        """
        from helpers import *

        @pytest.mark.parametrize("name", ["passed", "failed"])
        def test_it(dind_client, name):
            run(dind_client, "echo one; echo two", name=name).wait()
            assert name == "passed"
        """
    )
    told = _sections(helped.run(*options, code=1))

    names = [name for name in ("passed", "failed") if f"container '{name}'" in str(told)]
    assert names == shown
    if shown:
        lines = "two\n" if "--dind-log-lines=1" in options else "one\ntwo\n"
        assert f"Its last log lines:\n{lines}" in _of(told, "failed")


@pytest.mark.requires_isolation
def test_restart_of_the_daemon(helped: Project) -> None:
    """The report goes on after it, and says for which time it may have missed something."""
    helped.write(
        """
        from helpers import *

        def test_it(dind_client, dind_daemon):
            run(dind_client, "echo says before; exec sleep 600", name="before")
            dind_daemon.restart()
            after = run(dind_client, "echo says after", name="after", auto_remove=True)
            until_gone(dind_client, "after")
            assert 0
        """
    )
    told = _sections(helped.run(code=1))

    assert "says before\n" in _of(told, "before")
    assert "exited with code" in _of(told, "before")
    assert "says after\n" in _of(told, "after")
    assert re.search(r"^The events broke off from [\d:.]+ to [\d:.]+, as when", str(told[-1][1]))


def test_factory(helped: Project) -> None:
    """A daemon of the factory has its own sections, in the tests that use it."""
    helped.write(
        """
        from helpers import *

        def test_it(dind_factory):
            client = dind_factory("second", load=[IMAGE]).client()
            run(client, "echo says second", name="it").wait()
            client.close()
            assert 0
        """.replace("IMAGE", repr(NESTED_IMAGE))
    )
    told = _sections(helped.run(code=1))

    assert "says second\n" in _of(told, "it")
    assert told[-1][0] == "dind events of daemon 'second' since the test began"


@pytest.mark.requires_isolation
def test_daemon_that_is_killed(helped: Project) -> None:
    """Its section says how it ended, when, and what it logged; its lane on the page ends then."""
    helped.write(
        """
        from helpers import *

        def test_it(dind_factory):
            daemon = dind_factory("doomed", load=[IMAGE])
            client = daemon.client()
            run(client, "sleep 600", name="in-it")
            daemon.exec(["sh", "-c", "kill -9 $(cat /var/run/docker.pid)"], check=False)
            while client.ping():
                pass
        """.replace("IMAGE", repr(NESTED_IMAGE))
    )
    sections = _sections(helped.run("--dind-report=report.html", code=1))

    text = dict(sections)["dind log of daemon 'doomed' since the test began, which has ended"]
    assert re.match(r"The daemon ended at [\d:.]+\. Exit code 137: it was killed \(SIGKILL\)", text)
    assert ", running, as far as is known\nMade by the test." in _of(sections, "in-it")
    found = json.loads((helped.path / "report.html.json").read_text())
    (daemon,), (test,) = found["daemons"], found["tests"]
    assert daemon["name"] == "doomed"
    assert test["start"] < daemon["end"] <= test["end"]


@pytest.mark.parametrize("guard", ["own", "label"])
def test_machines_own_engine(helped: Project, engine: Engine, guard: str) -> None:
    """In mode socket the report has what the run made, and nothing of anybody else."""
    foreign = f"foreign-{uuid4().hex[:8]}"
    mine = f"mine-{uuid4().hex[:8]}"
    helped.write(
        f"""
        from helpers import *

        def test_it(dind_client):
            engine = docker.DockerClient({engine.url!r})
            run(engine, "echo says foreign", name={foreign!r}).wait()
            engine.close()
            run(dind_client, "echo says mine", name={mine!r}).wait()
            assert 0
        """
    )
    try:
        output = helped.run("--dind-mode=socket", f"--dind-guard={guard}", code=1)
    finally:
        with contextlib.suppress(docker.errors.NotFound):
            engine.client.containers.get(foreign).remove(force=True)
    told = _sections(output)

    assert "says mine\n" in _of(told, mine)
    assert not [one for one in told if foreign in str(one)]
