"""Pairs across the chunks of the teacher's list, the important ones more, as a loss term."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from distill.errors import ConfigError
from distill.losses.functional.delta_ndcg import DeltaNDCG
from distill.losses.functional.pairwise import logistic
from distill.losses.schedule import Schedule
from distill.losses.terms.base import LossInputs, TermSums
from distill.losses.terms.lists import lists_of, pair_means
from distill.losses.terms.soft import SoftTerm
from distill.ops.segment import segment_rank


class COPR(SoftTerm):
    """The logistic loss of pairs from different chunks of the teacher's list, weighted by what NDCG loses by a swap.

    The teacher's order of a request is cut into chunks of `chunk` candidates; candidates of the same chunk are not
    compared, so that small differences of the teacher are not learned. With c the number of the chunk from 0 and C of
    them, the gain of a candidate is C - c, and a pair weighs ``|ΔNDCG|`` at the teacher's places. The loss of a request
    is the weighted mean of ``-log σ(s_i - s_j)``. Reduction: weighted mean over requests with at least two chunks,
    weighted sum over tasks. Gradient path: to the student's logits only. Temperature scaling: none.

    Args:
        weight: Weight of the term in the total, a number or a schedule.
        rows: Row selector or several for their union.
        tasks: Names of the tasks it acts on; all of the schema's if None.
        chunk: Candidates of a chunk.

    Raises:
        ConfigError: The chunk is not at least one candidate.

    Reference: Zhao et al., "COPR: Consistency-Oriented Pre-Ranking for Online Advertising", 2023, arXiv 2306.03516.
    Deviations: the paper samples candidates from the chunks, here every pair of different chunks takes part, so nothing
    is random; pairs compare logits, not the products of bid and rate.
    """

    compares: ClassVar[bool] = True
    over_pairs: ClassVar[bool] = True

    def __init__(
        self,
        weight: float | Schedule = 1.0,
        rows: str | Sequence[str] = "scored",
        tasks: Sequence[str] | None = None,
        chunk: int = 10,
    ) -> None:
        super().__init__(weight, rows, tasks)
        if chunk < 1:
            raise ConfigError(
                "A chunk needs at least one candidate.", where="COPR.chunk", expected="at least 1", found=str(chunk)
            )
        self.chunk = chunk

    def forward(self, inputs: LossInputs) -> TermSums:
        """Computes the sums, one unit a task."""
        lists = lists_of(self, inputs, self.selected(inputs).unsqueeze(1))
        rank = segment_rank(lists.of(self.teacher_logits(inputs)), lists.index, lists.num_lists)
        chunks = (lists.counts + self.chunk - 1) // self.chunk
        gain = (chunks.index_select(0, lists.index) - rank // self.chunk).to(lists.student.dtype)
        importance = DeltaNDCG.of(gain, rank, lists.index, lists.num_lists, normalise=True)
        return pair_means(self, lists, gain, logistic, importance)
