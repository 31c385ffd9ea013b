"""Tests that run on several images, in whole pytest runs without an engine."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

_DIND = ("--dind-host=unix:///nonexistent/docker.sock", "--dind-mode=dind", "-rs", "-v")
_TWO = ("--dind-image=docker:26-dind", "--dind-image=docker:28-dind")


@pytest.fixture(autouse=True)
def base(tmp_path: Path, short_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the runs of these tests have their directories; `tmp_path` stays where it is."""
    monkeypatch.setenv("TMPDIR", str(short_path))
    monkeypatch.setattr(tempfile, "tempdir", None)


@pytest.fixture(autouse=True)
def daemon(pytester: pytest.Pytester) -> None:
    """A daemon that is none, of the version that its image's tag names; it asks as the real one."""
    pytester.makeconftest(
        """
        from types import SimpleNamespace
        import pytest

        @pytest.fixture(scope="session")
        def dind_daemon(dind_config, _dind_image):
            image = dind_config.image
            return SimpleNamespace(image=image, version=image.partition(":")[2].partition("-")[0])
        """
    )


def _passed(result: pytest.RunResult) -> list[str]:
    """The tests that passed, in the order in which they ran."""
    lines = [line for line in result.stdout.lines if line.partition(" ")[2].startswith("PASSED")]
    return [line.partition(" ")[0].partition("::")[2] for line in lines]


def _collected(pytester: pytest.Pytester, *options: str) -> list[str]:
    """The tests that a run finds."""
    result = pytester.runpytest(*_DIND, "--collect-only", *options)
    lines = (line.partition("<Function ") for line in result.stdout.lines)
    return [end.removesuffix(">") for _, found, end in lines if found]


_TESTS = """
    import pytest

    @pytest.fixture(scope="session")
    def service(dind_daemon):
        return dind_daemon.image

    def test_none(): pass
    def test_it(dind_daemon, dind_config): assert dind_daemon.image == dind_config.image
    @pytest.mark.parametrize("n", [1, 2])
    def test_through(service, n): assert service in ("docker:26-dind", "docker:28-dind")
    @pytest.mark.requires_engine(">=28")
    def test_new(): pass
"""


def test_several_images(pytester: pytest.Pytester) -> None:
    """Each test that has the daemon, by whatever fixture, runs on each; grouped by daemon."""
    pytester.makepyfile(_TESTS)
    result = pytester.runpytest(*_DIND, *_TWO)

    assert sorted(_passed(result)) == [
        "test_it[docker-26]",
        "test_it[docker-28]",
        "test_new[docker-28]",
        "test_none",
        "test_through[docker-26-1]",
        "test_through[docker-26-2]",
        "test_through[docker-28-1]",
        "test_through[docker-28-2]",
    ]
    images = [name.partition("docker-")[2][:2] for name in _passed(result) if "docker" in name]
    assert images == sorted(images)
    result.assert_outcomes(passed=8, skipped=1)
    result.stdout.fnmatch_lines(
        [
            "dind: engine          Docker  passed  failed  skipped",
            "dind: docker:26-dind  ?            3       0        1",
            "dind: docker:28-dind  ?            4       0        0",
            "dind: test*  docker:26-dind  docker:28-dind",
            "dind: *::test_it  *  passed          passed",
            "dind: *::test_new *  skipped         passed",
            "dind: *::test_through?1?  passed          passed",
            "SKIPPED*requires_engine: the daemon's engine is 26, not >=28.*",
        ]
    )


def test_one_image(pytester: pytest.Pytester) -> None:
    """One image changes no id."""
    pytester.makepyfile(_TESTS)
    assert _collected(pytester, "--dind-image=docker:28-dind") == [
        *("test_none", "test_it", "test_through[1]", "test_through[2]", "test_new"),
    ]


@pytest.mark.parametrize(
    ("ini", "options", "ids"),
    [
        ("dind_image =\n  a:1\n  b:2", (), ["[a-1]", "[b-2]"]),
        ("dind_image =\n  a:1\n  b:2", ("--dind-image=c",), [""]),
        ("dind_image = a:1", ("--dind-image=c", "--dind-image=d"), ["[c]", "[d]"]),
        # Once is enough.
        ("", ("--dind-image=c", "--dind-image=c"), [""]),
        # What pytest puts before the command line is no part of it.
        ("addopts = --dind-image=a:1", ("--dind-image=c",), [""]),
        ("addopts = --dind-image=a:1 --dind-image b:2", ("--dind-image", "c"), [""]),
        ("addopts = --dind-image=a:1", ("--dind-image=c", "--dind-image=d"), ["[c]", "[d]"]),
        ("addopts = --dind-image=a:1 --dind-image=b:2", (), ["[a-1]", "[b-2]"]),
        ("addopts = --dind-image=a:1\ndind_image = b:2", ("-v",), [""]),
    ],
)
def test_where_images_are_named(
    pytester: pytest.Pytester, ini: str, options: tuple[str, ...], ids: list[str]
) -> None:
    """The ini key takes one image a line; the command line wins over it as a whole."""
    pytester.makeini(f"[pytest]\n{ini}")
    pytester.makepyfile("def test_it(dind_daemon): pass")
    assert _collected(pytester, *options) == [f"test_it{one}" for one in ids]


