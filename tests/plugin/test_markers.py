"""The requirement markers, in whole pytest runs without an engine."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from pytest_dind.settings import MODES

from ..support import Answer, FakeEngine, Reply

# Mode dind by its name is in force without a question to any engine.
_DIND = ("--dind-host=unix:///nonexistent/docker.sock", "--dind-mode=dind", "-rs")
_REASON = "requires_sysbox: the mode in force is dind. To run it, use an engine with Sysbox and *"


@pytest.fixture(autouse=True)
def base(tmp_path: Path, short_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the runs of these tests have their directories; `tmp_path` stays where it is."""
    monkeypatch.setenv("TMPDIR", str(short_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return short_path


@pytest.fixture
def version(pytester: pytest.Pytester) -> None:
    """A daemon that is none, of version 28.5.2."""
    pytester.makeconftest(
        """
        from types import SimpleNamespace
        import pytest

        @pytest.fixture(scope="session")
        def dind_daemon():
            print("the daemon was started")
            return SimpleNamespace(version="28.5.2+dfsg4")
        """
    )


def _skipped(result: pytest.RunResult, count: int, passed: int = 0) -> None:
    result.assert_outcomes(skipped=count, passed=passed)
    assert result.ret == pytest.ExitCode.OK


def test_registered(pytester: pytest.Pytester) -> None:
    """`--markers` has each of them, with what it takes."""
    lines = pytester.runpytest("--markers").stdout
    lines.fnmatch_lines(
        [
            "@pytest.mark.requires_sysbox: skipped, *",
            "@pytest.mark.requires_isolation: skipped in socket mode, *",
            '@pytest.mark.requires_engine(specifier): *">=28"*',
            f"@pytest.mark.dind_modes(mode, ...): *{', '.join(MODES)}*",
        ],
        consecutive=False,
    )


def test_strict_markers(pytester: pytest.Pytester) -> None:
    """They go with `--strict-markers`; a misspelled one is an error there."""
    pytester.makepyfile("import pytest\n@pytest.mark.requires_isolation\ndef test_it(): pass")
    pytester.runpytest(*_DIND, "--strict-markers").assert_outcomes(passed=1)
    pytester.makepyfile("import pytest\n@pytest.mark.requires_isolaton\ndef test_it(): pass")
    pytester.runpytest(*_DIND, "--strict-markers").assert_outcomes(errors=1)


@pytest.mark.parametrize(
    ("source", "skipped", "passed"),
    [
        (
            """
            @pytest.mark.requires_sysbox
            def test_it(): raise SystemExit
            def test_other(): pass
            """,
            1,
            1,
        ),
        (
            """
            @pytest.mark.requires_sysbox
            class TestIt:
                def test_one(self): raise SystemExit
                class TestInner:
                    def test_two(self): raise SystemExit
            class TestOther:
                @pytest.mark.requires_sysbox
                def test_three(self): raise SystemExit
                def test_four(self): pass
            """,
            3,
            1,
        ),
        (
            """
            @pytest.mark.requires_sysbox
            class Base:
                def test_one(self): raise SystemExit
            class TestIt(Base):
                def test_two(self): raise SystemExit
            """,
            2,
            0,
        ),
        (
            """
            pytestmark = [pytest.mark.requires_isolation, pytest.mark.requires_sysbox]
            def test_it(): raise SystemExit
            class TestIt:
                def test_too(self): raise SystemExit
            """,
            2,
            0,
        ),
        (
            """
            @pytest.mark.parametrize(
                "n", [1, pytest.param(2, marks=pytest.mark.requires_sysbox), 3]
            )
            def test_it(n): assert n != 2
            """,
            1,
            2,
        ),
        (
            """
            @pytest.mark.requires_sysbox
            @pytest.mark.parametrize("n", range(3))
            def test_it(n): raise SystemExit
            """,
            3,
            0,
        ),
        (
            """
            import unittest

            @pytest.mark.requires_sysbox
            class TestIt(unittest.TestCase):
                @classmethod
                def setUpClass(cls): raise SystemExit
                def setUp(self): raise SystemExit
                def test_one(self): raise SystemExit
            class TestOther(unittest.TestCase):
                @pytest.mark.requires_sysbox
                def test_two(self): raise SystemExit
                def test_three(self): pass
            """,
            2,
            1,
        ),
    ],
    ids=["function", "class", "inherited", "module", "one parameter", "parameters", "unittest"],
)
@pytest.mark.parametrize("options", [(), ("-n2",)], ids=["alone", "xdist"])
def test_where_a_marker_is(
    pytester: pytest.Pytester, source: str, skipped: int, passed: int, options: tuple[str, ...]
) -> None:
    """A marker counts on functions, classes, modules and parameter sets, under xdist too."""
    module = pytester.makepyfile("import pytest\n")
    module.write_text("import pytest\n" + "\n".join(line[12:] for line in source.splitlines()))
    result = pytester.runpytest_subprocess(*_DIND, *options)

    _skipped(result, skipped, passed)
    result.stdout.fnmatch_lines([f"SKIPPED*{_REASON}"])


def test_marker_that_a_hook_gives(pytester: pytest.Pytester) -> None:
    """A marker that a project gives to its tests in a hook counts as any other."""
    pytester.makeconftest(
        """
        import pytest

        def pytest_collection_modifyitems(items):
            for item in items:
                if "sysbox" in item.name:
                    item.add_marker(pytest.mark.requires_sysbox)
                if "bad" in item.name:
                    item.add_marker(pytest.mark.dind_modes("x"))
        """
    )
    pytester.makepyfile("def test_sysbox(): assert 0\ndef test_it(): pass\ndef test_bad(): pass")
    result = pytester.runpytest(*_DIND)

    result.assert_outcomes(skipped=1, passed=1, errors=1)
    result.stdout.fnmatch_lines(["*test_bad: the marker dind_modes('x') is not valid.*"])


def test_no_marker_no_engine(pytester: pytest.Pytester) -> None:
    """A test without a marker needs no engine, not even one whose sibling has a marker."""
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.parametrize("n", [1, pytest.param(2, marks=pytest.mark.requires_isolation)])
        def test_it(n, request):
            assert not [name for name in request.fixturenames if "dind" in name]
        """
    )
    result = pytester.runpytest_subprocess("--dind-host=unix:///nonexistent/docker.sock", "-v")

    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*test_it[[]1[]] PASSED*", "*test_it[[]2[]] ERROR*"])


def test_skip_comes_first(pytester: pytest.Pytester) -> None:
    """A test is skipped before anything of it is set up, fixtures of the whole session included."""
    pytester.makeconftest(
        """
        import pytest

        @pytest.fixture(scope="session")
        def dind_daemon(): raise SystemExit("a daemon was started")
        @pytest.fixture(scope="session", autouse=True)
        def of_the_session(request): raise SystemExit("a fixture of the session was set up")
        """
    )
    pytester.makepyfile(
        """
        import pytest

        @pytest.fixture(autouse=True)
        def of_the_test(): raise SystemExit

        def setup_module(): raise SystemExit

        @pytest.mark.usefixtures("dind_env")
        @pytest.mark.requires_engine(">=99")
        @pytest.mark.dind_modes("sysbox")
        class TestIt:
            def setup_method(self): raise SystemExit
            @pytest.mark.parametrize("n", range(2))
            def test_it(self, n, dind_daemon, dind_client): raise SystemExit
        """
    )
    result = pytester.runpytest_subprocess(*_DIND)

    _skipped(result, 2)
    result.stdout.fnmatch_lines(
        ["SKIPPED*dind_modes: the mode in force is dind. To run it, use --dind-mode=sysbox*"]
    )


@pytest.mark.parametrize(("modes", "passed"), [("'dind'", 1), ("'dind', 'sysbox'", 1)])
def test_dind_modes(pytester: pytest.Pytester, modes: str, passed: int) -> None:
    """A test runs in the modes it names."""
    pytester.makepyfile(f"import pytest\n@pytest.mark.dind_modes({modes})\ndef test_it(): pass")
    pytester.runpytest(*_DIND).assert_outcomes(passed=passed)


@pytest.mark.usefixtures("version")
def test_requires_engine(pytester: pytest.Pytester) -> None:
    """A test runs on the engine it asks for; else it is skipped, with the engine that there is."""
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.requires_engine(">=28")
        def test_new(): pass
        @pytest.mark.requires_engine("==28.5.2")
        def test_exact(): pass
        @pytest.mark.requires_engine("<28")
        def test_old(): raise SystemExit
        @pytest.mark.requires_engine(">=20")
        @pytest.mark.requires_engine("<25")
        def test_range(): raise SystemExit
        """
    )
    result = pytester.runpytest(*_DIND)

    _skipped(result, 2, passed=2)
    result.stdout.fnmatch_lines(
        [
            "SKIPPED*requires_engine: the daemon's engine is 28.5.2+dfsg4, not <28. To run it, "
            "name another image: --dind-image"
        ]
    )


@pytest.mark.usefixtures("version")
def test_no_daemon_where_the_mode_decides(pytester: pytest.Pytester) -> None:
    """A test that its mode rules out starts no daemon to learn the engine's version."""
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.requires_engine(">=28")
        @pytest.mark.requires_sysbox
        def test_it(): raise SystemExit
        """
    )
    result = pytester.runpytest(*_DIND, "-s")

    _skipped(result, 1)
    result.stdout.no_fnmatch_line("*the daemon was started*")


def test_engine_that_is_not_there(pytester: pytest.Pytester) -> None:
    """A test whose requirement can't be looked into is an error, or skipped if that is asked for.

    That the mode can't be found out either is no reason to run it.
    """
    pytester.makepyfile("import pytest\n@pytest.mark.requires_sysbox\ndef test_it(): SystemExit")
    nobody = ("--dind-host=unix:///nonexistent/docker.sock", "-rs")
    result = pytester.runpytest_subprocess(*nobody)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*There is no socket /nonexistent/docker.sock.*"])

    _skipped(pytester.runpytest_subprocess(*nobody, "--dind-unavailable=skip"), 1)


def test_required_where_no_daemon_can_be_had(pytester: pytest.Pytester) -> None:
    """A test with a required marker fails there, whether a daemon was to be had for it or a mode.

    All others are skipped, as `--dind-unavailable` asks for.
    """
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.requires_sysbox
        def test_mode(): raise SystemExit
        @pytest.mark.requires_engine(">=28")
        def test_engine(): raise SystemExit
        @pytest.mark.dind_modes("dind", "socket")
        def test_daemon(dind_client): raise SystemExit
        def test_any(dind_client): raise SystemExit
        """
    )
    options = ("--dind-host=unix:///nonexistent/docker.sock", "--dind-unavailable=skip")
    for require, errors in (("sysbox", 1), ("engine", 1), ("modes", 1), ("all", 3)):
        result = pytester.runpytest_subprocess(*options, f"--dind-require={require}")
        result.assert_outcomes(errors=errors, skipped=4 - errors)
        result.stdout.fnmatch_lines(["*The Docker engine at unix:///nonexistent/*"])
    pytester.runpytest_subprocess(*options).assert_outcomes(skipped=4)


