"""Projects that use the plugin, run by a pytest process of their own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

from .. import forks
from ..support import until

_SECONDS = 60
"""No run of these tests takes longer."""
CUT_SHORT = ("-W", "default::pytest.PytestUnraisableExceptionWarning")
"""For a run that gets a Ctrl-C: Python's importer leaves open the file it was reading then."""
_OTHER_USER = 1500
"""A user id, and a group's, that no passwd has."""
Run = subprocess.Popen[str] | forks.Fork
"""A process that runs tests."""


class Project:
    """A directory with tests, and the temp dir that its runs use; ends what it started.

    Args:
        room: The directory for both.
        options: What each of its runs is given.

    Attributes:
        has_cache: Whether its runs have pytest's cache.
    """

    def __init__(self, room: Path, *options: str) -> None:
        self.path = room / "p"
        self.temp = room / "t"
        self.options = options
        self.env: Mapping[str, str] = {}
        self.has_cache = False
        self._started: list[Run] = []
        for path in (self.path, self.temp):
            path.mkdir()
        (self.path / "pytest.ini").touch()

    def __enter__(self) -> Project:
        return self

    def __exit__(self, *error: object) -> None:
        for process in self._started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()

    def as_user(self, *groups: int) -> list[str]:
        """What runs this project as a user who is not root, has no name, and is in these groups.

        That is the user who runs these tests, if they are run so. All that the other user is
        allowed more is to read and enter every directory, since the interpreter may be in root's.
        """
        if os.getuid():
            return []
        for path in (self.path, self.temp, *self.path.iterdir()):
            os.chown(path, _OTHER_USER, _OTHER_USER)
        capabilities = "+dac_read_search"
        return [
            "setpriv",
            *(f"--reuid={_OTHER_USER}", f"--regid={_OTHER_USER}"),
            *(["--groups=" + ",".join(map(str, groups))] if groups else ["--clear-groups"]),
            *(f"--inh-caps={capabilities}", f"--ambient-caps={capabilities}"),
            *("env", f"--chdir={self.path}", f"HOME={self.path}"),
            *(f"--unset={name}" for name in ("LOGNAME", "USER", "LNAME", "USERNAME")),
        ]

    def write(self, source: str, name: str = "test_it.py") -> None:
        """Put a file into the project."""
        (self.path / name).write_text(textwrap.dedent(source))

    def start(
        self,
        *options: str,
        env: Mapping[str, str | None] | None = None,
        before: Sequence[str] = (),
    ) -> Run:
        """Start a run, in a process group of its own, as a terminal has them.

        Args:
            options: Further options; they win.
            env: Changes to the environment; None takes a variable away.
            before: A command that runs the command that follows it, such as `setpriv`.
        """
        own = list(self.options)
        if "--dind-image" in own and any(one.startswith("--dind-image") for one in options):
            # Given once more, it would be one more image.
            at = own.index("--dind-image")
            del own[at : at + 2]
        # Where pytest sees that it runs in CI, its summary repeats the errors in full.
        local: Mapping[str, str | None] = {"CI": None, "BUILD_NUMBER": None}
        temp = {"TMPDIR": str(self.temp)}
        changed = {**os.environ, **local, **temp, **self.env, **(env or {})}
        variables = {name: value for name, value in changed.items() if value is not None}
        arguments = [
            *("-W", "error", "--strict-markers"),
            *([] if self.has_cache else ["-p", "no:cacheprovider"]),
            # Hypothesis takes longer to load than pytest and the plugin together.
            *("-p", "no:randomly", "-p", "no:hypothesispytest"),
            *own,
            *options,
        ]
        process: Run
        # What Python itself is told by its environment holds for a process of its own alone.
        if before or any(name.startswith("PYTHON") for name in {**self.env, **(env or {})}):
            process = subprocess.Popen(
                [*before, sys.executable, "-m", "pytest", *arguments],
                cwd=self.path,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
        else:
            process = forks.with_libraries().start(arguments, cwd=self.path, env=variables)
        self._started.append(process)
        return process

    def run(
        self,
        *options: str,
        env: Mapping[str, str | None] | None = None,
        before: Sequence[str] = (),
        code: int = 0,
        seconds: float = _SECONDS,
    ) -> str:
        """Run the tests to their end; check the exit code, and give the output."""
        process = self.start(*options, env=env, before=before)
        try:
            output, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
            raise AssertionError(f"not done within {seconds:g} s:\n{output}") from None
        assert process.returncode == code, output
        return output

    def reached(self, name: str, process: Run) -> None:
        """Wait until a test in a run has made this file in the project."""
        with contextlib.suppress(AssertionError):
            until(
                lambda: (self.path / name).exists() or process.poll() is not None,
                _SECONDS,
                f"{name} is made",
            )
        if not (self.path / name).exists():
            raise AssertionError(f"{name} was not made; exit code {process.poll()}")
