"""The table of what works on which engine, made from real ones.

python tools/conformance.py run         make each engine in turn, run the small suite on it, and
                                        write docs/engines.json and the table in docs/engines.md
python tools/conformance.py run ssh own the same for some rows of the table
python tools/conformance.py table       write the table again from docs/engines.json
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import _daemon
import _images
from _console import Problem, say
from _further import ROOT, ROWS, Reached
from _locks import lock
from engine import require_engine

from pytest_dind.conformance import table
from pytest_dind.conformance.examination import Examined

DATA = ROOT / "docs" / "engines.json"
PAGE = ROOT / "docs" / "engines.md"
BEGIN, END = "<!-- begin of the table of engines -->", "<!-- end of the table of engines -->"

Found = dict[str, list[dict[str, Any]]]
"""What was found, by the rows' names."""


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line asks for; give the exit status."""
    options = parse(arguments)
    signal.signal(signal.SIGTERM, _end)
    try:
        options.action(options)
    except Problem as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        "conformance.py", description=__doc__, formatter_class=formatter
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    command = commands.add_parser("run", help="run the suite on engines, and write the table")
    command.add_argument(
        "rows", nargs="*", metavar="ROW", help=f"of {', '.join(ROWS)} (default: all)"
    )
    command.add_argument(
        "--state-dir",
        type=Path,
        default=_daemon.state_directory() / "conformance",
        metavar="DIR",
        help="where the engines' files are meanwhile (default: %(default)s)",
    )
    command.set_defaults(action=run)
    commands.add_parser("table", help="write the table again").set_defaults(
        action=lambda _options: write(read())
    )
    options = parser.parse_args(arguments)
    for name in getattr(options, "rows", []):
        if name not in ROWS:
            parser.error(f"there is no row {name}; there are {', '.join(ROWS)}")
    return options


def run(options: argparse.Namespace) -> None:
    """Run the suite on engines, one after the other; what is found is written at once."""
    machine = require_engine()
    _images.ensure(machine)
    for name in options.rows or ROWS:
        directory = options.state_dir / name
        directory.mkdir(parents=True, exist_ok=True)
        with lock(options.state_dir, name), ROWS[name](directory, machine) as reached:
            rows = examined(name, reached)
        found = {**read(), name: rows}
        write({key: found[key] for key in ROWS if key in found})
        for line in table.markdown([Examined.read(row) for row in rows]):
            say(line)


def examined(name: str, reached: Reached) -> list[dict[str, Any]]:
    """Run the suite on an engine, where the tests are."""
    text = reached.call(
        [
            *("-m", "pytest_dind", "conformance", "--json", f"--host={reached.host}"),
            *(f"--image={_images.DAEMON}", f"--nested={_images.NESTED}"),
        ]
    )
    try:
        rows: list[dict[str, Any]] = json.loads(text)
    except ValueError as error:
        raise Problem(
            f"the suite did not run on {name}", text or str(error), "what it said is above"
        ) from error
    if reached.way:
        for row in rows:
            row["engine"] += f", {reached.way}"
    return rows


def read() -> Found:
    """Give what was found so far."""
    return dict(json.loads(DATA.read_text())) if DATA.exists() else {}


def write(found: Mapping[str, list[dict[str, Any]]]) -> None:
    """Write what was found, and the table of it."""
    DATA.write_text(json.dumps(found, indent=1) + "\n")
    PAGE.write_text(with_table(PAGE.read_text(), found))


def with_table(page: str, found: Mapping[str, list[dict[str, Any]]]) -> str:
    """Give the page with the table of what was found between its markers."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return "\n".join([f"{before}{BEGIN}", "", *lines(found), "", f"{END}{after}"])


def lines(found: Mapping[str, list[dict[str, Any]]]) -> Iterator[str]:
    """Give the table's lines."""
    return table.markdown([Examined.read(row) for rows in found.values() for row in rows])


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    """End as after any other error, so that no engine is left."""
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
