"""Runs with made-up numbers, as pages need them, and a reader of pages."""

from __future__ import annotations

from html.parser import HTMLParser

from distill.metrics.curves import CalibrationCurve, Curves, RecallCurve
from distill.metrics.learning import LearningCurve
from distill.reports.evidence import DataRead, Evidence, SplitRead
from distill.reports.summary import Difference, Summary
from tests.reports.runs import run_of

ROLES = {"teacher": 0.8, "control": 0.7, "distilled": 0.76}
VOID = {"meta"}


def values_of(auc: float) -> dict[str, float]:
    bands = {f"click/auc_{band}": auc - down for band, down in (("head", 0.0), ("torso", 0.02), ("tail", 0.06))}
    stages = {"stage_recall@20_ranked": auc - 0.3, "stage_recall@20_exposed": auc - 0.1, "click/stage_recall@20": auc}
    return {"click/auc": auc, "click/pcoc": 2 - auc, "click/recall@20": auc, **bands, **stages}


def run_with(folder: str, seed: int = 0, config: str = "a", up: float = 0.0) -> Summary:
    metrics = {role: values_of(auc + up) for role, auc in ROLES.items()}
    cost = {role: {"ms_p50@1000": 4 * auc, "candidate_flops": 900.0} for role, auc in ROLES.items()}
    return run_of(
        metrics,
        seed=seed,
        config=config,
        folder=folder,
        main_task="click",
        cost=cost,
        gap_recovered={"click/auc": 0.6},
        differences={"click/auc": Difference(0.06, 0.01, 90)},
        validation={role: {"val/click/auc": auc + 0.01} for role, auc in ROLES.items()},
        checkpoints={"distilled": "checkpoints/best.ckpt"},
    )


def evidence(name: str = "shop", up: float = 0.0) -> Evidence:
    def curves(auc: float) -> Curves:
        recall = RecallCurve([1, 2, 5, 10], [auc / 4, auc / 2, auc, 1.0], [0.01, 0.01, 0.02, None], [90, 90, 80, 40])
        return Curves(
            {"teacher_recall@k_10": recall, "click/recall@k": recall},
            {"click": CalibrationCurve([0.1, 0.2, 0.4], [0.12 * auc, 0.2, 0.4 * auc], [30.0, 30.0, 30.0])},
        )

    data = DataRead(
        name, f"/data/{name}", "f" * 32, "e" * 32, [SplitRead("val", 90, 900, 12345, 2)], ["Read 900 rows."]
    )
    learning = {
        role: LearningCurve("val/click/auc", [10, 20], [auc - 0.1, auc], [0.7, None]) for role, auc in ROLES.items()
    }
    return Evidence(data, {role: curves(auc + up) for role, auc in ROLES.items()}, learning)


class Page(HTMLParser):
    """What a page holds; every element that is opened must be closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.names: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        found = dict(attrs)
        self.ids += [str(found[name]) for name in ("id",) if name in found]
        self.links += [str(found[name]) for name in ("href", "src") if name in found]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.texts.append(data)

    @property
    def text(self) -> str:
        """All text, spaces made one."""
        return " ".join(" ".join(self.texts).split())
