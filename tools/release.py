"""The sdist and the wheel, built twice and compared byte by byte, and checked by twine.

python tools/release.py                  build them in dist/
python tools/release.py --tag v1.0.0 --notes FILE
                                         the same for a release: its version must be the tag's, its
                                         changes be in CHANGELOG.md, and the project's address be
                                         known; FILE gets the changes

The first are built in the project, the second in what the first sdist unpacks to. Whoever builds
the same commit with the same hatchling has the same bytes; SOURCE_DATE_EPOCH sets the time in them.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from _console import Problem, Step, run, say, step

ROOT = Path(__file__).resolve().parents[1]
DIST = ROOT / "dist"


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line asks for; give the exit status."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("release.py", description=__doc__, formatter_class=formatter)
    parser.add_argument("--tag", help="the release that this must be, as v1.0.0")
    parser.add_argument("--notes", type=Path, help="where to write the release's changes")
    options = parser.parse_args(arguments)
    try:
        with step("building the sdist and the wheel twice") as shown:
            version = build(DIST, shown)
        if options.tag:
            notes = changes(version, options.tag, ROOT)
            wheel = members(next(DIST.glob("*.whl")))
            require_address(wheel[f"pytest_dind-{version}.dist-info/METADATA"].decode())
            if options.notes:
                options.notes.write_text(notes, encoding="utf-8")
    except Problem as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1
    return 0


def build(target: Path, shown: Step) -> str:
    """Put a good sdist and wheel in a directory, alone; give their version.

    Raises:
        Problem: they can't be built, lack a file, differ between two builds, or twine finds fault.
    """
    shutil.rmtree(target, ignore_errors=True)
    make(ROOT, target, shown)
    sdist = next(target.glob("*.tar.gz"))
    with tempfile.TemporaryDirectory() as scratch:
        again = Path(scratch) / "dist"
        unpack = ["tar", "--extract", "--file", str(sdist), "--directory", scratch]
        run(unpack, shown, what=f"{sdist.name} can't be unpacked", remedy="look at it with tar")
        make(Path(scratch) / sdist.name.removesuffix(".tar.gz"), again, shown)
        require_same(target, again)
    require_files(members(sdist), members(next(target.glob("*.whl"))), tracked())
    names = sorted(map(str, target.iterdir()))
    check = [sys.executable, "-m", "twine", "check", "--strict", *names]
    run(check, shown, what="twine finds fault with what was built", remedy="mend the README")
    for name in names:
        say(f"built: {name}")
    return sdist.name.removesuffix(".tar.gz").rpartition("-")[2]


def make(source: Path, target: Path, shown: Step) -> None:
    """Build from a directory, with the packages that are installed here."""
    run(
        [
            *(sys.executable, "-m", "build", "--no-isolation", "--sdist", "--wheel"),
            *("--outdir", str(target), str(source)),
        ],
        shown,
        what=f"the sdist and the wheel can't be built in {source}",
        remedy="see what the build says; `tox run -e dist` has all that it needs",
    )


def require_same(first: Path, second: Path) -> None:
    """Compare what two builds made, by the bytes."""
    names = {path.name for path in first.iterdir()} | {path.name for path in second.iterdir()}
    for name in sorted(names):
        one, two = first / name, second / name
        if not (one.exists() and two.exists()):
            evidence = f"{name} is of one build alone"
        elif one.read_bytes() != two.read_bytes():
            had, has = members(one), members(two)
            other = sorted(key for key in {*had, *has} if had.get(key) != has.get(key))
            evidence = f"{name} differs in {', '.join(other) or 'how its files are packed'}"
        else:
            continue
        remedy = "find what depends on the time, the place or the order of files, and settle it"
        raise Problem("two builds are not the same", evidence, remedy)


def members(archive: Path) -> dict[str, bytes]:
    """The files in a wheel, or in an sdist, by their paths in the project."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            return {name: wheel.read(name) for name in wheel.namelist()}
    found = {}
    with tarfile.open(archive) as sdist:
        for member in sdist:
            file = sdist.extractfile(member)
            if file is not None:
                found[member.name.partition("/")[2]] = file.read()
    return found


def tracked() -> list[str]:
    """The project's files, as git has them; none where this is no repository."""
    if not (ROOT / ".git").exists():
        return []
    command = ["git", "ls-files", "-z"]
    files = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout
    return [name for name in files.split("\0") if (ROOT / name).is_file()]


def require_files(
    sdist: Mapping[str, bytes], wheel: Mapping[str, bytes], files: Iterable[str]
) -> None:
    """Make sure that the sdist has the whole project, and the wheel the whole package."""
    for name in files:
        for what, has, wanted in (
            ("sdist", sdist, True),
            ("wheel", wheel, name.startswith("pytest_dind/")),
        ):
            if wanted and name not in has:
                remedy = "see [tool.hatch.build] in pyproject.toml, and .gitignore"
                raise Problem(f"the {what} is not whole", f"{name} is not in it", remedy)


def require_address(metadata: str) -> None:
    """Make sure that the package index's page leads to the project.

    Args:
        metadata: The wheel's, with README in it, whose links the index shows as they are.

    Raises:
        Problem: it names no address, or a link is relative, and would lead nowhere from there.
    """
    told, _, readme = metadata.partition("\n\n")
    relative = re.search(r"\]\((?!https?://|#)([^)]+)\)", readme)
    if "\nProject-URL: " not in told:
        seen = "its metadata has no Project-URL"
        remedy = "write [project.urls] in pyproject.toml, with the repository's and the docs' URLs"
    elif relative:
        seen = f"README links to {relative[1]}"
        remedy = "write README's links with the repository's URL before them"
    else:
        return
    raise Problem("the package index's page would not lead to the project", seen, remedy)


def changes(version: str, tag: str, project: Path) -> str:
    """Give what the changelog says of a release.

    Raises:
        Problem: the tag is another version's, or the changelog does not have the release yet.
    """
    if tag != f"v{version}":
        raise Problem(
            "the tag and the version are not the same",
            f"the tag is {tag}, and pyproject.toml has {version}",
            f"tag the commit that has this version: git tag v{version}",
        )
    text = (project / "CHANGELOG.md").read_text(encoding="utf-8")
    head = re.escape(f"## {version} (")
    section = re.search(rf"^{head}.*?\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    left = sorted(path.name for path in (project / "changelog.d").glob("*.md"))
    if section is None or left:
        raise Problem(
            "the changelog is not that of this release",
            f"{left[0]} is still a fragment" if left else f"CHANGELOG.md has no {version}",
            "tox run -e changelog -- --yes; commit what it writes, and tag that commit",
        )
    return section[1].strip() + "\n"


if __name__ == "__main__":
    sys.exit(main())
