"""Other plugins that run tests in ways of their own."""

from __future__ import annotations

import pytest

from .projects import Project
from .traces import Traces


def test_rerunfailures(project: Project, traces: Traces) -> None:
    """A test that is run again has the same daemon, also after an error in its set-up."""
    project.write(
        """
        import pytest

        ids = []

        @pytest.fixture
        def network(dind_daemon, dind_client):
            ids.append(dind_daemon.id)
            assert len(ids) > 1
            return dind_client.networks.create(f"net{len(ids)}")

        def test_flaky(network):
            assert len(ids) > 2
            assert len(set(ids)) == 1
        """
    )
    output = project.run("-p", "rerunfailures", "--reruns=2")

    assert "1 passed, 2 rerun" in output
    assert output.count("dind: daemon 'main' ready in ") == 1
    traces.assert_nothing_left(seconds=1)


def test_rerunfailures_and_a_daemon_that_is_lost(project: Project, traces: Traces) -> None:
    """A test that is run again after the daemon was lost fails again, on the same account."""
    project.write("def test_it(dind_daemon, dind_client): dind_daemon.stop(); dind_client.ping()")
    output = project.run("-p", "rerunfailures", "--reruns=2", code=1, seconds=20)

    assert "2 rerun" in output
    assert "DaemonLost: The daemon 'main'" in output
    traces.assert_nothing_left(seconds=1)


_HANGS = """
    import pytest, time

    @pytest.mark.timeout(1, func_only=True)
    def test_that_hangs(dind_client):
        dind_client.networks.create("of-plugins")
        time.sleep(60)

    def test_later(dind_client):
        assert dind_client.ping()
"""


def test_timeout_by_signal(project: Project, traces: Traces) -> None:
    """A test that pytest-timeout interrupts leaves the daemon to the next one."""
    project.write(_HANGS)
    output = project.run("-o", "timeout_method=signal", code=1)

    assert "1 failed, 1 passed" in output
    traces.assert_nothing_left(seconds=1)


@pytest.mark.parametrize("options", [[], ["-n2"]])
def test_timeout_by_thread(project: Project, traces: Traces, options: list[str]) -> None:
    """A process that pytest-timeout ends leaves nothing; under xdist the others go on."""
    project.write(_HANGS)
    output = project.run("-o", "timeout_method=thread", *options, code=1)

    if options:
        assert "crashed while running 'test_it.py::test_that_hangs'" in output
        assert "1 failed, 1 passed" in output
    else:
        assert "Timeout" in output
    traces.assert_nothing_left(seconds=3)


@pytest.mark.requires_isolation
def test_timeout_during_the_start(project: Project, traces: Traces, slow_image: str) -> None:
    """A start that pytest-timeout interrupts leaves nothing, and a later test may try again."""
    project.write(
        """
        import pytest

        @pytest.mark.timeout(1)
        def test_it(dind_client):
            pass
        """
    )
    output = project.run(
        *("-o", "timeout_method=signal", f"--dind-image={slow_image}"), code=1, seconds=20
    )

    assert "Timeout" in output
    traces.assert_nothing_left(seconds=1)


def test_randomly(project: Project, traces: Traces) -> None:
    """Tests in another order, with the random seed set anew for each, have one daemon."""
    project.write(
        """
        import pytest

        @pytest.mark.parametrize("number", range(5))
        def test_it(dind_daemon, dind_client, number):
            assert dind_client.ping()
            with open("ids", "a") as file:
                print(number, dind_daemon.id, file=file)
        """
    )
    output = project.run("-p", "randomly", "-n2")
    lines = [line.split() for line in (project.path / "ids").read_text().splitlines()]

    assert "Using --randomly-seed=" in output
    assert len({daemon for _, daemon in lines}) == 1
    traces.assert_nothing_left(seconds=1)
