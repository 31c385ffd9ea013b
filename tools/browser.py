"""A browser without a window, and axe-core, for the tests of the report's page.

python tools/browser.py DIRECTORY    make sure of both; axe-core goes to DIRECTORY

The browser is Debian's, and is installed where there is none. axe-core comes from npm, in the
version that tests/browser/package-lock.json has.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

import _packages
from _console import Problem, run, say, step
from _daemon import program

BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
# Without any fonts a page has boxes in place of letters.
PACKAGES = ("chromium-headless-shell", "fonts-dejavu-core")
PROJECT = Path(__file__).parents[1] / "tests" / "browser"
AXE = Path("node_modules", "axe-core", "axe.min.js")


def main(arguments: list[str] | None = None) -> int:
    """Make sure of both; give the exit status."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("browser.py", description=__doc__, formatter_class=formatter)
    parser.add_argument("directory", type=Path, metavar="DIRECTORY", help="where axe-core goes")
    options = parser.parse_args(arguments)
    try:
        ensure_browser()
        ensure_axe(options.directory.resolve())
    except Problem as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1
    return 0


def ensure_browser() -> None:
    """Install a browser, unless there is one."""
    if not any(map(program, BROWSERS)):
        _packages.require_installable()
        _packages.update()
        _packages.install(*PACKAGES)
    say(f"browser: {next(filter(None, map(program, BROWSERS)))}")


def ensure_axe(directory: Path) -> None:
    """Get axe-core, unless that version is there."""
    lock = directory / "package-lock.json"
    wanted = (PROJECT / lock.name).read_bytes()
    if not ((directory / AXE).exists() and lock.exists() and lock.read_bytes() == wanted):
        if program("npm") is None:
            _packages.require_installable()
            _packages.update()
            _packages.install("npm")
        directory.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy2(PROJECT / name, directory / name)
        with step("getting axe-core") as shown:
            run(
                ["npm", "ci", "--prefix", str(directory), "--ignore-scripts", "--no-audit"],
                shown,
                what="axe-core can't be had from npm",
                remedy="check the network and npm's configuration, then run this again",
            )
    say(f"axe-core: {directory / AXE}")


if __name__ == "__main__":
    sys.exit(main())
