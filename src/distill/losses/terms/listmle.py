"""The likelihood of the teacher's order, or of its beginning, as loss terms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from distill.errors import ConfigError
from distill.losses.functional.listwise import plackett_luce
from distill.losses.schedule import Schedule
from distill.losses.terms.base import LossInputs, TermSums
from distill.losses.terms.lists import list_sums, lists_of
from distill.losses.terms.soft import SoftTerm


class ListMLE(SoftTerm):
    """How unlikely the teacher's order of a request is under the student: ``log Σ_{i ≥ k} e^{s_i} - s_k`` per place k.

    Reduction: mean over the places of a request, weighted mean over requests with at least two rows, weighted sum over
    tasks. Gradient path: to the student's logits only. Equal teacher scores keep the order of the rows.

    The arguments are those of `SoftTerm`.

    Reference: Xia et al., "Listwise Approach to Learning to Rank: Theory and Algorithm", ICML 2008.
    """

    compares: ClassVar[bool] = True

    top: int | None = None

    def forward(self, inputs: LossInputs) -> TermSums:
        """Computes the sums, one unit a task."""
        lists = lists_of(self, inputs, self.selected(inputs).unsqueeze(1))
        teacher = lists.of(self.teacher_logits(inputs))
        values, places = plackett_luce(lists.student, teacher, lists.index, lists.counts, self.top)
        return list_sums(self, lists, values, places * (lists.counts >= 2))


class RRD(ListMLE):
    """How unlikely the teacher's `top` candidates of a request are, in its order, before all others (relaxed ranking).

    ``log(Σ_{k ≤ i ≤ K} e^{s_i} + Σ_{others} e^{s}) - s_k`` for the places k ≤ K: the others are in no order among
    themselves. Reduction: mean over the K places, weighted mean over requests, weighted sum over tasks. Gradient path:
    to the student's logits only.

    Args:
        weight: Weight of the term in the total, a number or a schedule.
        rows: Row selector or several for their union.
        tasks: Names of the tasks it acts on; all of the schema's if None.
        top: K.

    Raises:
        ConfigError: K is not at least one place.

    Reference: Kang et al., "DE-RRD: A Knowledge Distillation Framework for Recommender System", CIKM 2020, arXiv
    2012.04357, section 3.2. Deviation: the K best and all other candidates, none are sampled.
    """

    def __init__(
        self,
        weight: float | Schedule = 1.0,
        rows: str | Sequence[str] = "scored",
        tasks: Sequence[str] | None = None,
        top: int = 10,
    ) -> None:
        super().__init__(weight, rows, tasks)
        if top < 1:
            raise ConfigError(
                "RRD must order at least one place.", where="RRD.top", expected="at least 1", found=str(top)
            )
        self.top = top
