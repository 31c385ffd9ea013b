"""The hook pytest_dind_create_container: what it changes is so, what it breaks is its own."""

from __future__ import annotations

import pytest

from .projects import Project
from .traces import Traces

pytestmark = pytest.mark.requires_isolation


def test_container_that_a_hook_changes(project: Project) -> None:
    """All daemons, a factory's and each worker's too, are as the hook has them."""
    project.write(
        """
        import docker.types

        def pytest_dind_create_container(config, daemon, mode, create):
            assert config.rootpath.name == "p" and mode in ("dind", "sysbox")
            create["hostname"] = f"host-of-{daemon}"
            create["labels"]["mine"] = daemon
            limit = docker.types.Ulimit(name="nofile", soft=2048, hard=2048)
            create["host_config"]["Ulimits"] = [limit]
            create["command"].append("--label=added=yes")
        """,
        "conftest.py",
    )
    project.write(
        """
        import pytest

        @pytest.mark.parametrize("n", range(2))
        def test_it(n, dind_daemon, dind_client, worker_id):
            assert dind_client.info()["Labels"] == ["added=yes"]
            assert dind_daemon.container.labels["mine"] == "main"
            told = dind_daemon.exec(["sh", "-c", "hostname; ulimit -n; ulimit -Hn"]).stdout
            assert told.split() == ["host-of-main", "2048", "2048"]

        def test_factory(dind_factory):
            assert dind_factory("other").container.labels["mine"] == "other"
        """
    )
    assert "3 passed" in project.run("-n2", "--dind-scope=worker")


def test_container_that_a_hook_breaks(project: Project, traces: Traces) -> None:
    """Each error names the hook, its file and what it has changed; nothing stays of the daemon."""
    project.write(
        """
        def pytest_dind_create_container(daemon, create):
            if daemon == "raises":
                1 / 0
            elif daemon == "unlabelled":
                create["labels"] = {"mine": "yes"}
            elif daemon == "unmounted":
                create["host_config"]["Mounts"].clear()
            elif daemon == "renamed":
                create["name"] = "mine"
            elif daemon == "unhosted":
                del create["host_config"]
            elif daemon == "refused":
                create["host_config"]["Devices"] = [{"PathOnHost": "/nonexistent/device"}]
            elif daemon == "unknown":
                create["nonsense"] = 1
            elif daemon == "ended":
                create["command"].append("--nonsense")
            elif daemon == "mistyped":
                create["ports"] = 7
        """,
        "conftest.py",
    )
    project.write(
        """
        import pytest
        from pytest_dind import DaemonExited, SettingsError

        BROKEN = {
            "raises": ["fails for the daemon 'raises'", "ZeroDivisionError", "1 / 0"],
            "unlabelled": ["its labels, now {'mine': 'yes'}", "changed: labels.pytest-dind.run"],
            "unmounted": ["the mount at ", "changed: host_config.Mounts"],
            "renamed": ["name 'pytest-dind-", "now 'mine'"],
            "unhosted": ["host_config as a dict, now None"],
            "refused": ["/nonexistent/device", "changed: host_config.Devices"],
            "unknown": ["TypeError", "nonsense", "create_container"],
            "mistyped": ["changed: ports"],
            "ended": ["unknown flag: --nonsense", "changed: command"],
        }

        @pytest.mark.parametrize("name", BROKEN)
        def test_it(dind_factory, name):
            with pytest.raises(DaemonExited if name == "ended" else SettingsError) as caught:
                dind_factory(name)
            for text in ["hook pytest_dind_create_container of", "conftest.py", *BROKEN[name]]:
                assert text in str(caught.value)
            assert "To fix this" in str(caught.value)
        """
    )
    assert "9 passed" in project.run()
    traces.assert_nothing_left()
