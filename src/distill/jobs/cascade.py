"""Measures a whole cascade: students at its front, one ranker behind them, and what the user gets."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from torch import Tensor

from distill.cascade import Cuts, Judged, Pages, Passed, by_rank, coverage, estimate, measure, ranker_alone, run_stages
from distill.cascade.divisions import divisions
from distill.cascade.measures import Division, Measured
from distill.cascade.rerank import RerankedPages
from distill.cascade.stages import sizes
from distill.console import plain_console
from distill.data.dataset import load_dataset
from distill.data.format import Dataset
from distill.data.popularity import item_exposures
from distill.errors import ConfigError, DataError
from distill.export.rerank import read_rerank
from distill.jobs.cascade_cost import CascadeCosts
from distill.jobs.checkpoints import checkpoint_of
from distill.jobs.item_views import item_view
from distill.jobs.machine import job_ranks
from distill.jobs.node import plain
from distill.jobs.of_model import dataset_of_model
from distill.jobs.parts import LoadedModel, load_model
from distill.jobs.score_files import is_score_file, with_scores
from distill.jobs.scored import COLUMN, check_same_rows, data_name, models_of, scored_rows, unscored_rows, with_teacher
from distill.metrics import ScoredRows
from distill.metrics.functional.influence import Influence
from distill.metrics.functional.reduce import PerRequest
from distill.metrics.rows import canonical, request_index
from distill.ops.ranks import rank
from distill.reports.cascade import CascadeReport, Group, Number, Point, StageCost, save_cascade, with_front
from distill.reports.cascade_table import print_cascade
from distill.serving import Rerank

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Students:
    """The students and the ranker.

    Attributes:
        files: Name of a student to its file.
        loaded: Name to its model; of score files there is none.
        ranker: File and model; None if the data holds its scores.
    """

    files: Mapping[str, Path]
    loaded: Mapping[str, LoadedModel]
    ranker: tuple[Path, LoadedModel] | None

    @classmethod
    def of(cls, cfg: DictConfig) -> _Students:
        files = models_of(cfg)
        loaded = {name: load_model(path) for name, path in files.items() if not is_score_file(path)}
        path = None if cfg.teacher_path == COLUMN else checkpoint_of(Path(cfg.teacher_path))
        return cls(files, loaded, None if path is None else (path, load_model(path)))

    def dataset(self, cfg: DictConfig) -> Dataset:
        """The rows, as the first model reads them."""
        for name, model in self.loaded.items():
            return dataset_of_model(cfg, model, self.files[name])
        if self.ranker is not None:
            return dataset_of_model(cfg, self.ranker[1], self.ranker[0])
        if cfg.data.get("root") is None:
            raise ConfigError(
                "Files of scores are of a prepared dataset.", where="data", expected="data=prepared data.root=DIR"
            )
        return load_dataset(Path(cfg.data.root))


def run(cfg: DictConfig) -> CascadeReport | None:
    """Measures every student of `path` at every k, behind the ranker of `teacher_path`; rank 0 has the result."""
    with job_ranks(cfg, Path(HydraConfig.get().runtime.output_dir)) as (agreed, folder):
        rerank = read_rerank(plain(agreed.rerank))
        students = _Students.of(agreed)
        dataset = students.dataset(agreed)
        tables = _tables(agreed, dataset, students)
        if rank() != 0:
            return None
        report = _Cascade(agreed, dataset, students, tables, rerank).report()
        save_cascade(report, folder)
        print_cascade(report, plain_console())
        _log.info("Cascade: %s", folder)
    return report


def _tables(cfg: DictConfig, dataset: Dataset, students: _Students) -> dict[str, ScoredRows]:
    """Returns the rows as each student scored them, with the ranker's scores."""
    tables: dict[str, ScoredRows] = {}
    plain_rows: ScoredRows | None = None
    for name, path in students.files.items():
        if name in students.loaded:
            model = students.loaded[name]
            tables[name] = canonical(scored_rows(cfg, dataset_of_model(cfg, model, path), model)).rows
        else:
            plain_rows = plain_rows or canonical(unscored_rows(cfg, dataset)).rows
            tables[name] = with_scores(plain_rows, path, dataset)
        check_same_rows(tables, name)
    if students.ranker is None:
        return tables
    path, model = students.ranker
    own = canonical(scored_rows(cfg, dataset_of_model(cfg, model, path), model)).rows
    return {name: with_teacher(table, own) for name, table in tables.items()}


