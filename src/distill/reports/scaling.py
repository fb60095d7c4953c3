"""Scaling curves: what arms measured, as JSON, tables and a picture."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from distill.files import write_text_atomic
from distill.reports.backtest import spread
from distill.reports.numbers import percent
from distill.reports.point import Number
from distill.reports.summary import ROLES, Summary

SCALING_FILE = "scaling.json"
PICTURE_FILE = "scaling.png"
METRICS = {
    "click/auc": "click AUC",
    "teacher_recall@20_10": "teacher recall",
    "best_recall@20_10": "recall of the truly best",
}
_OF_TEACHER = "teacher_recall@20_10"  # the teacher's own is 1
REQUEST = 1000  # candidates of a request whose cost is shown
MILLISECONDS = f"ms_p50@{REQUEST}"


@dataclass(frozen=True)
class ScalingArm:
    """A point of one or more curves.

    Attributes:
        axes: The curves: students, data, teachers.
        student: Name of the student.
        teacher: Name of the teacher.
        share: Of the training candidates.
        summaries: What each world measured.
    """

    axes: tuple[str, ...]
    student: str
    teacher: str
    share: float
    summaries: Sequence[Summary]

    def metric(self, role: str, name: str) -> Number:
        """Returns mean and deviation over worlds."""
        return Number(*spread([one.metrics.get(role, {}).get(name, math.nan) for one in self.summaries]))

    def gap(self, name: str) -> Number:
        """Returns the share of the gap that is recovered; NaN where a teacher has no lead worth the name."""
        return Number(*spread([one.gap_recovered.get(name, math.nan) for one in self.summaries]))

    def gain(self, name: str) -> Number:
        """Returns distilled − control: over several worlds with their deviation, of one with the paired standard error
        over requests."""
        own = [one.differences.get(name) for one in self.summaries]
        if len(own) == 1:
            return Number(own[0].mean, own[0].standard_error) if own[0] is not None else Number(math.nan)
        return Number(*spread([math.nan if one is None else one.mean for one in own]))


@dataclass(frozen=True)
class Scaling:
    """A study.

    Attributes:
        seeds: Of the worlds.
        candidates: Of the training split, in the first of them.
        arms: Name to what it measured; the first is the reference.
        costs: `student NAME` and `teacher NAME` to what each costs.
    """

    seeds: tuple[int, ...]
    candidates: int
    arms: Mapping[str, ScalingArm]
    costs: Mapping[str, Mapping[str, float]]

    def on(self, axis: str) -> list[ScalingArm]:
        """Returns the arms of a curve, from the smallest: by parameters, candidates, or what a teacher computes."""
        return sorted((arm for arm in self.arms.values() if axis in arm.axes), key=lambda arm: self.size(axis, arm))

    def size(self, axis: str, arm: ScalingArm) -> float:
        """Returns where an arm stands on a curve."""
        if axis == "data":
            return arm.share * self.candidates
        if axis == "students":
            return self.costs[f"student {arm.student}"]["parameters"]
        return self.costs[f"teacher {arm.teacher}"]["candidate_flops"]


def save_scaling(found: Scaling, folder: Path) -> None:
    """Writes `scaling.json`, `scaling.md` with a table for each curve, and `scaling.png`."""
    from distill.reports.scaling_picture import draw_scaling  # matplotlib is a second of import

    write_text_atomic(folder / SCALING_FILE, json.dumps(_plain(found), indent=1, allow_nan=False) + "\n")
    write_text_atomic(folder / "scaling.md", scaling_markdown(found))
    draw_scaling(found, folder / PICTURE_FILE)


def print_scaling(found: Scaling, console: Console) -> None:
    """Prints the tables."""
    console.print(scaling_markdown(found), soft_wrap=True, markup=False, highlight=False)


def scaling_markdown(found: Scaling) -> str:
    """Returns a table of quality for each curve, and one of costs: mean ± deviation over worlds; of one world, gains ±
    their standard error over requests."""
    axes = dict.fromkeys(axis for arm in found.arms.values() for axis in arm.axes)
    shown = [axis for axis in axes if len(found.on(axis)) > 1] or list(axes)[:1]
    return "\n".join([*(_quality_table(found, axis) for axis in shown), _cost_table(found)])


def _quality_table(found: Scaling, axis: str) -> str:
    title = {"students": "two-tower", "data": "training candidates", "teachers": "teacher"}[axis]
    return _table([{title: _name(found, axis, arm), **_quality(arm)} for arm in found.on(axis)])


def _name(found: Scaling, axis: str, arm: ScalingArm) -> str:
    return {"students": arm.student, "teachers": arm.teacher, "data": f"{found.size('data', arm):,.0f}"}[axis]


def _quality(arm: ScalingArm) -> dict[str, str]:
    cells = {}
    for metric, title in METRICS.items():
        for role in ROLES if metric != _OF_TEACHER else ROLES[1:]:
            cells[f"{title}, {role}"] = str(arm.metric(role, metric))
        cells[f"{title}, gain"] = str(arm.gain(metric))
        cells[f"{title}, gap recovered"] = _share(arm.gap(metric))
    return cells


def _cost_table(found: Scaling) -> str:
    """One row for each model: a request has 1,000 candidates."""
    models = sorted(found.costs, key=lambda name: (name.split()[0], found.costs[name]["parameters"]))
    return _table([{"model": name, **_cost_cells(found.costs[name])} for name in models])


def _cost_cells(cost: Mapping[str, float]) -> dict[str, str]:
    flops = cost["request_flops"] + REQUEST * cost["candidate_flops"]
    return {
        "parameters": f"{cost['parameters']:,.0f}",
        "MFLOPs of a request": f"{flops / 1e6:,.2f}",
        "bytes an item": f"{cost['item_bytes']:,.0f}",
        "ms of a request": f"{cost[MILLISECONDS]:.2f}",
    }


def _share(one: Number) -> str:
    if math.isnan(one.value):
        return "–"
    return percent(one.value) + ("" if math.isnan(one.error) else f" ± {percent(one.error)}")


def _table(rows: Sequence[Mapping[str, str]]) -> str:
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(list(row.values()) for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _plain(found: Scaling) -> dict[str, Any]:
    return {
        "seeds": list(found.seeds),
        "candidates": found.candidates,
        "costs": {name: dict(cost) for name, cost in found.costs.items()},
        "arms": {
            name: {
                "axes": list(arm.axes),
                "student": arm.student,
                "teacher": arm.teacher,
                "candidates": arm.share * found.candidates,
                "seconds": [dict(one.seconds) for one in arm.summaries],
                "steps": [dict(one.steps) for one in arm.summaries],
                "metrics": {role: {m: _pair(arm.metric(role, m)) for m in METRICS} for role in ROLES},
                "gap_recovered": {m: _pair(arm.gap(m)) for m in METRICS},
                "gain": {m: _pair(arm.gain(m)) for m in METRICS},
            }
            for name, arm in found.arms.items()
        },
    }


def _pair(one: Number) -> list[float | None]:
    return [x if math.isfinite(x) else None for x in (one.value, one.error)]