_ALL = """
    import pytest

    @pytest.mark.requires_sysbox
    def test_sysbox(): pass
    @pytest.mark.dind_modes("sysbox")
    def test_modes(): pass
    @pytest.mark.requires_engine(">=99")
    def test_engine(): pass
    @pytest.mark.requires_isolation
    def test_isolation(): pass
"""


@pytest.mark.usefixtures("version")
@pytest.mark.parametrize(
    ("require", "failed"),
    [
        (["--dind-require=sysbox"], {"sysbox"}),
        (["--dind-require=modes"], {"modes"}),
        (["--dind-require=engine"], {"engine"}),
        (["--dind-require=isolation"], set()),
        (["--dind-require=sysbox,isolation"], {"sysbox"}),
        (["--dind-require=sysbox, engine"], {"sysbox", "engine"}),
        (["--dind-require=sysbox", "--dind-require=modes"], {"sysbox", "modes"}),
        (["--dind-require=all"], {"sysbox", "modes", "engine"}),
        (["--dind-require=isolation,all"], {"sysbox", "modes", "engine"}),
        (["--dind-require="], set()),
        ([], set()),
    ],
    ids=lambda names: " ".join(sorted(names)),
)
def test_require(pytester: pytest.Pytester, require: list[str], failed: set[str]) -> None:
    """What `--dind-require` names fails instead of being skipped, and so does the run."""
    pytester.makepyfile(_ALL)
    result = pytester.runpytest(*_DIND, *require)

    result.assert_outcomes(errors=len(failed), skipped=3 - len(failed), passed=1)
    assert result.ret == (pytest.ExitCode.TESTS_FAILED if failed else pytest.ExitCode.OK)
    for name in failed:
        result.stdout.fnmatch_lines([f"*{name}: the * is *. To run it, *(--dind-require)"])


