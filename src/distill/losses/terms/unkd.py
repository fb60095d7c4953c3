"""The teacher's order of candidates that are about as popular, as a loss term."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from distill.data.popularity import ItemExposures
from distill.errors import ConfigError
from distill.losses.functional.pairwise import logistic, ordered_sums
from distill.losses.schedule import Schedule
from distill.losses.setting import LossSetting
from distill.losses.terms.base import LossInputs, TermSums
from distill.losses.terms.lists import list_sums, lists_of, plan_of
from distill.losses.terms.soft import SoftTerm
from distill.ops.segment import segment_count


class UnKD(SoftTerm):
    """The logistic loss of pairs of candidates of one group of popularity, in the teacher's order.

    Items are divided into groups that hold the same share of the training split's exposures. Candidates of different
    groups are not compared, so the student does not learn from a teacher that it prefers what is popular. Of a request,
    L is the mean over its groups with a pair of the mean over their pairs of ``-log σ(s_i - s_j)`` with t_i > t_j, so
    that each group counts alike. Reduction: weighted mean over requests that have a pair, weighted sum over tasks.
    Gradient path: to the student's logits only.

    Args:
        weight: Weight of the term in the total, a number or a schedule.
        rows: Row selector or several for their union.
        tasks: Names of the tasks it acts on; all that the teacher scores if None.
        groups: Number of groups.

    Raises:
        ConfigError: There are less than two groups.

    Reference: Chen et al., "Unbiased Knowledge Distillation for Recommendation" (UnKD), WSDM 2023, arXiv 2211.14729.
    Deviation: the paper samples pairs by their places, here every pair of a group takes part, so nothing is random.
    """

    compares: ClassVar[bool] = True
    over_pairs: ClassVar[bool] = True
    reads: ClassVar[frozenset[str]] = frozenset({"item_id"})

    item_id: Tensor
    count: Tensor
    least: Tensor

    def __init__(
        self,
        weight: float | Schedule = 1.0,
        rows: str | Sequence[str] = "scored",
        tasks: Sequence[str] | None = None,
        groups: int = 4,
    ) -> None:
        super().__init__(weight, rows, tasks)
        if groups < 2:
            raise ConfigError(
                "The number of popularity groups is wrong.",
                where="UnKD.groups",
                expected="at least 2",
                found=str(groups),
                remedy="Give more groups; pairs of all candidates are what TeacherRankNet compares.",
            )
        self.groups = groups
        for name in ("item_id", "count", "least"):
            self.register_buffer(name, torch.empty(0, dtype=torch.int64), persistent=False)

    def setup(self, setting: LossSetting) -> None:
        """Learns the groups of the items.

        Raises:
            ConfigError: As `LossTerm.setup`.
        """
        super().setup(setting)
        exposures, device = setting.exposures(), self.count.device
        least = exposures.bands(tuple(k / self.groups for k in range(1, self.groups)))
        self.item_id, self.count = exposures.item_id.to(device), exposures.count.to(device)
        self.least = torch.tensor(least, device=device)

    def forward(self, inputs: LossInputs) -> TermSums:
        """Computes the sums, one unit a task."""
        lists = lists_of(self, inputs, self.selected(inputs).unsqueeze(1))
        teacher = lists.of(self.teacher_logits(inputs))
        group = lists.of(ItemExposures(self.item_id, self.count).band_of(inputs.batch.item_id, self.least))
        index, order = (lists.index * self.groups + group).sort(stable=True)
        counts = segment_count(index, lists.num_lists * self.groups)
        plan = plan_of(inputs.batch, lists.num_used * self.groups, len(self.columns))
        sums, pairs = ordered_sums(lists.student[order], teacher[order], index, counts, logistic, plan=plan)
        means = (sums / pairs.clamp(min=1)).view(-1, self.groups).sum(1)
        return list_sums(self, lists, means, (pairs > 0).view(-1, self.groups).sum(1))
