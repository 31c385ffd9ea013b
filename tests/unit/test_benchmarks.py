"""The benchmarks' statistics: what is compared with what, and when a goal is met."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from benchmarks import output, parts, runner
from benchmarks.case import Bench, Case, CaseFailed, CaseSkipped, Sample
from benchmarks.cases import ALL
from benchmarks.goals import (
    AtMost,
    AtMostAbove,
    AtMostTimes,
    AtMostTimesAnd,
    AtMostTimesOr,
    Goal,
    milliseconds,
    ratio,
)
from benchmarks.outcome import Outcome, against_peers, rows

_BENCH = Bench(image="some:tag", directory=Path("nowhere"))


def _start(bench: Bench) -> Sample:
    return {"start": 1.0}


def _case(name: str, *, goal: Goal | None = None, floor: str | None = None, least: int = 1) -> Case:
    return Case(name, "", _start, {"start": goal}, floor=floor, least=least)


def _outcome(case: Case, values: Iterable[float]) -> Outcome:
    return Outcome(case, [{"start": value} for value in values])


def test_ratio_is_of_pairs() -> None:
    """A round in which all was slow doesn't shift the ratio, as that of two medians would."""
    assert ratio([1.1, 2.2, 11.0], [1.0, 2.0, 10.0]) == pytest.approx(1.1)
    assert ratio([1.1, 30.0, 2.0], [1.0, 20.0, 4.0]) == pytest.approx(1.1)


@pytest.mark.parametrize("floor", [[], [1.0, 2.0]])
def test_no_ratio_without_pairs(floor: list[float]) -> None:
    """A floor that failed, at once or on the way, gives no ratio and no verdict."""
    assert ratio([1.0], floor) is None
    assert AtMostAbove(0.2).measure([1.0], floor) is None


@pytest.mark.parametrize(
    ("goal", "values", "floor", "met", "measured"),
    [
        (AtMostTimes(1.15), [1.15, 1.0, 9.0], [1.0, 1.0, 1.0], True, "1.15 times floor"),
        (AtMostTimes(1.15), [1.2, 1.0, 9.0], [1.0, 1.0, 1.0], False, "1.20 times floor"),
        (AtMostAbove(0.2), [0.3, 0.4, 1.0], [0.15, 0.2, 0.1], True, "floor + 200 ms"),
        (AtMostAbove(0.2), [0.3, 0.5, 1.0], [0.05, 0.2, 0.1], False, "floor + 300 ms"),
        (AtMostTimesAnd(1.25, 0.5), [2.0, 1.75, 1.0], [1.0, 1.0, 1.2], True, "100% of that"),
        (AtMostTimesAnd(1.25, 0.5), [2.0, 1.8, 1.0], [1.0, 1.0, 1.2], False, "103% of that"),
        (AtMost(0.01), [-0.05, 0.01, 0.3], [], True, "10.0 ms"),
        (AtMost(0.01), [-0.05, 0.011, 0.3], [], False, "11.0 ms"),
    ],
)
def test_goal_is_judged_by_the_median(
    goal: Goal, values: list[float], floor: list[float], met: bool, measured: str
) -> None:
    """The limit itself still meets the goal, and outliers don't matter."""
    least = _outcome(_case("floor"), floor)
    row = list(rows([least, _outcome(_case("it", goal=goal, floor="floor"), values)]))[-1]
    assert (row.met, row.measured) == (met, measured)


def test_row_has_the_spread() -> None:
    """A row says the median, the smallest and the largest value."""
    (row,) = rows([_outcome(_case("floor"), [3.0, 1.0, 2.5])])
    assert (row.median, row.least, row.most, row.ratio, row.met) == (2.5, 1.0, 3.0, None, None)


def test_goal_is_unknown_without_its_floor() -> None:
    """A case whose floor failed has figures, but no verdict; the table names what failed."""
    lost = Outcome(_case("floor"), [{"start": 1.0}], error="no engine")
    it = _outcome(_case("it", goal=AtMostTimes(1.15), floor="floor"), [1.0, 1.0])
    text = output.table([lost, it])
    assert "not known" in text
    assert "Failed: floor." in text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.7123, "712 ms"), (0.0999, "99.9 ms"), (-0.0041, "-4.1 ms")]
)
def test_figures_are_in_milliseconds(seconds: float, text: str) -> None:
    """Small ones have a decimal."""
    assert milliseconds(seconds) == text


class _Measure:
    """Notes the order of the samples; each is as long as there were samples before it."""

    def __init__(self, failing: Mapping[str, int] | None = None) -> None:
        self.order: list[str] = []
        self._failing = failing or {}

    def __call__(self, case: Case, bench: Bench) -> Sample:
        self.order.append(case.name)
        if self.order.count(case.name) == self._failing.get(case.name):
            raise CaseFailed("broken")
        return {"start": float(len(self.order) - 1)}


def test_cases_take_turns_and_the_first_round_does_not_count() -> None:
    """A B, A B, ...; where a case needs more samples than rounds, it takes some in each."""
    measure = _Measure()
    cases = [_case("a"), _case("b", least=3)]
    outcomes = runner.run(cases, _BENCH, rounds=2, measure=measure, say=lambda line: None)
    assert "".join(measure.order) == "ab" + "abb" * 2
    assert [outcome.values("start") for outcome in outcomes] == [[2.0, 5.0], [3.0, 4.0, 6.0, 7.0]]