class _Cascade:
    def __init__(
        self,
        cfg: DictConfig,
        dataset: Dataset,
        students: _Students,
        tables: Mapping[str, ScoredRows],
        rerank: Rerank | None,
    ) -> None:
        self.cfg, self.dataset, self.students, self.tables, self.rerank = cfg, dataset, students, tables, rerank
        self.rows = next(iter(tables.values()))
        index, num_requests = request_index(self.rows)
        self.judged = _judged(self.rows, index, num_requests)
        self.cuts = [Cuts(int(k), int(cfg.ranked), int(cfg.shown)) for k in plain(cfg.ks)]
        self.worth = _worth(cfg, self.rows, dataset)
        exposures = item_exposures(dataset) if dataset.manifest.splits.get("train") else None
        self.divisions: Mapping[str, Division] = divisions(self.rows, index, exposures)
        self.costs = CascadeCosts(float(cfg.cost.seconds)) if cfg.cost.enabled else None
        self.pages, self.reranked = self._pages()

    def _pages(self) -> tuple[Pages, RerankedPages | None]:
        shown = int(self.cfg.shown)
        if self.rerank is None:
            return by_rank(shown), None
        model = next(((self.students.files[n], m) for n, m in self.students.loaded.items()), None)
        if self.cfg.rerank_vectors is not None:
            path = checkpoint_of(Path(self.cfg.rerank_vectors))
            model = path, load_model(path)
        items = item_view(self.cfg, self.rows, self.rerank, self.dataset, model)
        made = RerankedPages(self.rerank, shown, self.judged, items)
        return made, made

    def report(self) -> CascadeReport:
        cfg, per_request = self.cfg, sizes(self.judged)
        return CascadeReport(
            data=data_name(cfg),
            split="all" if cfg.data.get("root") is None else str(cfg.data_split),
            requests=self.judged.num_requests,
            candidates=self.rows.num_rows,
            ranker=str(cfg.teacher_path),
            scored=float(self.judged.known.double().mean()),
            ranked=int(cfg.ranked),
            shown=int(cfg.shown),
            best=int(cfg.best),
            truth=str(cfg.truth) if cfg.truth is not None else "the ranker's score",
            rerank="" if self.rerank is None else self.rerank.text(),
            students={name: str(path) for name, path in self.students.files.items()},
            points=with_front(list(self._points())),
            larger={cuts.prerank: float((per_request > cuts.prerank).double().mean()) for cuts in self.cuts},
        )

    def _points(self) -> Iterator[Point]:
        for cuts in self.cuts:
            alone = ranker_alone(self.judged, cuts, self.pages)
            for name, table in self.tables.items():
                passed = run_stages(table.score, self.judged, cuts, self.pages)
                truth, value = self.worth
                found = measure(passed, alone, self.judged, cuts, truth, int(self.cfg.best), value, self.divisions)
                yield self._point(name, cuts, passed, found)

    def _point(self, name: str, cuts: Cuts, passed: Passed, found: Measured) -> Point:
        scored_all = bool(self.judged.known.all())
        value = {} if found.value is None or found.best is None else {"value": found.value, "best": found.best}
        return Point(
            student=name,
            k=cuts.prerank,
            recalls={metric: _number(one) for metric, one in found.recalls.items()},
            value={metric: _number(one) for metric, one in value.items()},
            lost={stage: _number(one) for stage, one in found.lost.items()},
            groups={
                division: {
                    group: Group(_number(share.recall), share.wanted, share.shown) for group, share in shares.items()
                }
                for division, shares in found.groups.items()
            },
            coverage={} if scored_all else dict(coverage(passed, self.judged, cuts.page)),
            estimate=self._estimate(passed),
            cost=self._cost(name, cuts),
        )

    def _estimate(self, passed: Passed) -> dict[str, Number]:
        if self.cfg.propensity is None:
            return {}
        tasks = self.dataset.schema.task_names
        task = str(self.cfg.data.main_task)
        if task not in tasks:
            raise ConfigError("There is no such task.", where="data.main_task", expected=", ".join(tasks), found=task)
        column = tasks.index(task)
        rows, propensity = self.rows, _column(self.rows, str(self.cfg.propensity), "propensity")
        found = estimate(
            passed, self.judged, propensity, rows.labels[:, column], rows.observed[:, column], float(self.cfg.clip)
        )
        numbers = {"ips": _number(found.ips), "snips": _number(found.snips), "logged": _number(found.logged)}
        plain_ones = {"effective": found.effective, "rows": float(found.rows), "clipped": found.clipped}
        return numbers | {metric: Number(value) for metric, value in plain_ones.items()}

    def _cost(self, name: str, cuts: Cuts) -> dict[str, StageCost]:
        if self.costs is None:
            return {}
        per_request = sizes(self.judged).double()
        found = {
            "prerank": self.costs.of(self.students.loaded.get(name), float(per_request.mean())),
            "rank": self.costs.of(
                None if self.students.ranker is None else self.students.ranker[1],
                float(per_request.clamp(max=cuts.prerank).mean()),
            ),
        }
        if self.reranked is not None:
            mean = 1000 * self.reranked.seconds / max(self.reranked.requests, 1)
            found["page"] = StageCost(float(per_request.clamp(max=cuts.rank).mean()), float("nan"), mean)
        return found