def test_images_of_the_variable(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """PYTEST_ADDOPTS stands between the ini file and the command line; workers have the same."""
    pytester.makeini("[pytest]\naddopts = --dind-image=a:1")
    pytester.makepyfile("def test_it(dind_daemon, dind_config): print(dind_config.image)")
    monkeypatch.setenv("PYTEST_ADDOPTS", "--dind-image=b:1 --dind-image=c:1")

    assert sorted(_collected(pytester)) == ["test_it[b-1]", "test_it[c-1]"]
    assert _collected(pytester, "--dind-image=d:1") == ["test_it"]
    options = ("-n1", "--dind-image=d:1", "--dind-image=e:1", "-rP")
    result = pytester.runpytest_subprocess(*_DIND, *options)
    result.assert_outcomes(passed=2)
    printed = [line for line in result.stdout.lines if line in ("a:1", "b:1", "c:1", "d:1", "e:1")]
    assert sorted(printed) == ["d:1", "e:1"]


def test_marker(pytester: pytest.Pytester) -> None:
    """The closest marker wins, over the options too; a test without the daemon stays one test."""
    pytester.makepyfile(
        """
        import pytest

        pytestmark = pytest.mark.dind_images("docker:26-dind", "docker:29-dind")

        def test_none(): pass
        def test_it(dind_daemon): pass
        @pytest.mark.dind_images("podman:1")
        def test_one(dind_daemon, dind_config):
            assert dind_daemon.image == dind_config.image == "podman:1"
        """
    )
    expected = ["test_it[docker-26]", "test_it[docker-29]", "test_none", "test_one[podman-1]"]
    assert sorted(_passed(pytester.runpytest(*_DIND))) == expected
    assert sorted(_collected(pytester, *_TWO)) == expected


def test_override(pytester: pytest.Pytester) -> None:
    """A dind_config of the suite's own has each image, unless it names its own."""
    pytester.makepyfile(
        """
        import pytest

        class TestIt:
            @pytest.fixture(scope="session")
            def dind_config(self, dind_config):
                return dind_config.replace(timeout=7)

            def test_it(self, dind_daemon, dind_config, request):
                assert dind_config.timeout == 7
                assert dind_daemon.image == dind_config.image == request.node.callspec.id.replace(
                    "-", ":") + "-dind"
        """
    )
    pytester.runpytest(*_DIND, *_TWO).assert_outcomes(passed=2)


def test_daemon_that_no_image_shapes(pytester: pytest.Pytester) -> None:
    """A dind_daemon of the suite's own that has nothing to do with the settings stays one."""
    pytester.makeconftest("import pytest\n@pytest.fixture\ndef dind_daemon(): pass")
    pytester.makepyfile("def test_it(dind_daemon): pass")
    assert _collected(pytester, *_TWO) == ["test_it"]


def test_clean_up_marker(pytester: pytest.Pytester) -> None:
    """A test that has the daemon by a marker alone runs on each image too."""
    pytester.makepyfile("import pytest\n@pytest.mark.dind_clean\ndef test_it(): pass")
    assert _collected(pytester, *_TWO) == ["test_it[docker-26]", "test_it[docker-28]"]


def test_bad_marker(pytester: pytest.Pytester) -> None:
    """What is no image is an error as the tests are collected."""
    pytester.makepyfile(
        "import pytest\n@pytest.mark.dind_images(28)\ndef test_it(dind_daemon): pass"
    )
    result = pytester.runpytest(*_DIND)

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        [
            "test_bad_marker.py::test_it: the marker dind_images(28) is not valid.",
            "  28 is not a text.",
            '*Write it like this: @pytest.mark.dind_images("docker:28-dind", "docker:29-dind").',
        ]
    )


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ((*_TWO, "--dind-image="), "--dind-image: '' is not a valid value."),
        ((*_TWO, "--dind-mode=socket"), "--dind-image: 2 images are given, in mode socket."),
    ],
)
def test_bad_options(pytester: pytest.Pytester, options: tuple[str, ...], text: str) -> None:
    """An image that can't be one, or several where there is one engine, is a usage error."""
    pytester.makepyfile("def test_it(): print('a test ran')")
    result = pytester.runpytest(*options, "-s")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert text in result.stderr.str()
    assert "a test ran" not in result.stdout.str()


def test_groups_of_workers(pytester: pytest.Pytester) -> None:
    """Tests of an image are a group for `--dist loadgroup`, but for those that are in another."""
    pytester.makepyfile(
        """
        import pytest

        def test_it(dind_daemon): pass
        @pytest.mark.xdist_group("mine")
        def test_own(dind_daemon): pass
        """
    )
    items, _ = pytester.inline_genitems(*_DIND, *_TWO, "--strict-markers")
    groups = {
        item.name: [mark.args[0] for mark in item.iter_markers("xdist_group")] for item in items
    }
    assert groups == {
        "test_it[docker-26]": ["docker-26"],
        "test_own[docker-26]": ["mine"],
        "test_it[docker-28]": ["docker-28"],
        "test_own[docker-28]": ["mine"],
    }
    # Without xdist there is no such marker; pytest remembers those of other runs of its process.
    pytester.makepyfile("def test_it(dind_daemon): pass")
    result = pytester.runpytest_subprocess(
        *_DIND, *_TWO, "--strict-markers", "-p", "no:xdist", "--collect-only"
    )
    result.stdout.fnmatch_lines(["*2 tests collected*"])
