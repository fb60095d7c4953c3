"""Positives against all negatives of their request, but not against one another, as a loss term."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from torch import Tensor

from distill.batch import Batch, Stage, TeacherSignals
from distill.errors import ConfigError
from distill.losses.functional.listwise import multi_positive_softmax
from distill.losses.schedule import Schedule
from distill.losses.terms.base import LossInputs, LossTerm, TermSums, at_least_float32
from distill.losses.terms.lists import Lists, list_sums, lists_of
from distill.ops.segment import segment_rank

Positives = Literal["label", "exposed", "teacher"]


class MultiPositiveSoftmax(LossTerm):
    """Each positive of a request in a softmax with all of its negatives: ``-log(e^{s_i} / (e^{s_i} + Σ_neg e^{s_j}))``.

    Positives are the candidates with a positive label, those that were exposed, or the teacher's `top`; negatives are
    all other selected candidates of the request, observed or not. Reduction: mean over the positives of a request,
    weighted mean over requests that have a positive and a negative, weighted sum over tasks. Gradient path: to the
    student's logits only.

    Args:
        weight: Weight of the term in the total, a number or a schedule.
        rows: Row selector or several for their union.
        tasks: Names of the tasks it acts on; all of the schema's if None.
        positives: `label`, `exposed` or `teacher`.
        top: Number of positives of a request, with `teacher` alone.
        subtract_log_q: Whether the scores of rows that a sampler added are lowered by the logarithm of the probability
            of their draw, so that items that are drawn often are not pushed down for it.

    Raises:
        ConfigError: The kind of positives is unknown, or `top` does not go with it.

    Reference: Zhang et al., "Rethinking the Role of Pre-ranking in Large-scale E-Commerce Searching System" (ASMOL),
    2023, arXiv 2305.13647.
    """

    compares: ClassVar[bool] = True

    def __init__(
        self,
        weight: float | Schedule = 1.0,
        rows: str | Sequence[str] = "all",
        tasks: Sequence[str] | None = None,
        positives: Positives = "label",
        top: int | None = None,
        subtract_log_q: bool = False,
    ) -> None:
        super().__init__(weight, rows, tasks)
        known = positives in ("label", "exposed", "teacher")
        if not known or (positives == "teacher") != (top is not None) or (top is not None and top < 1):
            raise ConfigError(
                "The options of the positives are wrong.",
                where="MultiPositiveSoftmax",
                expected="positives: label, exposed, or teacher with top ≥ 1",
                found=f"positives={positives}, top={top}",
            )
        self.positives, self.top, self.subtract_log_q = positives, top, subtract_log_q

    @property
    def uses_signals(self) -> bool:
        """Whether the positives or the choice of rows come from the teacher."""
        return self.positives == "teacher" or super().uses_signals

    @property
    def reads_scores(self) -> bool:
        """Whether the positives come from the teacher."""
        return self.positives == "teacher"

    @property
    def label_tasks(self) -> tuple[str, ...]:
        """All of its tasks, if positives are those of labels."""
        return self.names if self.positives == "label" else ()

    def acts_on(self, batch: Batch, signals: TeacherSignals | None) -> Tensor:
        """Says on which candidates the term acts; with positives of the teacher, those that it scored."""
        rows = super().acts_on(batch, signals)
        return rows & signals.valid if self.positives == "teacher" and signals is not None else rows

    def forward(self, inputs: LossInputs) -> TermSums:
        """Computes the sums, one unit a task."""
        rows = self.acts_on(inputs.batch, inputs.signals)
        lists = lists_of(self, inputs, rows.unsqueeze(1))
        positive = self._positive(inputs, lists)
        scores = lists.student
        if self.subtract_log_q and inputs.batch.log_q is not None:
            log_q = at_least_float32(inputs.batch.log_q).unsqueeze(1).expand(-1, self.task_columns.numel())
            scores = scores - lists.of(log_q).to(scores.dtype)
        return list_sums(self, lists, *multi_positive_softmax(scores, positive, lists.index, lists.counts))

    def _positive(self, inputs: LossInputs, lists: Lists) -> Tensor:
        batch = inputs.batch
        if self.top is not None:
            teacher = lists.of(self.teacher_logits(inputs))
            return segment_rank(teacher, lists.index, lists.num_lists) < self.top
        if self.positives == "exposed":
            return lists.of(batch.stage == Stage.EXPOSED)
        return lists.of(self.columns_of(batch.positive))
