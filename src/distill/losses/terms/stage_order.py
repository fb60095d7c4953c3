"""Candidates in the order of how far they got in the cascade, as a loss term."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch

from distill.batch import Stage
from distill.losses.functional.pairwise import logistic
from distill.losses.schedule import Schedule
from distill.losses.terms.base import LossInputs, LossTerm, TermSums
from distill.losses.terms.lists import lists_of, pair_means

_OF_POSITIVE = int(Stage.EXPOSED) + 1  # however far it got: a positive of any scene comes first


class StageOrder(LossTerm):
    """The logistic loss of pairs of candidates of which one got further.

    ``-log σ(s_i - s_j)`` where level_i > level_j, the mean over such pairs of a request. The level is that of the stage
    where a candidate ended (recalled 0, pre-ranked 1, ranked 2, exposed 3), and 4 where it is a positive of the task,
    wherever it ended. It wants no teacher. Reduction: mean over the pairs of a request, weighted mean over requests
    that have one, weighted sum over tasks. Gradient path: to the student's logits.

    Args:
        weight: Weight of the term in the total, a number or a schedule.
        rows: Row selector or several for their union.
        tasks: Names of the tasks it acts on; all of the schema's if None.

    Reference: the stage-aware ranking losses (FS-LTR) of Liu et al., "RecFlow: An Industrial Full Flow Recommendation
    Dataset", ICLR 2025, arXiv 2410.20868.
    """

    compares: ClassVar[bool] = True
    over_pairs: ClassVar[bool] = True

    def __init__(
        self, weight: float | Schedule = 1.0, rows: str | Sequence[str] = "all", tasks: Sequence[str] | None = None
    ) -> None:
        super().__init__(weight, rows, tasks)

    def forward(self, inputs: LossInputs) -> TermSums:
        """Computes the sums, one unit a task."""
        batch = inputs.batch
        lists = lists_of(self, inputs, self.selected(inputs).unsqueeze(1))
        level = torch.where(self.columns_of(batch.positive), _OF_POSITIVE, batch.stage.unsqueeze(1))
        return pair_means(self, lists, lists.of(level).to(lists.student.dtype), logistic)
