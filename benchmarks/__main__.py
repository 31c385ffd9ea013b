"""`python -m benchmarks`: run the cases in turn, print the table, write the results."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import docker
from docker.errors import DockerException

from . import interrupts, machine, output, runner
from .case import Bench, Case, CaseFailed, Sample
from .cases import ALL
from .traces import Traces

_IMAGE = "pytest-dind/daemon:test"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; the exit code is 1 when a case failed or left something on the engine."""
    options = _parser().parse_args(arguments)
    cases = runner.chosen(options.only, ALL)
    # A kill is as good as a Ctrl-C: what is on the engine is removed.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return _run(cases, options.image, options.rounds, options.output)
    except (CaseFailed, DockerException) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("benchmarks: interrupted", file=sys.stderr)
        return 128 + signal.SIGINT


def _parser() -> argparse.ArgumentParser:
    names = [case.name for case in ALL]
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=_positive, default=7, metavar="N", help="default: 7")
    parser.add_argument(
        "--only",
        nargs="+",
        default=[],
        choices=names,
        metavar="NAME",
        help=f"only these cases, and the floors they need: {', '.join(names)}",
    )
    parser.add_argument("--image", default=_IMAGE, help=f"the daemon's image (default: {_IMAGE})")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path(__file__).with_name("results"),
        metavar="DIR",
        help="where the results go (default: benchmarks/results)",
    )
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def _run(cases: Sequence[Case], image: str, rounds: int, directory: Path) -> int:
    engine = docker.from_env()
    try:
        with Traces.of(engine, image) as traces, tempfile.TemporaryDirectory() as scratch:
            with interrupts.later():
                facts = machine.facts(engine, traces.image, image)
            bench = Bench(image=traces.image, directory=Path(scratch))
            if any(case.images == 2 for case in cases):
                _say("making an image of twice the size")
                traces.double(bench.double)

            def measure(case: Case, bench: Bench) -> Sample:
                try:
                    sample = case.sample(bench)
                except CaseFailed:
                    # Here, so that it is not taken for the next case's.
                    traces.remove()
                    raise
                traces.check()
                return sample

            outcomes = runner.run(cases, bench, rounds=rounds, measure=measure, say=_say)
    finally:
        engine.close()
    print(f"\n{output.table(outcomes)}\n")
    name = "all" if len(cases) == len(ALL) else ""
    page = output.write(directory, outcomes, facts, rounds=rounds, name=name)
    print(f"Written: {page}, and as JSON.")
    return 1 if output.failed(outcomes) else 0


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
