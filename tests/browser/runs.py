"""Runs as reports have them: a small one in which much happens, and a large one."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

from pytest_dind.report import journal
from pytest_dind.report.journal import Journal

LOG = """\
2026-11-29T01:02:03Z LOG:  database system was shut down at 2026-11-29 01:02:02 UTC
2026-11-29T01:02:03Z LOG:  listening on IPv4 address "0.0.0.0", port 5432
2026-11-29T01:02:04Z FATAL:  could not write lock file "postmaster.pid": No space left on device
"""
HOSTILE = "</script><script>document.title='taken'</script><!-- <script> \u2028 & \" ' `${1}`"
MESSAGE = """\
tests/test_store.py:41: in test_index_is_rebuilt
    client.containers.run("postgres:17", detach=True, name="db-2").wait_for("healthy")
E   pytest_dind.errors.ContainerFailed: The container db-2 ended while it was waited for.
E   Evidence:
E     exit code 1
"""
_AREAS = ("catalogue", "checkout", "index", "payments", "search", "store", "users")


def _test(made: Journal, worker: str, nodeid: str, start: float, **facts: Any) -> float:
    setup, call = facts.pop("setup", 0.01), facts.pop("call", 0.1)
    outcome = facts.get("outcome", "passed")
    phases, at = [], start
    for name, seconds in (("setup", setup), ("call", call), ("teardown", 0.02)):
        its = outcome if name == "call" or (name == "setup" and outcome == "error") else "passed"
        phases.append({"name": name, "start": at, "seconds": seconds, "outcome": its})
        at = round(at + seconds, 4)
    given = {"outcome": "passed", "start": start, "end": at, "phases": phases, **facts}
    made.put("tests", f"{worker} {nodeid}", nodeid=nodeid, worker=worker, **given)
    return at


def _begin(path: Path, project: str) -> Journal:
    made = Journal(journal.begin(str(path)), time.time())
    made.put(
        "run",
        "",
        started="2026-11-29T01:02:00.000+00:00",
        plugin="0.1.0",
        pytest="9.2.0",
        python="3.13.1",
        platform="Linux",
        project=project,
    )
    return made


def _daemon(made: Journal, name: str, start: float, end: float | None, pull: float) -> None:
    ready = start + pull + 0.74
    phases = [{"name": "start", "start": start + pull, "seconds": 0.74}]
    if pull:
        phases.insert(0, {"name": "pull", "start": start, "seconds": pull})
    made.put(
        "daemons",
        name,
        name=name,
        mode="dind",
        version="28.5.2",
        driver="overlay2",
        reused=False,
        start=start,
        ready=ready,
        end=end,
        phases=phases,
    )


def small(path: Path, *, cut_short: bool = False) -> Path:
    """Write a run of two workers in which much goes wrong."""
    made = _begin(path, "shop")
    _daemon(made, "main", 0.2, None if cut_short else 19.2, 3.1)
    _daemon(made, "mirror", 6.0, None if cut_short else 18.7, 0)
    file = "tests/test_store.py"
    made.put("workers", "gw0", start=0.4)
    made.put("workers", "gw1", start=0.45)
    common = {"daemon": "main", "log": LOG}
    at = _test(made, "gw0", "tests/test_users.py::test_plain", 0.5, call=0.3)
    at = _test(made, "gw0", f"{file}::TestOrders::test_created", at, setup=3.6, call=1.2)
    made.put(
        "containers",
        "c-db",
        name="db-1",
        image="postgres:17",
        worker="gw0",
        test="",
        created=4.2,
        started=4.4,
        ended=18.9,
        exit_code=0,
        removed=True,
        **common,
    )
    made.put(
        "containers",
        "c-1",
        name="orders-1",
        image="shop/orders:dev",
        worker="gw0",
        test=f"{file}::TestOrders::test_created",
        created=4.5,
        started=4.7,
        ended=5.2,
        exit_code=0,
        removed=True,
        **common,
    )
    made.put(
        "images",
        "i-1",
        name="shop/orders:dev",
        action="built",
        daemon="main",
        worker="gw0",
        test=f"{file}::TestOrders::test_created",
        start=4.2,
        end=4.5,
    )
    bad = f"{file}::test_index_is_rebuilt[two nodes, one of which is slow to answer]"
    at = _test(made, "gw0", bad, at, call=2.4, outcome="failed", message=MESSAGE, daemons=["main"])
    made.put(
        "containers",
        "c-2",
        name="db-2",
        image="postgres:17",
        worker="gw0",
        test=bad,
        created=5.5,
        started=5.6,
        ended=7.4,
        exit_code=1,
        removed=False,
        **common,
    )
    made.put(
        "leaks", "l-1", at=7.8, test=bad, worker="gw0", kind="container", name="db-2",
        text="container db-2 (postgres:17, exited)",
    )  # fmt: skip
    made.put(
        "leaks", "l-2", at=7.8, test=bad, worker="gw0", kind="volume", name="data",
        text="volume data",
    )  # fmt: skip
    at = _test(made, "gw0", "tests/test_search.py::test_words", at, call=4.1)
    made.put(
        "containers",
        "c-3",
        name="search",
        image="search:3",
        worker="gw0",
        test="tests/test_search.py::test_words",
        created=8.2,
        started=8.4,
        ended=11.1,
        exit_code=137,
        oom=True,
        daemon="main",
        removed=True,
        log="building the index\nKilled\n",
        health="curl: (7) Failed to connect to localhost port 9200\n",
    )
    at = _test(made, "gw0", f"tests/test_text.py::test_shown[{HOSTILE}]", at, message=HOSTILE)
    other = _test(
        made, "gw1", "tests/test_checkout.py::test_paid", 0.6, setup=4.1, call=3.0, outcome="error",
        message="E   fixture 'payments' failed: connection refused",
    )  # fmt: skip
    other = _test(
        made, "gw1", "tests/test_gpu.py::test_fast", other, call=0, outcome="skipped",
        message="Skipped: needs --runtime nvidia",
    )  # fmt: skip
    other = _test(made, "gw1", "tests/test_mirror.py::test_copied", other, setup=1.5, call=6.0)
    made.put(
        "containers",
        "c-4",
        name="registry",
        image="registry:2",
        worker="gw1",
        test="tests/test_mirror.py::test_copied",
        daemon="mirror",
        created=9.0,
        started=9.2,
        ended=14.9,
        exit_code=0,
        removed=True,
        log="listening on [::]:5000\n",
    )
    # It was there still when its daemon ended.
    made.put(
        "containers",
        "c-5",
        name="mirrored",
        image="registry:2",
        worker="gw1",
        test="tests/test_mirror.py::test_copied",
        daemon="mirror",
        created=10.0,
        started=10.2,
        removed=False,
    )
    made.put(
        "networks",
        "n-1",
        name="mirror-net",
        worker="gw1",
        test="tests/test_mirror.py::test_copied",
        daemon="mirror",
        start=8.9,
        end=15.0,
    )
    _test(made, "gw1", "tests/test_mirror.py::test_slow", other, call=2.2, outcome="xfailed")
    made.put("events", "e-1", daemon="main", at=5.6, text="container db-2: start")
    made.put("events", "e-2", daemon="main", at=7.4, text="container db-2: die, exit code 1")
    made.put("gaps", "g-1", daemon="main", start=12.0, end=13.1, text="the daemon was restarted")
    if cut_short:
        made.put(
            "tests", "gw0 tests/test_users.py::test_last", nodeid="tests/test_users.py::test_last",
            worker="gw0", start=at, outcome="running",
        )  # fmt: skip
    else:
        made.put("run", "", end=19.4, exit_status=1)
        made.finish()
    made.close()
    return path


def clusters(path: Path) -> Path:
    """Write a run with a Kubernetes cluster and a swarm."""
    made = _begin(path, "fleet")
    for name in ("kubernetes1", "swarm1-node1", "swarm1-node2"):
        _daemon(made, name, 0.2, 9.5, 0)
    made.put(
        "clusters", "k", kind="kubernetes", name="kubernetes1", version="v1.34.2", worker="main",
        daemons=["kubernetes1"], start=0.2, ready=4.1, end=9.5,
        nodes=[{"name": "server", "role": "server"}, {"name": "agent1", "role": "agent"}],
    )  # fmt: skip
    roles = {"swarm1-node1": "manager", "swarm1-node2": "worker"}
    made.put(
        "clusters", "s", kind="swarm", name="swarm1", worker="main", start=0.2, ready=2.2, end=9.5,
        daemons=[*roles], nodes=[{"name": name, "role": role} for name, role in roles.items()],
    )  # fmt: skip
    test = "tests/test_web.py::test_rolls_out"
    made.put("workers", "main", start=0.1)
    _test(made, "main", test, 4.2, call=3.0, outcome="failed", message=MESSAGE)
    made.put(
        "namespaces", "k test-rolls-out-1", name="test-rolls-out-1", cluster="k", worker="main",
        test=test, start=4.2, end=7.3,
        log="dind log of pod 'web' in namespace 'test-rolls-out-1', exited with code 3\nno config",
    )  # fmt: skip
    made.put("run", "", end=9.6, exit_status=1)
    made.finish()
    made.close()
    return path


def large(path: Path, *, tests: int = 2000, containers: int = 5000) -> Path:
    """Write a run of four workers with thousands of tests and containers."""
    chance = random.Random(1)
    made = _begin(path, "warehouse")
    workers = [f"gw{number}" for number in range(4)]
    for number, worker in enumerate(workers):
        made.put("workers", worker, start=0.5)
        _daemon(made, f"main-{worker}", 0.3 + number / 10, None, 2.0 if not number else 0)
    at = dict.fromkeys(workers, 3.0)
    left = containers
    for number in range(tests):
        worker = min(workers, key=lambda name: at[name])
        area = chance.choice(_AREAS)
        nodeid = f"tests/{area}/test_{area}_{number % 40}.py::test_{area}_behaves[{number}]"
        outcome = chance.choices(("passed", "failed", "skipped"), (95, 3, 2))[0]
        start = at[worker]
        message = MESSAGE if outcome == "failed" else None
        facts = {"outcome": outcome} | ({"message": message} if message else {})
        call = chance.expovariate(2.0)
        at[worker] = _test(made, worker, nodeid, start, call=call, **facts)
        for one in range(min(left, -(-left // (tests - number)))):
            left -= 1
            code = 1 if outcome == "failed" and not one else 0
            began = start + chance.random() * call / 2
            name = f"{area}-{number}-{one}"
            made.put(
                "containers",
                f"c-{number}-{one}",
                name=name,
                image=f"warehouse/{area}:dev",
                worker=worker,
                test=nodeid,
                daemon=f"main-{worker}",
                created=round(began, 4),
                started=round(began + 0.05, 4),
                ended=round(began + 0.05 + chance.random() * call / 2, 4),
                exit_code=code,
                removed=True,
                log=LOG * 3,
            )
            if chance.random() < 0.002:
                text = f"container {name} (warehouse/{area}:dev, exited)"
                made.put(
                    "leaks", f"l-{number}", at=at[worker], test=nodeid, worker=worker,
                    kind="container", name=name, text=text,
                )  # fmt: skip
    end = max(at.values()) + 0.4
    for worker in workers:
        made.put("daemons", f"main-{worker}", end=end)
    made.put("run", "", end=end, exit_status=1)
    made.finish()
    made.close()
    return path