def _judged(rows: ScoredRows, index: Tensor, num_requests: int) -> Judged:
    if rows.teacher_score is None:
        raise DataError(
            "The ranker scores no task of the ranking score.",
            where="teacher_path",
            expected="scores of a task that the ranking score has",
        )
    everyone = torch.ones_like(index, dtype=torch.bool)
    return Judged(
        index, num_requests, rows.teacher_score, everyone if rows.teacher_valid is None else rows.teacher_valid
    )


def _worth(cfg: DictConfig, rows: ScoredRows, dataset: Dataset) -> tuple[Tensor, Tensor | None]:
    """Returns what says which candidates are the best `[N]`, and the value of showing them; NaN where not known."""
    if cfg.truth is not None:
        truth = _column(rows, str(cfg.truth), "truth").double()
        value = truth.exp() if cfg.truth_is_log else truth
        if bool((value < 0).any()):
            raise DataError(
                "A value of showing a candidate is below 0.",
                where=f"truth, column {cfg.truth!r}",
                expected="numbers of at least 0, or truth_is_log=true",
                found=f"{float(value[~value.isnan()].min())}",
            )
        return truth, value
    assert rows.teacher_score is not None
    score = rows.teacher_score.double()
    known = score if rows.teacher_valid is None else torch.where(rows.teacher_valid, score, torch.nan)
    declared = dataset.schema.teacher if cfg.teacher_path == COLUMN else None
    return known, None if declared is not None and declared.kind == "position" else known.exp()


def _column(rows: ScoredRows, name: str, key: str) -> Tensor:
    if name not in rows.columns:
        raise ConfigError(
            "The data has no such column for evaluation.",
            where=key,
            expected=", ".join(sorted(rows.columns)) or "a column of `evaluation` in the schema",
            found=name,
        )
    return rows.columns[name]


def _number(found: PerRequest | Influence) -> Number:
    return Number(float(found.value), float(found.standard_error()))
