"""Teacher, control and student measured on the same rows, and what of them can be compared."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from distill.metrics import Evaluation, MetricSuite, Sampled, ScoredRows, teacher_rows
from distill.metrics.curves import Curves, curves_of
from distill.metrics.functional.reduce import PerRequest
from distill.metrics.goal import Goal
from distill.metrics.room import HOST, moved, where_room_is
from distill.reports.summary import ROLES, Difference

_Values = dict[str, float]
_Measured = tuple[_Values, dict[str, Sampled]]


@dataclass(frozen=True)
class Teacher:
    """What a teacher's scores can be measured for.

    Attributes:
        tasks: That it scores; None for all.
        probabilities: Whether its scores are any.
    """

    tasks: Collection[str] | None
    probabilities: bool


@dataclass(frozen=True)
class RoleMetrics:
    """What the models of a run measured on test; the attributes are those of `Summary` that have the same names, and
    `curves`, by role."""

    metrics: dict[str, _Values]
    better: dict[str, str | float]
    requests: int
    counted: dict[str, dict[str, int]]
    gap_recovered: _Values = field(default_factory=dict)
    differences: dict[str, Difference] = field(default_factory=dict)
    teacher_lead: dict[str, Difference] = field(default_factory=dict)
    on_scored: dict[str, _Values] = field(default_factory=dict)
    scored: float | None = None
    report: list[str] = field(default_factory=list)
    curves: dict[str, Curves] = field(default_factory=dict)


def measure_roles(
    suite: MetricSuite,
    rows: Mapping[str, ScoredRows],
    tasks: Sequence[str],
    teacher: Teacher | None,
    device: torch.device = HOST,
) -> RoleMetrics:
    """Measures each role on all rows, the teacher on those that it scored, and compares them on the same rows.

    Args:
        suite: The metrics.
        rows: Role to its canonical table, all of the same candidates and with the same teacher's scores.
        tasks: Names of the K tasks.
        teacher: Whose scores the tables hold; None without.
        device: Where the metrics are computed if `suite.device` says `auto` and there is room.
    """
    found: dict[str, _Measured] = {}
    curves: dict[str, Curves] = {}
    for role, table in rows.items():  # one after the other: an evaluation holds the orders of all rows
        found[role], curves[role] = where_room_is(
            lambda placed: _with_curves(suite, Evaluation(placed, tasks)), moved(table, device, suite.device)
        )
    *_, some = rows.values()
    scored, of_teacher = 1.0, None
    same = found
    if teacher is not None:
        own = _suite_of_teacher(suite, some, teacher)
        judged = teacher_rows(some)
        if judged is not None:
            of_teacher, curves["teacher"] = where_room_is(
                lambda placed: _with_curves(own, Evaluation(placed, tasks, teacher.tasks)),
                moved(judged, device, suite.device),
            )
    if of_teacher is not None and some.teacher_valid is not None and not bool(some.teacher_valid.all()):
        scored = int(some.teacher_valid.sum()) / some.num_rows
        parts = {role: table.select(some.teacher_valid) for role, table in rows.items()}
        same = {role: suite.measure(moved(part, device, suite.device), tasks) for role, part in parts.items()}
    everyone = found if of_teacher is None else {"teacher": of_teacher, **found}
    names = dict.fromkeys(name for values, _ in everyone.values() for name in values)
    goals = {name: suite.goal(name) for name in names}
    compared = same if of_teacher is None else {"teacher": of_teacher, **same}
    return RoleMetrics(
        metrics={role: values for role, (values, _) in everyone.items()},
        better={name: goal.plain for name, goal in goals.items()},
        requests=num_requests(some),
        counted={role: counted(sampled) for role, (_, sampled) in everyone.items()},
        gap_recovered=gap_recovered({role: sampled for role, (_, sampled) in compared.items()}, goals),
        differences=_differences(found, "distilled", "control"),
        teacher_lead=_differences(compared, "teacher", "control"),
        on_scored={} if of_teacher is None else _that_differ(found, same, of_teacher[0]),
        scored=None if of_teacher is None else scored,
        report=list(suite.report or ()),
        curves=curves,
    )


def gap_recovered(sampled: Mapping[str, Mapping[str, Sampled]], goals: Mapping[str, Goal]) -> _Values:
    """Computes (distilled − control) / (teacher − control) where the teacher is better than chance would make it.

    Of metrics of which more or less is better, on the requests that all three have a value of, where the teacher beats
    the control by more than two standard errors, paired over no fewer than `FEW` requests (or users, of GAUC).

    Args:
        sampled: Role to metric name to what was measured, on the same rows.
        goals: Metric name to what is better.
    """
    if any(role not in sampled for role in ROLES):
        return {}
    found = {}
    for name in sampled["distilled"]:
        better = goals[name].better
        if better not in ("up", "down") or any(name not in sampled[role] for role in ROLES):
            continue
        teacher, control, distilled = _common([sampled[role][name] for role in ROLES])
        lead, gain = _difference(teacher, control), _difference(distilled, control)
        if lead is not None and gain is not None and lead.significant and (lead.mean > 0) == (better == "up"):
            found[name] = gain.mean / lead.mean
    return found


def num_requests(rows: ScoredRows) -> int:
    """Counts the requests of a canonical table."""
    ids = rows.request_id
    return int((ids[1:] != ids[:-1]).sum()) + 1 if ids.numel() else 0


def measure_teacher(
    suite: MetricSuite, rows: ScoredRows, tasks: Sequence[str], teacher: Teacher, device: torch.device = HOST
) -> _Measured | None:
    """Measures the teacher whose scores a table holds; None without. See `measure_roles`."""
    judged = teacher_rows(rows)
    if judged is None:
        return None
    own = _suite_of_teacher(suite, rows, teacher)
    return own.measure(moved(judged, device, suite.device), tasks, teacher.tasks)


def _suite_of_teacher(suite: MetricSuite, rows: ScoredRows, teacher: Teacher) -> MetricSuite:
    """The metrics that a teacher has. An order alone is not a probability."""
    own = suite if rows.teacher_score is not None else suite.pointwise
    return own if teacher.probabilities else own.without_probabilities


def _with_curves(suite: MetricSuite, evaluation: Evaluation) -> tuple[_Measured, Curves]:
    return suite.measured(evaluation), curves_of(suite, evaluation)


def _that_differ(
    everywhere: Mapping[str, _Measured], same: Mapping[str, _Measured], teacher: _Values
) -> dict[str, _Values]:
    """The values, on the rows that the teacher scored, of metrics that are not what they are on all rows."""
    names = [
        name
        for name in teacher
        if any(not _equal(everywhere[r][0].get(name), same[r][0].get(name)) for r in everywhere)
    ]
    return {role: {n: values[n] for n in names if n in values} for role, (values, _) in same.items()} if names else {}


def _equal(one: float | None, other: float | None) -> bool:
    return one == other or (one is not None and other is not None and math.isnan(one) and math.isnan(other))


def _common(parts: Sequence[Sampled]) -> list[Sampled]:
    """Leaves the requests that all have a value of."""
    used = parts[0].used
    for part in parts[1:]:
        used = used & part.used
    return [part.where(used) if isinstance(part, PerRequest) else part for part in parts]


def _difference(one: Sampled, other: Sampled) -> Difference | None:
    """One minus the other, paired; None below two requests."""
    if isinstance(one, PerRequest):
        assert isinstance(other, PerRequest)  # a metric gives the same kind for every model
        found: Sampled = one.minus(other)
    else:
        assert not isinstance(other, PerRequest)
        found = one.minus(other)
    if found.num_used < 2 or math.isnan(float(found.value)):
        return None
    return Difference(float(found.value), float(found.standard_error()), found.num_used)


def _differences(measured: Mapping[str, _Measured], one: str, other: str) -> dict[str, Difference]:
    """Compares two roles by every metric that both have."""
    if one not in measured or other not in measured:
        return {}
    return paired_differences(measured[one][1], measured[other][1])


def paired_differences(own: Mapping[str, Sampled], others: Mapping[str, Sampled]) -> dict[str, Difference]:
    """Compares two models by every metric that both have, each by the name of the metric."""
    found = {name: _difference(own[name], others[name]) for name in own if name in others}
    return {name: difference for name, difference in found.items() if difference is not None}


def counted(sampled: Mapping[str, Sampled]) -> dict[str, int]:
    """Returns metric name to the number of requests that count, of means over requests."""
    return {name: part.num_used for name, part in sampled.items() if isinstance(part, PerRequest)}
