"""The mode in force and the markers' requirements, on a real engine, whichever it is."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from conftest import DAEMON_IMAGE
from pytest_dind import ModeUnavailable, Settings
from pytest_dind.engine.engine import Engine
from pytest_dind.lifetime.layout import LEASE
from pytest_dind.runs.run import Run

from .conftest import has_sysbox
from .projects import Project
from .traces import Traces, created

_BECAUSE = {
    "sysbox": "auto: sysbox, because a container proved that it works",
    "dind": "auto: dind, because the runtime sysbox-runc is not registered",
}


@pytest.fixture
def picked(engine: Engine) -> str:
    """The mode that `auto` takes on this engine."""
    mode = "sysbox" if has_sysbox() else "dind"
    if mode == "dind" and "sysbox-runc" in engine.client.info()["Runtimes"]:
        pytest.skip("sysbox-runc is registered on this engine, but does not work")
    return mode


@pytest.fixture
def looks(picked: str) -> int:
    """How many containers a run makes to find the mode out."""
    return 1 if picked == "sysbox" else 0


# The probe of a mode is a container with control groups of its own.
@pytest.mark.cgroups
@pytest.mark.parametrize("options", [[], ["-n2"], ["-n2", "--dind-scope=worker"]], ids=" ".join)
def test_auto(
    project: Project, engine: Engine, room: Path, picked: str, looks: int, options: list[str]
) -> None:
    """`auto` takes Sysbox where it works, else dind, and says why; all of a run look once."""
    project.write(
        f"""
        import pytest

        @pytest.mark.parametrize("n", range(4))
        def test_it(dind_daemon, dind_client, dind_mode, n):
            assert dind_mode == dind_daemon.mode == {picked!r}
            assert dind_daemon.user_namespace is {picked == "sysbox"}
            assert dind_client.ping()
        """
    )
    began = time.time()
    output = project.run("--dind-mode=auto", *options)

    assert "4 passed" in output
    assert output.count(_BECAUSE[picked]) == 1
    assert f"(mode {picked}, Docker " in output
    assert created(engine.client, room, "probe", began) == looks
    assert 1 <= created(engine.client, room, "daemon", began) <= len(options or [1])


def test_skipped_before_a_daemon(
    project: Project, engine: Engine, room: Path, picked: str, looks: int
) -> None:
    """What the mode rules out is skipped without a daemon, whatever fixtures it asks for."""
    other = {"sysbox": "dind", "dind": "sysbox"}[picked]
    project.write(
        f"""
        import pytest

        @pytest.fixture(scope="session", autouse=True)
        def of_the_session(dind_client): raise SystemExit
        @pytest.mark.requires_engine(">=1")
        @pytest.mark.dind_modes({other!r})
        @pytest.mark.parametrize("n", range(4))
        def test_it(dind_daemon, n): raise SystemExit
        """
    )
    for options in ([], ["-n2"]):
        began = time.time()
        output = project.run("--dind-mode=auto", "-rs", *options)

        assert "4 skipped" in output
        assert f"the mode in force is {picked}. To run it, use --dind-mode={other}" in output
        assert created(engine.client, room, "daemon", began) == 0
        assert created(engine.client, room, "probe", began) <= looks * 2


def test_requires_engine(project: Project) -> None:
    """A version is that of the daemon's engine; what it rules out is skipped."""
    project.write(
        """
        import pytest

        @pytest.mark.requires_engine(">=20.10")
        def test_new(dind_client):
            version = dind_client.version()["Version"].partition("+")[0]
            assert int(version.partition(".")[0]) >= 20
        @pytest.mark.requires_engine("<20.10")
        def test_old(dind_client): raise SystemExit
        @pytest.mark.requires_engine("<20.10")
        class TestOld:
            def test_it(self): raise SystemExit
        """
    )
    output = project.run("-rs")
    assert "1 passed, 2 skipped" in output
    assert "requires_engine: the daemon's engine is " in output

    output = project.run("-rs", "-n2", "--dind-require=engine", code=1)
    assert "1 passed, 2 errors" in output


@pytest.mark.alone
def test_sysbox_where_it_is_not(engine: Engine, room: Path, traces: Traces, picked: str) -> None:
    """Sysbox by its name where it isn't is an error at once, without a container."""
    if picked == "sysbox":
        pytest.skip("this engine has Sysbox")
    began, clock = time.time(), time.monotonic()
    run = Run.join(room, print)
    try:
        with pytest.raises(ModeUnavailable) as caught:
            run.daemon(Settings(mode="sysbox", image=DAEMON_IMAGE))
    finally:
        run.close()
        (room / LEASE).unlink()

    assert time.monotonic() - clock < 8
    assert len(caught.value.remedy) == 3
    assert created(engine.client, room, "probe", began) == 0
    assert created(engine.client, room, "daemon", began) == 0
    assert traces.containers() == []


def test_data_root(project: Project, traces: Traces) -> None:
    """A data-root for two daemons is refused, on the command line and in an override."""
    project.write("def test_it(dind_client): raise SystemExit")
    for options in (
        ["--dind-arg=--data-root=/x"],
        ["--dind-arg=--data-root", "--dind-arg=/x"],
        ["--dind-arg=-g", "--dind-arg=/x"],
    ):
        assert "two daemons on one data-root destroy it" in project.run(*options, code=4)

    project.write(
        """
        import pytest

        @pytest.fixture(scope="session")
        def dind_config(dind_config):
            return dind_config.replace(arg=["--data-root=/x"])
        """,
        "conftest.py",
    )
    output = project.run("--dind-unavailable=skip", code=1)
    assert "SettingsError: --dind-arg: '--data-root=/x' is not taken." in output
    assert traces.containers() == []