def test_require_under_xdist(pytester: pytest.Pytester) -> None:
    """So it does under xdist, and by its ini key, one value a line or several."""
    pytester.makeini("[pytest]\ndind_require =\n    sysbox\n    modes, isolation")
    pytester.makepyfile(_ALL.replace('requires_engine(">=99")', "requires_isolation"))
    result = pytester.runpytest_subprocess(*_DIND, "-n2")

    result.assert_outcomes(errors=2, passed=2)
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_require_of_the_second_requirement(pytester: pytest.Pytester) -> None:
    """A test that lacks two things fails when either is required."""
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.requires_sysbox
        @pytest.mark.dind_modes("sysbox")
        def test_it(): raise SystemExit
        """
    )
    for name in ("sysbox", "modes"):
        pytester.runpytest(*_DIND, f"--dind-require={name}").assert_outcomes(errors=1)
    pytester.runpytest(*_DIND, "--dind-require=engine").assert_outcomes(skipped=1)


def test_require_of_an_override(pytester: pytest.Pytester) -> None:
    """What a project's own `dind_config` says of mode and requirements is in force."""
    pytester.makeconftest(
        """
        import pytest

        @pytest.fixture(scope="session")
        def dind_config(dind_config):
            return dind_config.replace(mode="dind", require=["sysbox"])
        """
    )
    pytester.makepyfile("import pytest\n@pytest.mark.requires_sysbox\ndef test_it(): pass")
    result = pytester.runpytest("--dind-host=unix:///nonexistent/docker.sock")

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*the mode in force is dind. *(--dind-require)"])


