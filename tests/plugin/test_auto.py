"""The mode in force: found out once a run, told, and explained, in whole pytest runs.

The engine is none; it says which runtimes are registered, and refuses each container.
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_dind.settings import AUTO, MODES

from ..support import Answer, FakeEngine, Reply

_DOWN = (
    "OCI runtime create failed: failed to register with sysbox-mgr: failed to invoke Register via "
    "grpc: rpc error: code = Unavailable desc = connection error: unknown"
)


class _Engine:
    """An engine that runs no container, and what it was asked for."""

    def __init__(self, path: Path) -> None:
        self.runtimes: dict[str, object] = {"runc": {}}
        self.asked: Counter[str] = Counter()
        self.image = Answer(body={"Id": "sha256:1", "Config": {}})
        self.info: Answer | None = None
        answers: dict[str, Reply] = {
            "GET /version": Answer(body={"ApiVersion": "1.41"}),
            "GET /info": lambda: self._count(
                "info", self.info or Answer(body={"Runtimes": self.runtimes})
            ),
            "GET /images/docker:dind/json": lambda: self._count("image", self.image),
            "POST /images/create": lambda: self._count("pull", Answer(404, {"message": "denied"})),
            "POST /containers/create": lambda: self._count(
                "container", Answer(500, {"message": _DOWN})
            ),
            "GET /containers/json": Answer(body=[]),
            "GET /volumes": Answer(body={"Volumes": []}),
            "GET /networks": Answer(body=[]),
        }
        self.fake = FakeEngine(path, answers)

    def _count(self, what: str, answer: Answer) -> Answer:
        self.asked[what] += 1
        return answer


@pytest.fixture
def engine(tmp_path: Path, short_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[_Engine]:
    """The engine of the runs of these tests."""
    monkeypatch.setenv("TMPDIR", str(short_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    engine = _Engine(short_path / "s")
    monkeypatch.setenv("DOCKER_HOST", engine.fake.host)
    with engine.fake:
        yield engine


def _lines(result: pytest.RunResult) -> list[str]:
    return [line for line in result.stdout.lines if line.startswith("dind: ")]


_BECAUSE = "dind: auto: dind, because the runtime sysbox-runc is not registered"


def test_told_when_tests_are_collected(pytester: pytest.Pytester, engine: _Engine) -> None:
    """Which mode and why is told once, before the first test, when a test needs a daemon."""
    pytester.makepyfile("def test_it(): pass\ndef test_with(dind_client): pass")
    result = pytester.runpytest_subprocess()

    assert _lines(result).count(_BECAUSE) == 1
    result.stdout.fnmatch_lines(["collected 2 items", _BECAUSE, "", "test_told*"])


@pytest.mark.parametrize("fixture", ["dind_mode", "dind_client"])
def test_told_at_the_end_under_xdist(
    pytester: pytest.Pytester, engine: _Engine, fixture: str
) -> None:
    """Under xdist, whose workers collect, it is told once in the summary."""
    pytester.makepyfile(
        f"""
        import pytest

        @pytest.mark.parametrize("n", range(4))
        def test_it(n, {fixture}): pass
        """
    )
    result = pytester.runpytest_subprocess("-n2")

    assert _lines(result) == [_BECAUSE]


def test_told_where_a_project_has_its_own_settings(
    pytester: pytest.Pytester, engine: _Engine
) -> None:
    """Where `dind_config` is overridden, it is told in the summary, since it isn't known before."""
    pytester.makeconftest(
        """
        import pytest

        @pytest.fixture(scope="session")
        def dind_config(dind_config):
            return dind_config.replace(timeout=7)
        """
    )
    pytester.makepyfile("def test_it(dind_mode): assert dind_mode == 'dind'")
    result = pytester.runpytest_subprocess()

    result.assert_outcomes(passed=1)
    assert _lines(result) == [_BECAUSE]


def test_mode_that_was_asked_for(pytester: pytest.Pytester, engine: _Engine) -> None:
    """A mode by its name is told without a reason, and the engine isn't probed for Sysbox."""
    engine.runtimes["sysbox-runc"] = {}
    pytester.makepyfile("def test_with(dind_client): pass")
    result = pytester.runpytest_subprocess("--dind-mode=dind")

    assert "dind: mode dind" in _lines(result)
    # The question is that for the engine's proxies, and the container is the daemon's.
    assert (engine.asked["info"], engine.asked["container"]) == (1, 1)


@pytest.mark.parametrize("options", [("--collect-only",), ("--setup-plan",), ("-k", "other")])
def test_not_told(pytester: pytest.Pytester, engine: _Engine, options: tuple[str, ...]) -> None:
    """A run that needs no daemon, or only plans to, asks the engine nothing and tells nothing."""
    pytester.makepyfile("def test_with(dind_client): pass\ndef test_other(): pass")
    result = pytester.runpytest_subprocess(*options)

    assert _lines(result) == []
    assert not engine.asked