def test_case_that_fails_leaves_the_others() -> None:
    """It isn't tried again, the others go on, and the failure is known at the end."""
    measure = _Measure(failing={"a": 2})
    cases = [_case("a"), _case("b")]
    outcomes = runner.run(cases, _BENCH, rounds=2, measure=measure, say=lambda line: None)
    assert "".join(measure.order) == "ababb"
    assert [outcome.case.name for outcome in output.failed(outcomes)] == ["a"]
    assert len(outcomes[1].samples) == 2


def test_named_cases_come_with_their_floor() -> None:
    """Without the floor in the same run there would be nothing to compare with."""
    known = [_case("floor"), _case("it", floor="floor"), _case("other")]
    assert [case.name for case in runner.chosen(["it"], known)] == ["floor", "it"]
    assert runner.chosen([], known) == known


def test_results_are_written_twice(tmp_path: Path) -> None:
    """As Markdown and as JSON, named after the cases."""
    case = _case("floor", goal=AtMost(1))
    page = output.write(tmp_path, [_outcome(case, [0.5])], {"cores": "2"}, rounds=1)
    assert "≤ 1000 ms" in page.read_text(encoding="utf-8")
    assert {path.name for path in tmp_path.iterdir()} == {"floor.md", "floor.json"}


@pytest.mark.parametrize(
    ("value", "floor", "met", "measured"),
    [
        (0.9, 0.5, True, "90% of that"),
        (1.5, 1.0, True, "94% of that"),
        (1.7, 1.0, False, "106% of that"),
    ],
)
def test_goal_is_the_larger_of_two(value: float, floor: float, met: bool, measured: str) -> None:
    """A slow machine is allowed more than the seconds, a fast one no less."""
    least = _outcome(_case("floor"), [floor])
    it = _outcome(_case("it", goal=AtMostTimesOr(1.6, 1.0), floor="floor"), [value])
    row = list(rows([least, it]))[-1]
    assert (row.met, row.measured) == (met, measured)


def test_fastest_peer() -> None:
    """The plugin is compared with the fastest tool that it has as a peer, and no other case."""
    quick = _outcome(_case("settings of its own"), [0.5, 0.5])
    slow = Outcome(Case("slow", "", _start, {"start": None}, peer=True), [{"start": 9.0}] * 2)
    fast = Outcome(Case("fast", "", _start, {"start": None}, peer=True), [{"start": 4.0}] * 2)
    it = _outcome(_case("dind"), [1.0, 2.0])

    assert against_peers([quick, slow, fast, it], "dind", "start") == ("fast", 3.0)
    assert "`fast`, takes 3.0 times as long to start as `dind`; goal: 3, met." in output.table(
        [slow, fast, it]
    )
    assert against_peers([quick, it], "dind", "start") is None


def test_case_that_cannot_be_measured_here() -> None:
    """It is left out with a reason, and nothing has failed."""

    def measure(case: Case, bench: Bench) -> Sample:
        raise CaseSkipped("no such tool is installed")

    outcomes = runner.run([_case("peer")], _BENCH, rounds=2, measure=measure, say=lambda line: None)
    assert output.failed(outcomes) == []
    assert "Left out: peer: no such tool is installed" in output.table(outcomes)


def test_floor_of_a_floor() -> None:
    """A case that is compared with one that has a floor itself comes with both."""
    known = [_case("floor"), _case("it", floor="floor"), _case("twice", floor="it")]
    assert runner.chosen(["twice"], known) == known


def test_all_cases_have_names_of_their_own_and_known_floors() -> None:
    """A floor comes before what is compared with it."""
    seen: dict[str, Case] = {}
    for case in ALL:
        assert case.name not in seen
        if case.floor:
            assert case.floor in seen
        seen[case.name] = case


def test_parts_of_log() -> None:
    """The parts of a start are read from dockerd's own lines, which may come out of turn."""
    log = "\n".join(
        f'time="2026-11-29T12:03:{line}'
        for line in (
            '51.000000001Z" level=info msg="Starting up"',
            '51.010000001Z" level=info msg="containerd not running, starting managed containerd"',
            '51.090000001Z" level=info msg="containerd successfully booted in 0.04s"',
            '51.300000001Z" level=debug msg="Max Concurrent Downloads: 3"',
            '51.200000001Z" level=debug msg="/usr/sbin/iptables, [--wait -t nat -N DOCKER]"',
            '51.202000001Z" level=debug msg="/usr/sbin/iptables, [--wait -t nat -L]"',
            '51.205000001Z" level=debug msg="/usr/sbin/ip6tables, [--wait -t nat -L]"',
            '52.500000001Z" level=info msg="API listen on /run/benchmark/docker.sock"',
        )
    )

    seconds, calls = parts.of_log(f"a line of the entrypoint's\n{log}\n")

    assert seconds == pytest.approx(
        {"dockerd": 1.5, "containerd": 0.08, "iptables": 0.005, "ip6tables": 0.095}, abs=1e-6
    )
    assert calls == {"iptables": 2, "ip6tables": 1}
