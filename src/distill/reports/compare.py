"""Several runs summarised: configurations as rows, mean ± deviation over seeds and folds."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from distill.files import write_text_atomic
from distill.metrics.goal import NEITHER, Goal
from distill.reports.numbers import number
from distill.reports.paired import PairedTest, paired_tests
from distill.reports.summary import ROLES, Summary

_ROLES = (*ROLES, "model")
_VALIDATION = "val/"
_NOT_COMPARED = (
    "seed=",
    "data.adapter.split.fold=",
    "+experiment",
    "resume=",
    "paths.",
    "name=",
    "threads=",
    "study.",
    "callbacks.progress_bar=",
    "metrics.report=",
)


@dataclass(frozen=True)
class Statistic:
    """Mean and sample standard deviation of n values; values that are not defined are left out."""

    mean: float
    deviation: float
    n: int

    @staticmethod
    def of(values: Sequence[float]) -> Statistic:
        """Summarises values; NaN if there is none (deviation: if there are fewer than two)."""
        known = [v for v in values if not math.isnan(v)]
        mean = statistics.fmean(known) if known else math.nan
        return Statistic(mean, statistics.stdev(known) if len(known) > 1 else math.nan, len(known))

    def __str__(self) -> str:
        if math.isnan(self.mean):
            return "–"
        return number(self.mean) + ("" if math.isnan(self.deviation) else f" ± {number(self.deviation)}")


@dataclass(frozen=True)
class RowRun:
    """A run behind a row: its seed, its folder, and the best checkpoint of the row's role; empty if not known. Of a
    cross-validation also its fold."""

    seed: int
    folder: str
    checkpoint: str
    fold: int | None = None


@dataclass(frozen=True)
class Row:
    """One model of one configuration.

    Attributes:
        configuration: What distinguishes it from the others.
        role: teacher | control | distilled | model.
        seeds: Seeds of its runs.
        metrics: Metric name to statistic over the runs: seeds, and folds of a cross-validation.
        gap_recovered: The same of the share of the gap, for `distilled`.
        cost: Name of a cost to statistic over the seeds; empty if it was not measured.
        tests: Metric name to the paired difference from the control, for `distilled`.
        better: Metric name to what is better; neither, where runs do not agree.
        datasets: Fingerprints of what its runs were tested on. Rows of other datasets are not ranked with it.
        elsewhere: Metrics of a teacher that are of the candidates that it scored only, and so not comparable.
        counted: Metric name to the requests that count, of all requests, over the runs.
        main_task: Of the runs; empty if not known.
        validation: Metric name to statistic over the seeds, on validation at the best checkpoint.
        runs: Where each of its runs is.
        report: Metrics that its runs were asked to show.
    """

    configuration: str
    role: str
    seeds: tuple[int, ...]
    metrics: dict[str, Statistic]
    gap_recovered: dict[str, Statistic]
    cost: dict[str, Statistic]
    tests: dict[str, PairedTest] = field(default_factory=dict)
    better: dict[str, Goal] = field(default_factory=dict)
    datasets: frozenset[str] = frozenset()
    elsewhere: frozenset[str] = frozenset()
    counted: dict[str, tuple[int, int]] = field(default_factory=dict)
    main_task: str = ""
    validation: dict[str, Statistic] = field(default_factory=dict)
    runs: tuple[RowRun, ...] = ()
    report: tuple[str, ...] = ()

    @property
    def folds(self) -> tuple[int, ...]:
        """Folds of a cross-validation that its runs were tested on, each once; none of other runs."""
        return tuple(sorted({run.fold for run in self.runs if run.fold is not None}))

    @property
    def over(self) -> str:
        """Names the seeds of its runs, and the folds if there are any."""
        seeds = ", ".join(map(str, dict.fromkeys(self.seeds) if self.folds else self.seeds))
        return f"{seeds}; folds {', '.join(map(str, self.folds))}" if self.folds else seeds


def compare(runs: Sequence[Summary]) -> list[Row]:
    """Groups runs that differ in their seed or their fold only and summarises each group.

    Runs of one configuration on different data are different groups, unless data follow from seed or fold. A teacher
    or control that several configurations share is listed once, as the first's "and n more".
    """
    rows: list[Row] = []
    shared: dict[tuple[str, tuple[int, ...], frozenset[str], str], list[int]] = {}
    for name, members in _groups(runs):
        for role in _ROLES:
            row = _row(name, role, members)
            if row is None:
                continue
            if role in ("teacher", "control"):
                means = json.dumps({k: s.mean for k, s in row.metrics.items()})
                identity = (role, row.seeds, row.datasets, means)
                places = shared.setdefault(identity, [])
                places.append(len(rows))
                if len(places) > 1:
                    continue
            rows.append(row)
    for first, *others in shared.values():
        if others:
            rows[first] = replace(rows[first], configuration=f"{rows[first].configuration} and {len(others)} more")
    return rows


def _groups(runs: Sequence[Summary]) -> list[tuple[str, list[Summary]]]:
    """Puts together what differs in the seed or fold only, with what the group is called."""
    common = set.intersection(*(set(changes(run)) for run in runs)) if len(runs) > 1 else set()
    groups: dict[tuple[str, str], list[Summary]] = {}
    for run in runs:
        own = " ".join(change for change in changes(run) if change not in common)
        groups.setdefault((run.config_hash, own or run.name), []).append(run)
    found: list[tuple[str, list[Summary]]] = []
    for (_, name), members in groups.items():
        by_data: dict[str, list[Summary]] = {}
        for run in members:
            by_data.setdefault("" if _data_follow_runs(members) else run.dataset, []).append(run)
        several = len(by_data) > 1
        found += [(f"{name} (data {data[:6]})" if several else name, own) for data, own in by_data.items()]
    return found


def _data_follow_runs(runs: Sequence[Summary]) -> bool:
    """Whether each seed, or each fold, has data of its own; of summaries that do not tell, if none has two datasets."""
    of_seed = all(run.data_of_seed is not False for run in runs)
    datasets: dict[tuple[int | None, int | None], set[str]] = {}
    for run in runs:
        datasets.setdefault((run.seed if of_seed else None, run.fold), set()).add(run.dataset)
    return all(len(own) == 1 for own in datasets.values())


def changes(run: Summary) -> list[str]:
    """Returns what tells a run from others: its name and what was changed, seed, fold and folders left out."""
    return [run.name, *(o for o in run.overrides if not o.startswith(_NOT_COMPARED))]


def save_comparison(rows: Sequence[Row], path: Path) -> None:
    """Writes all rows and metrics as JSON; a value that is not defined is null."""

    def plain(values: Mapping[str, Statistic]) -> dict[str, dict[str, float | int | None]]:
        return {
            name: {"mean": _known(s.mean), "deviation": _known(s.deviation), "n": s.n} for name, s in values.items()
        }

    content = [
        {
            "configuration": row.configuration,
            "role": row.role,
            "seeds": row.seeds,
            "runs": [asdict(run) for run in row.runs],
            "metrics": plain(row.metrics),
            "validation": plain(row.validation),
            "gap_recovered": plain(row.gap_recovered),
            "cost": plain(row.cost),
            "difference_from_control": {name: _test(test) for name, test in row.tests.items()},
            "better": {name: goal.plain for name, goal in row.better.items()},
            "datasets": sorted(row.datasets),
            "not_comparable": sorted(row.elsewhere),
            "counted": {name: {"requests": few, "of": many} for name, (few, many) in row.counted.items()},
        }
        for row in rows
    ]
    write_text_atomic(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def _row(name: str, role: str, members: Sequence[Summary]) -> Row | None:
    runs = [run for run in members if role in run.metrics]
    if not runs:
        return None
    names = dict.fromkeys(metric for run in runs for metric in run.metrics[role])
    metrics = {m: Statistic.of([run.metrics[role].get(m, math.nan) for run in runs]) for m in names}
    shares: dict[str, Statistic] = {}
    if role == "distilled":
        recovered = dict.fromkeys(metric for run in runs for metric in run.gap_recovered)
        shares = {m: Statistic.of([run.gap_recovered.get(m, math.nan) for run in runs]) for m in recovered}
    kinds = dict.fromkeys(kind for run in runs for kind in run.cost.get(role, {}))
    cost = {kind: Statistic.of([run.cost.get(role, {}).get(kind, math.nan) for run in runs]) for kind in kinds}
    return Row(
        configuration=name,
        role=role,
        seeds=tuple(run.seed for run in runs),
        metrics=metrics,
        gap_recovered=shares,
        cost=cost,
        tests=paired_tests(runs) if role == "distilled" else {},
        better={metric: agreed([run.goal(metric) for run in runs if metric in run.metrics[role]]) for metric in names},
        datasets=frozenset(run.dataset for run in runs),
        elsewhere=frozenset(m for m in names if not all(run.comparable(role, m) for run in runs)),
        counted=_counted(role, runs),
        main_task=runs[0].main_task,
        validation=_validation(role, runs, names),
        runs=tuple(RowRun(run.seed, run.folder, run.checkpoint(role), run.fold) for run in runs),
        report=tuple(dict.fromkeys(name for run in runs for name in run.report)),
    )


def _validation(role: str, runs: Sequence[Summary], names: Iterable[str]) -> dict[str, Statistic]:
    """The same metrics on validation; those that were not measured there are left out."""
    found = {m: [run.validation.get(role, {}).get(_VALIDATION + m, math.nan) for run in runs] for m in names}
    return {metric: Statistic.of(values) for metric, values in found.items() if not all(map(math.isnan, values))}


def agreed(goals: Sequence[Goal]) -> Goal:
    """The goal that all name; neither, if they do not agree or there is none."""
    return goals[0] if len(set(goals)) == 1 else NEITHER


def _counted(role: str, runs: Sequence[Summary]) -> dict[str, tuple[int, int]]:
    counted: dict[str, tuple[int, int]] = {}
    for run in runs:
        for name, count in run.counted.get(role, {}).items():
            few, many = counted.get(name, (0, 0))
            counted[name] = (few + count, many + run.requests)
    return counted


def _test(test: PairedTest) -> dict[str, float | int | None]:
    return {
        "mean": test.difference,
        "deviation": _known(test.deviation),
        "standard_error": test.standard_error,
        "standard_errors": test.standard_errors,
        "p": test.p,
        "requests": test.requests,
    }


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
