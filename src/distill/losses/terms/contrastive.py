"""Margins between candidates of different labels, as a loss term."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import ClassVar, Literal

from distill.errors import ConfigError
from distill.losses.functional.pairwise import contrastive, hinge
from distill.losses.schedule import Schedule
from distill.losses.terms.base import LossInputs, TermSums
from distill.losses.terms.labelled import LabelledTerm
from distill.losses.terms.lists import list_sums, pair_means

Form = Literal["hinge", "squared"]


class Contrastive(LabelledTerm):
    """Draws candidates of different labels a margin apart.

    Of a request, the mean over its pairs with y_i > y_j of ``max(0, m - (s_i - s_j))`` (`form="hinge"`), or over all
    its pairs of ``½ (e d² + (1 - e) max(0, m - d)²)`` with e = 1 for equal labels, which are drawn together, and d the
    pair's score difference, the better label's first (`form="squared"`). Reduction: mean over the pairs of a request,
    weighted mean over requests that have one, weighted sum over tasks. Gradient path: to the student's logits.

    Args:
        weight: Weight of the term in the total, a number or a schedule.
        rows: Row selector or several for their union.
        tasks: Names of the tasks it acts on; all of the schema's if None.
        form: `hinge` or `squared`.
        margin: m > 0, in logits.

    Raises:
        ConfigError: The form is unknown or the margin not positive.

    Reference: Hadsell et al., "Dimensionality Reduction by Learning an Invariant Mapping", CVPR 2006, eq. 4.
    """

    compares: ClassVar[bool] = True
    over_pairs: ClassVar[bool] = True

    def __init__(
        self,
        weight: float | Schedule = 1.0,
        rows: str | Sequence[str] = "all",
        tasks: Sequence[str] | None = None,
        form: Form = "hinge",
        margin: float = 1.0,
    ) -> None:
        super().__init__(weight, rows, tasks)
        if form not in ("hinge", "squared") or not margin > 0:
            raise ConfigError(
                "The options of the contrastive term are wrong.",
                where="Contrastive",
                expected="form: hinge or squared; margin > 0",
                found=f"form={form}, margin={margin}",
            )
        self.form, self.margin = form, margin

    def forward(self, inputs: LossInputs) -> TermSums:
        """Computes the sums, one unit a task."""
        lists, labels = self.labelled(inputs)
        if self.form == "squared":
            sums = contrastive(lists.student, labels, lists.index, lists.counts, self.margin, lists.plan)
            return list_sums(self, lists, *sums)
        return pair_means(self, lists, labels, partial(hinge, margin=self.margin))