def test_bad_requirement(pytester: pytest.Pytester) -> None:
    """A requirement that doesn't exist is a usage error that names those that do."""
    result = pytester.runpytest("--dind-require=sysbocks")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "--dind-require: 'sysbocks' is not a valid value." in result.stderr.str()
    assert "Valid: sysbox, isolation, engine, modes, kubernetes, all." in result.stderr.str()


_BAD = """
    import pytest

    @pytest.mark.dind_modes("sysbocks")
    @pytest.mark.parametrize("n", range(3))
    def test_modes(n): raise SystemExit

    @pytest.mark.requires_engine("new")
    @pytest.mark.requires_sysbox("0.7")
    def test_two(): raise SystemExit

    def test_isolation(): raise SystemExit
    test_isolation = pytest.mark.requires_isolation(reason="x")(test_isolation)
"""


@pytest.mark.parametrize("options", [(), ("-n2",)], ids=["alone", "xdist"])
def test_bad_arguments(pytester: pytest.Pytester, options: tuple[str, ...]) -> None:
    """All bad arguments of a file's functions are one collection error; no test of it is run."""
    pytester.makepyfile(test_bad=_BAD, test_good="def test_it(): pass")
    result = pytester.runpytest_subprocess(*_DIND, *options)
    text = result.stdout.str()

    assert result.ret in (pytest.ExitCode.INTERRUPTED, pytest.ExitCode.TESTS_FAILED)
    # xdist runs what could be collected, as after any such error.
    result.assert_outcomes(errors=1, passed=1 if options else 0)
    result.stdout.fnmatch_lines(["*ERROR collecting test_bad.py*"])
    for what in (
        "test_bad.py::test_modes[0]: the marker dind_modes('sysbocks') is not valid.",
        "test_bad.py::test_two: the marker requires_engine('new') is not valid.",
        "test_bad.py::test_two: the marker requires_sysbox('0.7') is not valid.",
        "test_bad.py::test_isolation: the marker requires_isolation(reason='x') is not valid.",
        f"Valid modes: {', '.join(map(repr, MODES))}.",
        '@pytest.mark.requires_engine(">=28")',
    ):
        assert text.count(what) == 1, what
    assert "SystemExit" not in text
    assert "Traceback" not in text


