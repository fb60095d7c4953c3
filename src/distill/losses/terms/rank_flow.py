"""What the ranker teaches of the candidates that the student passes on to it, as a loss term."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import softplus

from distill.errors import ConfigError
from distill.losses.schedule import Schedule
from distill.losses.terms.base import LossInputs, TermSums
from distill.losses.terms.lists import Lists, list_sums, lists_of
from distill.losses.terms.soft import SoftTerm
from distill.ops.segment import segment_rank, segment_sum


class RankFlow(SoftTerm):
    """Scores and ends of the teacher's list, of the candidates that the student itself would pass on.

    P are the `passed` best candidates of a request by the student, the only ones that the ranker would see; B are the
    teacher's `best` of P, and W the `worst` of what is left. The loss of a request is ``mean_P (s_i - t_i)²
    - log σ(mean_B s - mean_W s)``; without W (at most `best` passed on) the first part alone. Which candidates are in
    these sets has no gradient, so that P moves with the student from step to step. Reduction: weighted mean over
    requests, weighted sum over tasks. Gradient path: to the student's logits only. Temperature scaling: none.

    Args:
        weight: Weight of the term in the total, a number or a schedule.
        rows: Row selector or several for their union.
        tasks: Names of the tasks it acts on; all that the teacher scores if None.
        passed: Candidates that the student passes on; all of them if None.
        best: Size of B.
        worst: Size of W.

    Raises:
        ConfigError: A set is empty, or B holds all that is passed on.

    Reference: Qin et al., "RankFlow: Joint Optimization of Multi-Stage Cascade Ranking Systems as Flows", SIGIR 2022
    (tutor learning). What the paper calls self learning, labels on what the stage before passes on, are terms on
    labels with `rows`. Deviation: the ranker does not learn in turns with the student.
    """

    def __init__(
        self,
        weight: float | Schedule = 1.0,
        rows: str | Sequence[str] = "scored",
        tasks: Sequence[str] | None = None,
        passed: int | None = 40,
        best: int = 20,
        worst: int = 10,
    ) -> None:
        super().__init__(weight, rows, tasks)
        sizes = {"best": best, "worst": worst, "passed": passed}
        wrong = [name for name, size in sizes.items() if size is not None and size < 1]
        if wrong or (passed is not None and best >= passed):
            raise ConfigError(
                "The ends of what the student passes on are not like this.",
                where=f"RankFlow.{wrong[0] if wrong else 'best'}",
                expected="at least 1, and fewer best ones than are passed on",
                found=f"passed {passed}, best {best}, worst {worst}",
            )
        self.passed, self.best, self.worst = passed, best, worst

    def forward(self, inputs: LossInputs) -> TermSums:
        """Computes the sums, one unit a task."""
        lists = lists_of(self, inputs, self.selected(inputs).unsqueeze(1))
        passed = self._passed(lists)
        given = lists.of(self.teacher_logits(inputs))
        teacher = torch.where(passed, given, lists.student.detach())  # elsewhere there may be no score
        place = segment_rank(torch.where(passed, given, -torch.inf), lists.index, lists.num_lists)
        size = segment_sum(passed.long(), lists.index, lists.num_lists)
        first_worst = (size - self.worst).clamp(min=self.best).index_select(0, lists.index)
        best, _ = _mean(lists, passed & (place < self.best))
        worst, with_worst = _mean(lists, passed & (place >= first_worst))
        squared = segment_sum((lists.student - teacher).square(), lists.index, lists.num_lists) / size.clamp(min=1)
        ends = torch.where(with_worst, softplus(worst - best), 0.0)
        return list_sums(self, lists, squared + ends, (size > 0).to(squared.dtype))

    def _passed(self, lists: Lists) -> Tensor:
        real = lists.index < lists.num_used
        if self.passed is None:
            return real
        return real & (segment_rank(lists.student.detach(), lists.index, lists.num_lists) < self.passed)


def _mean(lists: Lists, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the mean score of each list's rows in a mask, 0 without any, and whether there are some, `[S]` each."""
    count = segment_sum(mask.to(lists.student.dtype), lists.index, lists.num_lists)
    total = segment_sum(torch.where(mask, lists.student, 0.0), lists.index, lists.num_lists)
    return total / count.clamp(min=1), count > 0
