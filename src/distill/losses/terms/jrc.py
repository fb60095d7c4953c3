"""Ranking and calibration in one, as a loss term."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from distill.errors import ConfigError
from distill.losses.functional.listwise import jrc
from distill.losses.schedule import Schedule
from distill.losses.terms.base import LossInputs, TermSums
from distill.losses.terms.labelled import LabelledTerm
from distill.losses.terms.lists import list_sums


class JRC(LabelledTerm):
    """Cross-entropy of labels and a softmax over the request, for calibration and order at once.

    ``α BCE + (1 - α) · (-log softmax(f_{y_i})_i)``, the mean over the observed candidates of a request, with f_1 = s/2
    for positives and f_0 = -s/2 for negatives, each in a softmax over all of them. The BCE learns a label's value,
    be it soft; the softmax what it stands for. Reduction: mean over the candidates of a request, weighted mean over
    requests with at least two, weighted sum over tasks. Gradient path: to the student's logits.

    Args:
        weight: Weight of the term in the total, a number or a schedule.
        rows: Row selector or several for their union.
        tasks: Names of the tasks it acts on, which must be binary; all of the schema's if None.
        alpha: α, in [0, 1].

    Raises:
        ConfigError: α is out of its range.

    Reference: Sheng et al., "Joint Optimization of Ranking and Calibration with Contextualized Hybrid Model", KDD 2023,
    arXiv 2208.06164. Deviation: one logit instead of two.
    """

    compares: ClassVar[bool] = True

    takes: ClassVar[tuple[str, ...]] = ("binary",)

    def __init__(
        self,
        weight: float | Schedule = 1.0,
        rows: str | Sequence[str] = "all",
        tasks: Sequence[str] | None = None,
        alpha: float = 0.5,
    ) -> None:
        super().__init__(weight, rows, tasks)
        if not 0 <= alpha <= 1:
            raise ConfigError("α is a share.", where="JRC.alpha", expected="0 ≤ alpha ≤ 1", found=str(alpha))
        self.alpha = alpha

    def forward(self, inputs: LossInputs) -> TermSums:
        """Computes the sums, one unit a task."""
        lists, relevance = self.labelled(inputs)
        labels = lists.of(self.label_values(inputs))
        values = jrc(lists.student, labels, relevance > 0, lists.index, lists.num_lists, self.alpha)
        return list_sums(self, lists, values)