def test_costs_nothing_where_it_is_not_registered(
    pytester: pytest.Pytester, engine: _Engine
) -> None:
    """Without the runtime, `auto` costs one question, however many tests and workers ask."""
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.parametrize("n", range(6))
        def test_it(n, dind_mode): assert dind_mode == "dind"
        """
    )
    for options in ((), ("-n2",), ("-n2", "--dind-scope=worker")):
        engine.asked.clear()
        pytester.runpytest_subprocess(*options).assert_outcomes(passed=6)
        assert engine.asked == {"info": 1}, options


def test_one_probe_for_all(pytester: pytest.Pytester, engine: _Engine) -> None:
    """With the runtime, one container is made to look into, for all tests and workers."""
    engine.runtimes["sysbox-runc"] = {}
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.parametrize("n", range(6))
        def test_it(n, dind_mode): assert dind_mode == "dind"
        """
    )
    for options in ((), ("-n2",), ("-n2", "--dind-scope=worker")):
        engine.asked.clear()
        result = pytester.runpytest_subprocess(*options)
        result.assert_outcomes(passed=6)
        assert engine.asked["container"] == 1, options
        assert _lines(result) == [
            "dind: auto: dind, because sysbox-runc is registered, but its services are down"
        ]


@pytest.mark.parametrize("fixture", ["dind_mode", "dind_client"])
def test_sysbox_where_it_is_not(pytester: pytest.Pytester, engine: _Engine, fixture: str) -> None:
    """Sysbox by its name where it isn't: an error with the cause and three ways on, at once."""
    pytester.makepyfile(f"def test_it({fixture}): raise SystemExit")
    began = time.monotonic()
    result = pytester.runpytest_subprocess("--dind-mode=sysbox")

    assert time.monotonic() - began < 30
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        [
            "*ModeUnavailable: Mode sysbox is not available: the runtime sysbox-runc is not "
            "registered.",
            "*The engine's runtimes: runc.",
            "*To fix this, either:",
            "*- Install Sysbox on the engine's machine: https://github.com/nestybox/sysbox.",
            "*- Let the plugin choose: --dind-mode auto takes Sysbox where it works.",
            "*- Use a privileged container instead: --dind-mode dind.",
        ]
    )
    assert not engine.asked["container"]


def test_sysbox_that_is_down(pytester: pytest.Pytester, engine: _Engine) -> None:
    """Where its services are down, the error has the engine's words, and how to start them."""
    engine.runtimes["sysbox-runc"] = {}
    pytester.makepyfile("def test_it(dind_client): raise SystemExit")
    result = pytester.runpytest_subprocess("--dind-mode=sysbox")

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        [
            "*Mode sysbox is not available: sysbox-runc is registered, but its services are down.",
            f"*{_DOWN}",
            "*- Start Sysbox's services on the engine's machine: sudo systemctl restart sysbox.",
            "*- Install Sysbox *",
            "*--dind-mode auto *",
            "*--dind-mode dind.",
        ]
    )


def test_sysbox_that_is_not_there_and_skip(pytester: pytest.Pytester, engine: _Engine) -> None:
    """With `--dind-unavailable=skip` the same is a skip."""
    pytester.makepyfile("def test_it(dind_client): raise SystemExit")
    result = pytester.runpytest_subprocess("--dind-mode=sysbox", "--dind-unavailable=skip", "-rs")

    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*Mode sysbox is not available: the runtime*"])


@pytest.mark.parametrize("mode", ["auto", "sysbox"])
def test_image_that_cannot_be_pulled(pytester: pytest.Pytester, engine: _Engine, mode: str) -> None:
    """An image to look into that can't be had is an error about the image, not about Sysbox."""
    engine.runtimes["sysbox-runc"] = {}
    engine.image = Answer(404, {"message": "No such image: docker:dind"})
    pytester.makepyfile("def test_it(dind_client): raise SystemExit")
    result = pytester.runpytest_subprocess(f"--dind-mode={mode}")

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ["*ImageUnavailable: The image 'docker:dind' is not on the outer engine and cannot be *"]
    )
    assert not engine.asked["container"]


@pytest.mark.parametrize(
    "option",
    [*(f"--dind-mode={mode}" for mode in (AUTO, *MODES)), "--dind-reuse=mine"],
)
def test_engine_that_fails(pytester: pytest.Pytester, engine: _Engine, option: str) -> None:
    """An engine that pings and fails at the first question fails the tests that need it alone."""
    engine.info = engine.image = Answer(500, {"message": "the engine is broken"})
    pytester.makepyfile(
        """
        def test_it(dind_client): raise SystemExit
        def test_other(): pass
        """
    )
    result = pytester.runpytest_subprocess(option, "--dind-load=docker:dind")
    result.assert_outcomes(errors=1, passed=1)
    result.stdout.fnmatch_lines(
        ["*EngineUnavailable: The Docker engine at * does not answer as it should.", "*is broken"]
    )
    assert "INTERNALERROR" not in result.stdout.str()
    options = ("--dind-load=docker:dind", "--dind-unavailable=skip", option)
    pytester.runpytest_subprocess(*options).assert_outcomes(skipped=1, passed=1)
