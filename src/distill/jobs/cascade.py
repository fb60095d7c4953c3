"""Measures a whole cascade: students at its front, one ranker behind them, and what the user gets."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from pydantic import ValidationError

from distill.cascade import Cuts, Pages, Passed, by_rank, coverage, estimate, measure, ranker_alone, run_stages
from distill.cascade.divisions import divisions
from distill.cascade.measures import Division, Measured
from distill.cascade.rerank import ItemView, RerankedPages
from distill.cascade.stages import places, sizes
from distill.cascade.ways import Sweep, measure_ways
from distill.console import plain_console
from distill.data.format import Dataset
from distill.data.popularity import item_exposures
from distill.errors import ConfigError
from distill.export.rerank import read_rerank
from distill.jobs.cascade_cost import CascadeCosts
from distill.jobs.cascade_rows import Students, column_of, judged_of, tables_of, worth_of
from distill.jobs.checkpoints import checkpoint_of
from distill.jobs.item_views import item_view
from distill.jobs.machine import job_ranks
from distill.jobs.node import plain
from distill.jobs.parts import load_model
from distill.jobs.scored import data_name
from distill.metrics import ScoredRows
from distill.metrics.functional.influence import Influence
from distill.metrics.functional.reduce import PerRequest
from distill.metrics.rows import request_index
from distill.ops.ranks import rank
from distill.reports.cascade import CascadeReport, Group, Point, StageCost, save_cascade, with_front
from distill.reports.cascade_table import print_cascade
from distill.reports.point import Number
from distill.serving import Rerank

_log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> CascadeReport | None:
    """Measures every student of `path` at every k, behind the ranker of `teacher_path`; rank 0 has the result."""
    with job_ranks(cfg, Path(HydraConfig.get().runtime.output_dir)) as (agreed, folder):
        rerank, sweep = read_rerank(plain(agreed.rerank)), _sweep(plain(agreed.diversity))
        students = Students.of(agreed)
        dataset = students.dataset(agreed)
        tables = tables_of(agreed, dataset, students)
        measured = _Cascade(agreed, dataset, students, tables, rerank, sweep)
        if rank() != 0:
            return None
        report = measured.report()
        save_cascade(report, folder)
        print_cascade(report, plain_console())
        _log.info("Cascade: %s", folder)
    return report


class _Cascade:
    def __init__(
        self,
        cfg: DictConfig,
        dataset: Dataset,
        students: Students,
        tables: Mapping[str, ScoredRows],
        rerank: Rerank | None,
        sweep: Sweep | None,
    ) -> None:
        self.sweep = sweep
        self.cfg, self.dataset, self.students, self.tables, self.rerank = cfg, dataset, students, tables, rerank
        self.rows = next(iter(tables.values()))
        index, num_requests = request_index(self.rows)
        self.judged = judged_of(self.rows, index, num_requests)
        self.cuts = [Cuts(int(k), int(cfg.ranked), int(cfg.shown)) for k in plain(cfg.ks)]
        self.worth = worth_of(cfg, self.rows, dataset)
        exposures = item_exposures(dataset) if dataset.manifest.splits.get("train") else None
        self.divisions: Mapping[str, Division] = divisions(self.rows, index, exposures)
        self.costs = CascadeCosts(float(cfg.cost.seconds)) if cfg.cost.enabled else None
        self.pages, self.reranked = self._pages()
        self.items = None if sweep is None else self._items(sweep.needs())

    def _pages(self) -> tuple[Pages, RerankedPages | None]:
        shown = int(self.cfg.shown)
        if self.rerank is None:
            return by_rank(shown), None
        made = RerankedPages(self.rerank, shown, self.judged, self._items(self.rerank))
        return made, made

    def _items(self, rerank: Rerank) -> ItemView:
        model = next(((self.students.files[n], m) for n, m in self.students.loaded.items()), None)
        if self.cfg.rerank_vectors is not None:
            path = checkpoint_of(Path(self.cfg.rerank_vectors))
            model = path, load_model(path)
        return item_view(self.cfg, self.rows, rerank, self.dataset, model)

    def _ways(self) -> dict[str, dict[str, Number]]:
        """What the first student's pages give and cost, filled in every way of the sweep."""
        if self.sweep is None or self.items is None:
            return {}
        shown, (truth, value) = int(self.cfg.shown), self.worth
        passed = run_stages(self.rows.score, self.judged, self.cuts[0], by_rank(shown))
        wanted = places(truth, ~truth.isnan(), self.judged.index, self.judged.num_requests)
        relevant = (wanted >= 0) & (wanted < int(self.cfg.best))
        found = measure_ways(self.sweep, passed.ranked, self.judged, self.items, shown, value, relevant)
        return {way: {name: _number(one) for name, one in measures.items()} for way, measures in found.items()}

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
            ways=self._ways(),
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
        rows, propensity = self.rows, column_of(self.rows, str(self.cfg.propensity), "propensity")
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


def _sweep(given: Mapping[str, Any] | None) -> Sweep | None:
    if given is None:
        return None
    try:
        return Sweep.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(
            "The options for filling a page are wrong.",
            where=".".join(["diversity", *map(str, first["loc"])]),
            expected="category, and trade_offs, most and window if wanted",
            found=first["msg"].removeprefix("Value error, "),
        ) from None


def _number(found: PerRequest | Influence) -> Number:
    return Number(float(found.value), float(found.standard_error()))