def test_bad_arguments_of_a_class(pytester: pytest.Pytester) -> None:
    """Those of a class and its methods are one error too."""
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.requires_engine("new")
        class TestIt:
            def test_one(self): raise SystemExit
            @pytest.mark.dind_modes("x")
            def test_two(self): raise SystemExit
        """
    )
    result = pytester.runpytest(*_DIND)

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ["*::TestIt: the marker requires_engine('new') *", "*two: the marker dind_modes('x') *"]
    )


def test_bad_arguments_of_a_module(pytester: pytest.Pytester) -> None:
    """A bad argument in `pytestmark` is one error, however many tests there are."""
    pytester.makepyfile(
        """
        import pytest

        pytestmark = pytest.mark.dind_modes()
        def test_one(): pass
        class TestIt:
            def test_two(self): pass
        """
    )
    result = pytester.runpytest(*_DIND)

    result.assert_outcomes(errors=1)
    assert result.stdout.str().count("the marker dind_modes() is not valid.") == 1


def test_bad_arguments_of_a_test_case(pytester: pytest.Pytester) -> None:
    """Those of unittest's classes and methods are told as well."""
    pytester.makepyfile(
        """
        import pytest, unittest

        @pytest.mark.requires_engine(28)
        class TestIt(unittest.TestCase):
            @pytest.mark.dind_modes("x")
            def test_it(self): pass
        """
    )
    result = pytester.runpytest(*_DIND)

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ["*::TestIt: the marker requires_engine(28) *", "*test_it: the marker dind_modes('x') *"]
    )


def test_bad_arguments_and_the_rest(pytester: pytest.Pytester) -> None:
    """With `--continue-on-collection-errors` the other files run, as with any such error."""
    pytester.makepyfile(test_bad=_BAD, test_good="def test_it(): pass")
    result = pytester.runpytest(*_DIND, "--continue-on-collection-errors")

    result.assert_outcomes(errors=1, passed=1)


@pytest.mark.parametrize("option", ["--collect-only", "--setup-plan"])
def test_plan(pytester: pytest.Pytester, option: str) -> None:
    """A run that only plans asks no engine what a marker requires."""
    pytester.makepyfile("import pytest\n@pytest.mark.requires_sysbox\ndef test_it(): pass")
    result = pytester.runpytest_subprocess("--dind-host=unix:///nonexistent/docker.sock", option)

    assert result.ret == pytest.ExitCode.OK


def test_reason_under_auto(pytester: pytest.Pytester, short_path: Path) -> None:
    """Under `auto` the reason says why the mode isn't sysbox; the engine is asked once for all.

    No container is made, for any of the tests.
    """
    asked: list[str] = []

    def info() -> Answer:
        asked.append("info")
        return Answer(body={"Runtimes": {"runc": {}}})

    answers: dict[str, Reply] = {
        "GET /info": info,
        "GET /version": Answer(body={"ApiVersion": "1.41"}),
    }
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.requires_sysbox
        @pytest.mark.parametrize("n", range(6))
        def test_it(n): raise SystemExit
        """
    )
    for options in ((), ("-n2",)):
        asked.clear()
        with FakeEngine(short_path / "s", answers) as engine:
            result = pytester.runpytest_subprocess("-rs", f"--dind-host={engine.host}", *options)
        _skipped(result, 6)
        result.stdout.fnmatch_lines(
            [
                "SKIPPED*the mode in force is dind (auto: the runtime sysbox-runc is not "
                "registered). To run it*"
            ]
        )
        assert asked == ["info"]


@pytest.mark.parametrize("mark", ["dind_clean(bad=1)", "requires_engine('x')", "dind_modes('x')"])
def test_bad_marker_of_a_hook_needs_no_engine(pytester: pytest.Pytester, mark: str) -> None:
    """A bad marker that a hook gives is told before any daemon is asked for, whichever it is."""
    pytester.makeconftest(
        f"""
        import pytest

        def pytest_collection_modifyitems(items):
            for item in items:
                item.add_marker(pytest.mark.{mark})
        """
    )
    pytester.makepyfile("def test_bad(dind_client): pass")
    result = pytester.runpytest("--dind-host=unix:///nonexistent/docker.sock")

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*test_bad: the marker * is not valid.*", "*Write it like this*"])
    result.stdout.no_fnmatch_line("*/nonexistent/*cannot be used*")
