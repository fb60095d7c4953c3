"""The teacher's best and worst candidates of a request become positives and negatives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from distill.arguments import Bundle
from distill.batch import Batch, Origin
from distill.errors import ConfigError
from distill.ops.segment import segment_count, segment_mean, segment_rank
from distill.ops.waiting import places
from distill.sampling.base import Sampler


@dataclass(frozen=True)
class Sure(Bundle):
    """How sure a teacher must be of a candidate.

    Attributes:
        min_margin: Logits by which a pseudo-label must be above or below the mean of the ranked candidates; 0 asks for
            nothing.
        min_probability: Positives need at least this probability.
        max_probability: Negatives need at most this probability.
    """

    min_margin: float = 0.0
    min_probability: float = 0.0
    max_probability: float = 1.0


class PseudoLabels(Sampler):
    """Labels the top-N and bottom-N candidates of each request by the teacher, task by task.

    Candidates are ranked by the task's teacher logit among those that it scored and the log did not label. The first
    `top` become positives and the last `bottom` negatives; if there are fewer than both, positives come first.

    Args:
        tasks: Names of the tasks that get labels; all that the teacher scores if None.
        weight: Weight of the rows that it labels, times their own.
        top: Positives of a request: a count, or a share of the ranked candidates if between 0 and 1 (rounded down).
        bottom: Negatives, likewise.
        label: `hard` (1 and 0) or `soft` (the teacher's probability), the value that pointwise terms learn. Terms on
            order and on positives take the first `top` for positives and the last `bottom` for negatives in both.
        unexposed: Whether exposed candidates are left out, even without a label of the task.
        sure: How sure the teacher must be.

    Raises:
        ConfigError: An option is out of its range.

    Reference: pseudo-labels of unexposed candidates by the ranker's top and bottom, as in the cascades of Zhang et al.
    (ASMOL), 2023, arXiv 2305.13647, section 3.
    """

    needs_signals: ClassVar[bool] = True

    def __init__(
        self,
        tasks: Sequence[str] | None = None,
        weight: float = 1.0,
        top: float = 3,
        bottom: float = 3,
        label: Literal["hard", "soft"] = "hard",
        unexposed: bool = True,
        sure: Sure = Sure(),
    ) -> None:
        super().__init__(tasks, weight)
        problems = {
            "top": _amount(top),
            "bottom": _amount(bottom),
            "label": label in ("hard", "soft"),
            "min_margin": sure.min_margin >= 0,
            "min_probability": 0 <= sure.min_probability <= 1,
            "max_probability": 0 <= sure.max_probability <= 1,
        }
        wrong = [name for name, fine in problems.items() if not fine] or (
            ["top", "bottom"] if top == bottom == 0 else []
        )
        if wrong:
            raise ConfigError(
                "The options of the pseudo-labels are wrong.",
                where=", ".join(f"PseudoLabels.{name}" for name in wrong),
                expected="top, bottom: whole numbers or shares in (0, 1), not both 0; label: hard or soft; "
                "min_margin ≥ 0; probabilities in [0, 1]",
                found=f"top={top}, bottom={bottom}, label={label}, min_margin={sure.min_margin}, "
                f"min_probability={sure.min_probability}, max_probability={sure.max_probability}",
            )
        self.top, self.bottom, self.label, self.unexposed = top, bottom, label, unexposed
        self.sure = sure

    def forward(self, batch: Batch, step: int) -> Batch:
        """Returns the batch with pseudo-labels.

        Raises:
            SignalError: The batch came without signals.
        """
        logits, eligible = self.teachable(batch, self.unexposed)
        positive, negative = self._ends(batch, logits, eligible)
        labels = logits.sigmoid() if self.label == "soft" else positive.to(logits.dtype)
        origin = torch.where(positive.any(dim=1), int(Origin.PSEUDO_POSITIVE), int(Origin.PSEUDO_NEGATIVE))
        most = batch.num_candidates * len(self.columns)
        if self.top >= 1 or self.top == 0:
            most = min(most, int(self.top) * batch.num_requests * len(self.columns))
        return self.labelled(batch, positive | negative, labels, positive, origin, most_positive=most)

    def _ends(self, batch: Batch, logits: Tensor, eligible: Tensor) -> tuple[Tensor, Tensor]:
        rows, num_lists = batch.num_candidates, batch.num_requests * len(self.columns)
        taken = places(eligible.T.flatten())
        column, row = taken.rows // max(rows, 1), taken.rows % max(rows, 1)
        index = taken.keep(column * batch.num_requests + batch.request_index.index_select(0, row), num_lists)
        num_lists = num_lists if taken.real is None else num_lists + 1  # what is not eligible is one more
        scores = logits[row, column]
        count = segment_count(index, num_lists)
        rank, size = segment_rank(scores, index, num_lists), count.index_select(0, index)
        first = _number(self.top, size)
        above = scores - segment_mean(scores, index, num_lists).index_select(0, index)
        probability = scores.sigmoid()
        best = (rank < first) & (probability >= self.sure.min_probability)
        worst = (rank >= torch.maximum(first, size - _number(self.bottom, size))) & (
            probability <= self.sure.max_probability
        )
        if self.sure.min_margin > 0:
            best, worst = best & (above >= self.sure.min_margin), worst & (-above >= self.sure.min_margin)
        none = torch.zeros(eligible.numel() + 1, dtype=torch.bool, device=eligible.device)
        positive, negative = (
            none.scatter(0, taken.index, found)[:-1].view(len(self.columns), rows).T for found in (best, worst)
        )
        return positive, negative


def _amount(value: float) -> bool:
    return value >= 0 and (value < 1 or float(value).is_integer())


def _number(amount: float, size: Tensor) -> Tensor:
    if 0 < amount < 1:
        return (size * amount).floor().to(size.dtype)
    return torch.full_like(size, int(amount))
