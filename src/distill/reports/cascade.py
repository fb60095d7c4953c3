"""Students at the front of a cascade: what users get and what it costs, as JSON, a page and pictures."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from distill.cascade.pareto import on_front
from distill.files import write_text_atomic
from distill.reports.page_ways import Ways, draw_ways
from distill.reports.point import Number

CASCADE_FILE = "cascade.json"
QUALITY = "shown_recall"
"""The quality that the front goes by."""


@dataclass(frozen=True)
class StageCost:
    """What a stage costs a request.

    Attributes:
        candidates: That it scores, in the mean.
        flops: Floating-point operations; NaN if not known.
        milliseconds: Of one thread, the median; NaN if not known.
    """

    candidates: float
    flops: float
    milliseconds: float


@dataclass(frozen=True)
class Group:
    """One group of candidates; see `distill.cascade.measures.Share`."""

    recall: Number
    wanted: float
    shown: float


@dataclass(frozen=True)
class Point:
    """One student at one k.

    Attributes:
        student: Its name.
        k: How many it passes on.
        recalls: Name to mean over requests.
        value: Mean value of a place, `best` on the best page; empty if values are not known.
        lost: Stage to the value of a place that is lost there.
        groups: Division to group to what it gets.
        coverage: How much of what is passed on the log's ranker scored; empty if it scored everything.
        estimate: Positives per place by the log's own users; empty without propensities.
        cost: Stage to its cost; empty if it was not measured.
        front: Whether no other point costs less and is as good, by `shown_recall` and milliseconds.
    """

    student: str
    k: int
    recalls: Mapping[str, Number]
    value: Mapping[str, Number]
    lost: Mapping[str, Number]
    groups: Mapping[str, Mapping[str, Group]]
    coverage: Mapping[str, float]
    estimate: Mapping[str, Number]
    cost: Mapping[str, StageCost]
    front: bool = False

    @property
    def milliseconds(self) -> float:
        """Of all stages; NaN if one is not known."""
        return sum(stage.milliseconds for stage in self.cost.values()) if self.cost else math.nan

    @property
    def flops(self) -> float:
        """Of the stages that are models; NaN if one is not known."""
        models = [stage.flops for name, stage in self.cost.items() if name != "page"]
        return sum(models) if models else math.nan


@dataclass(frozen=True)
class CascadeReport:
    """What was measured of all students on one set of rows.

    Attributes:
        data: Name of the rows.
        split: Of the dataset; `all` of raw files.
        requests: Number of requests.
        candidates: Number of candidates.
        ranker: File of the ranker, or `column`: its scores in the data.
        scored: Share of the candidates that it scored.
        ranked: m, that pass the ranker.
        shown: n, that are shown.
        best: t, of the joint recall.
        truth: What says which are the best, and what a candidate is worth.
        rerank: The re-ranker in words; empty without.
        students: Name to file.
        points: In the order of students and k.
        ways: Way to fill a page to what it measured, behind the first student at the first k; see `measure_ways`.
        larger: k to the share of requests with more candidates than that: in the others it cuts nothing.
    """

    data: str
    split: str
    requests: int
    candidates: int
    ranker: str
    scored: float
    ranked: int
    shown: int
    best: int
    truth: str
    rerank: str
    students: Mapping[str, str]
    points: Sequence[Point]
    larger: Mapping[int, float] = field(default_factory=dict)
    ways: Ways = field(default_factory=dict)

    @property
    def joint(self) -> str:
        """`R@t@n`, as the literature writes the joint recall."""
        return f"R@{self.best}@{self.shown}"


def with_front(points: Sequence[Point]) -> list[Point]:
    """Marks the points of the Pareto front of `shown_recall` and milliseconds."""
    front = on_front([p.milliseconds for p in points], [p.recalls[QUALITY].value for p in points])
    return [replace(point, front=mark) for point, mark in zip(points, front, strict=True)]


def save_cascade(report: CascadeReport, folder: Path) -> None:
    """Writes `cascade.json`, `cascade.md`, and the pictures that there is something for."""
    from distill.reports.cascade_markdown import cascade_markdown
    from distill.reports.cascade_picture import draw_front, draw_groups, draw_losses

    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(_finite(asdict(report)), indent=2, allow_nan=False)
    write_text_atomic(folder / CASCADE_FILE, text + "\n")
    pictures = [
        name
        for name, drawn in (
            ("front.png", draw_front(report, folder / "front.png")),
            ("losses.png", draw_losses(report, folder / "losses.png")),
            ("groups.png", draw_groups(report, folder / "groups.png")),
            ("ways.png", draw_ways(report.ways, "standard error over requests", folder / "ways.png")),
        )
        if drawn
    ]
    write_text_atomic(folder / "cascade.md", cascade_markdown(report, pictures))


def _finite(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(name): _finite(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
