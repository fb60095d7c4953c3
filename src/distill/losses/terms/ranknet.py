"""Pairs of candidates in the order of labels or of the teacher, as loss terms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from distill.errors import ConfigError
from distill.losses.functional.pairwise import logistic, pair_kl
from distill.losses.schedule import Schedule
from distill.losses.terms.base import LossInputs, TermSums
from distill.losses.terms.labelled import LabelledTerm
from distill.losses.terms.lists import list_sums, lists_of, pair_means
from distill.losses.terms.soft import TemperedTerm

Target = Literal["order", "soft"]


class RankNet(LabelledTerm):
    """The logistic loss of pairs of candidates whose labels differ.

    ``Σ_k λ_k · Σ_r w_r L_rk / Σ_r w_r`` with L_rk the mean of ``-log σ(s_i - s_j)`` over the pairs of request r with
    y_i > y_j. Reduction: mean over the pairs of a request, weighted mean over requests that have one, weighted sum over
    tasks. Gradient path: to the student's logits. Temperature scaling: none.

    The arguments are those of `LabelledTerm`.

    Reference: Burges et al., "Learning to Rank using Gradient Descent", ICML 2005.
    """

    compares: ClassVar[bool] = True
    over_pairs: ClassVar[bool] = True

    def forward(self, inputs: LossInputs) -> TermSums:
        """Computes the sums, one unit a task."""
        lists, labels = self.labelled(inputs)
        return pair_means(self, lists, labels, logistic)


class TeacherRankNet(TemperedTerm):
    """The logistic loss of pairs of candidates in the teacher's order, or with its probabilities as soft targets.

    Of request r, L_rk is the mean over its pairs of ``-log σ(s_i - s_j)`` with t_i > t_j + m (`target="order"`), or of
    ``T² KL(σ((t_i - t_j)/T) ‖ σ((s_i - s_j)/T))`` (`target="soft"`), which is 0 at agreement. Reduction: mean over the
    pairs of a request, weighted mean over requests that have one, weighted sum over tasks. Gradient path: to the
    student's logits only. Temperature scaling: T² with soft targets; the order has no temperature.

    Args:
        weight: Weight of the term in the total, a number or a schedule.
        rows: Row selector or several for their union.
        tasks: Names of the tasks it acts on; all of the schema's if None.
        temperature: T > 0, a number or a schedule; of soft targets alone.
        target: `order` or `soft`.
        min_margin: m ≥ 0, of the order alone: pairs on which the teacher hardly differs are left out.

    Raises:
        ConfigError: The target is unknown, or an option is given that it does not use.

    Reference: Burges et al., "Learning to Rank using Gradient Descent", ICML 2005, section 3.
    """

    compares: ClassVar[bool] = True
    over_pairs: ClassVar[bool] = True

    def __init__(
        self,
        weight: float | Schedule = 1.0,
        rows: str | Sequence[str] = "scored",
        tasks: Sequence[str] | None = None,
        temperature: float | Schedule = 1.0,
        target: Target = "soft",
        min_margin: float = 0.0,
    ) -> None:
        super().__init__(weight, rows, tasks, temperature)
        if target not in ("order", "soft") or min_margin < 0:
            raise ConfigError(
                "The options of the teacher's pairs are wrong.",
                where="TeacherRankNet",
                expected="target: order or soft; min_margin ≥ 0",
                found=f"target={target}, min_margin={min_margin}",
            )
        unused = "min_margin" if target == "soft" and min_margin else ""
        unused = "temperature" if target == "order" and temperature != 1.0 else unused
        if unused:
            raise ConfigError(
                f"The option {unused} has no effect on this target.",
                where=f"TeacherRankNet.{unused}",
                found=f"target={target}",
                remedy=f"Leave {unused} out, or choose the other target.",
            )
        self.target, self.min_margin = target, min_margin

    def forward(self, inputs: LossInputs) -> TermSums:
        """Computes the sums, one unit a task."""
        lists = lists_of(self, inputs, self.selected(inputs).unsqueeze(1))
        teacher = lists.of(self.teacher_logits(inputs))
        if self.target == "order":
            return pair_means(self, lists, teacher, logistic, min_margin=self.min_margin)
        temperature = self.temperature.value(inputs.step)
        sums = pair_kl(lists.student, teacher, lists.index, lists.counts, temperature, lists.plan)
        return list_sums(self, lists, *sums)
