"""How much of what the cascade passed on, showed and users chose the student would have passed on: needs no teacher."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from torch import Tensor

from distill.batch import Stage
from distill.errors import ConfigError
from distill.metrics.base import CutoffMetric, cutoffs
from distill.metrics.evaluation import Evaluation
from distill.metrics.functional.recall import hit_rate_per_request
from distill.metrics.functional.reduce import PerRequest
from distill.metrics.goal import UP, Goal
from distill.metrics.ranking import order_matters
from distill.metrics.rows import ScoredRows

_STAGES = {stage.name.lower(): stage for stage in Stage if stage != Stage.RECALLED}


class StageRecall(CutoffMetric):
    """`stage_recall@<k>_<stage>` and `<task>/stage_recall@<k>`: share of a request's candidates that got so far, or
    that have a positive label, among the student's k best of **all** its candidates, by the ranking score.

    S@k = Σ_{i wanted} P(i in top-k) / wanted, averaged over requests; at most k / wanted. Expected value under random
    breaking of ties. A candidate got to a stage also if it got beyond. Requests of no more than k candidates, or of
    which none or all are wanted, have the same in any order: they are skipped and counted. What was ranked or exposed
    was chosen by the cascade that wrote the log, its own pre-ranker included: whoever agrees with that gains.

    Args:
        ks: How many the student passes on: one result each.
        stages: Of `preranked`, `ranked` and `exposed`, those to measure.
        tasks: Tasks whose positive labels are wanted; None for all.

    Reference:
        Zhang et al., Rethinking the Role of Pre-ranking in Large-scale E-Commerce Searching System, 2023,
        arXiv:2305.13647: hit rate@k of the pre-ranker's k best of all its candidates. Deviations: the paper's wanted
        items are purchases, in-scenario (ISH@k: made from this page of results) or all-scenario (ASH@k: by the user
        for that query anywhere, the metric that it proposes). A log of one cascade knows its own requests only, so
        positives here are in-scenario; stages are an addition. Ties count by expectation.
    """

    def __init__(
        self,
        ks: Sequence[int] = (20,),
        stages: Sequence[str] = ("ranked", "exposed"),
        tasks: Sequence[str] | None = None,
    ) -> None:
        self.ks = cutoffs(ks, "metrics.*.ks")
        if unknown := [stage for stage in stages if stage not in _STAGES]:
            raise ConfigError(
                "Stage recall is asked for an unknown stage.",
                where="metrics.*.stages",
                expected=", ".join(_STAGES),
                found=", ".join(unknown),
            )
        self.stages = tuple(stages)
        self.tasks = None if tasks is None else tuple(tasks)

    @property
    def goals(self) -> Mapping[str, Goal]:
        """More is better."""
        return {f"stage_recall@{k}{end}": UP for k in self.ks for end in ("", *(f"_{name}" for name in self.stages))}

    def per_request(self, evaluation: Evaluation) -> Mapping[str, PerRequest]:
        """Returns `stage_recall@<k>_<stage>`, where stages are known, and `<task>/stage_recall@<k>` of each request."""
        ranks, size = evaluation.ranks(None), evaluation.request_size
        values: dict[str, PerRequest] = {}
        for (before, after), at in self._wanted(evaluation):
            chosen = ranks.select(at)
            for k in self.ks:
                result = hit_rate_per_request(chosen, k)
                values[f"{before}stage_recall@{k}{after}"] = result.where(order_matters(chosen, size, k))
        return values

    def missing(self, evaluation: Evaluation) -> str | None:
        """Says that the log does not tell how far candidates got."""
        return None if _has_stages(evaluation.rows) or not self.stages else "all candidates got equally far"

    def _wanted(self, evaluation: Evaluation) -> Iterator[tuple[tuple[str, str], Tensor]]:
        """The first and last part of a result's name, and the wanted candidates by position."""
        if _has_stages(evaluation.rows):
            for name in self.stages:
                (at,) = (evaluation.rows.stage >= _STAGES[name]).nonzero(as_tuple=True)
                yield ("", f"_{name}"), at
        for task, column in evaluation.columns(self.tasks, by_logit=False).items():
            yield (f"{task}/", ""), evaluation.positives(column)


def _has_stages(rows: ScoredRows) -> bool:
    return bool((rows.stage[1:] != rows.stage[:-1]).any())
