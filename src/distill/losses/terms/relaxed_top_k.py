"""The teacher's first candidates among the student's first, with a relaxed order, as loss terms."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor

from distill.errors import ConfigError
from distill.losses.functional.neural_sort import order_surprise, relaxed_top_k
from distill.losses.schedule import Schedule
from distill.losses.terms.base import LossInputs, TermSums
from distill.losses.terms.lists import Lists, list_sums, lists_of
from distill.losses.terms.soft import TemperedTerm
from distill.ops.segment import segment_rank, segment_sum

Form = Literal["lcron", "arf"]
_LEAST = 1e-6  # of a probability whose logarithm is taken, as in the public code of both papers


class NeuralSort(TemperedTerm):
    """How unlikely the teacher's order of a request is in the student's relaxed order: ``-Σ_k log P̂_k,π(k)``.

    P̂_k is the distribution of place k over the candidates, softer with the temperature, and π(k) the candidate that the
    teacher puts there. Reduction: mean over the places of a request, weighted mean over requests with at least two
    rows, weighted sum over tasks. Gradient path: to the student's logits only. It is the global loss of ARF.

    The arguments are those of `TemperedTerm`; T is the paper's τ over the number of candidates.

    Reference: Grover et al., "Stochastic Optimization of Sorting Networks via Continuous Relaxations", ICLR 2019, arXiv
    1903.08850; Wang et al., "Adaptive Neural Ranking Framework" (ARF), WWW 2024, arXiv 2310.10462.
    """

    compares: ClassVar[bool] = True
    over_pairs: ClassVar[bool] = True

    def forward(self, inputs: LossInputs) -> TermSums:
        """Computes the sums, one unit a task."""
        lists = lists_of(self, inputs, self.selected(inputs).unsqueeze(1))
        teacher = lists.of(self.teacher_logits(inputs))
        temperature = self.temperature.value(inputs.step)
        sums = order_surprise(lists.student, teacher, lists.index, lists.counts, temperature, lists.plan)
        return list_sums(self, lists, *sums)


class _TopTerm(TemperedTerm):
    """A term on the teacher's first `top` candidates; see its subclasses.

    Args:
        weight: Weight of the term in the total, a number or a schedule.
        rows: Row selector or several for their union.
        tasks: Names of the tasks it acts on; all that the teacher scores if None.
        temperature: T > 0 of the relaxed order, a number or a schedule; the papers' τ over the number of candidates.
        top: Candidates of the teacher that are wanted.
        keep: Candidates that the student keeps; `top` if None.

    Raises:
        ConfigError: Less is kept than wanted, or nothing is wanted.
    """

    over_pairs: ClassVar[bool] = True

    def __init__(
        self,
        weight: float | Schedule = 1.0,
        rows: str | Sequence[str] = "scored",
        tasks: Sequence[str] | None = None,
        temperature: float | Schedule = 1.0,
        top: int = 10,
        keep: int | None = None,
    ) -> None:
        super().__init__(weight, rows, tasks, temperature)
        kept = top if keep is None else keep
        if not 1 <= top <= kept:
            raise ConfigError(
                "The options of the first candidates are wrong.",
                where=type(self).__name__,
                expected="1 ≤ top ≤ keep",
                found=f"top={top}, keep={keep}",
            )
        self.top, self.keep = top, kept

    def forward(self, inputs: LossInputs) -> TermSums:
        """Computes the sums, one unit a task."""
        lists = lists_of(self, inputs, self.selected(inputs).unsqueeze(1))
        teacher = lists.of(self.teacher_logits(inputs))
        wanted = segment_rank(teacher, lists.index, lists.num_lists) < self.top
        values = self.row_values(lists, teacher, wanted, self.temperature.value(inputs.step))
        sums = segment_sum(values, lists.index, lists.num_lists)
        return list_sums(self, lists, sums, lists.counts * (lists.counts > self.keep))

    @abstractmethod
    def row_values(self, lists: Lists, teacher: Tensor, wanted: Tensor, temperature: float) -> Tensor:
        """Computes the loss of each row `[M]`, of which `wanted` says whether it is among the teacher's first."""


class RelaxedTopK(_TopTerm):
    """Keeps the teacher's first `top` candidates among the student's first `keep`, by a relaxed order.

    With P_i the probability that candidate i is among the student's first `keep`, Q_i that it is among the others (see
    `relaxed_top_k`) and y_i whether it is among the teacher's first: ``-y_i log P_i - (1 - y_i) log Q_i``
    (`form="lcron"`, the loss of a single stage), or ``-y_i log(Σ_{k ≤ keep} P̂_ki / keep)`` (`form="arf"`, the relaxed
    loss). Reduction: mean over the candidates of a request, weighted mean over requests with more than `keep`, weighted
    sum over tasks. Gradient path: to the student's logits only.

    Args:
        weight: Weight of the term in the total, a number or a schedule.
        rows: Row selector or several for their union.
        tasks: Names of the tasks it acts on; all that the teacher scores if None.
        temperature: T > 0 of the relaxed order, a number or a schedule; the papers' τ over the number of candidates.
        top: Candidates of the teacher that are wanted.
        keep: Candidates that the student keeps; `top` if None.
        form: `lcron` or `arf`.

    Raises:
        ConfigError: Less is kept than wanted, nothing is wanted, or the form is unknown.

    Reference: Wang et al., "Learning Cascade Ranking as One Network" (LCRON), ICML 2025, arXiv 2503.09492; Wang et al.,
    "Adaptive Neural Ranking Framework" (ARF), WWW 2024, arXiv 2310.10462. Both learn the weights of their terms:
    `loss.weighting=uncertainty`.
    """

    compares: ClassVar[bool] = True

    def __init__(
        self,
        weight: float | Schedule = 1.0,
        rows: str | Sequence[str] = "scored",
        tasks: Sequence[str] | None = None,
        temperature: float | Schedule = 1.0,
        top: int = 10,
        keep: int | None = None,
        form: Form = "lcron",
    ) -> None:
        super().__init__(weight, rows, tasks, temperature, top, keep)
        if form not in ("lcron", "arf"):
            raise ConfigError("Unknown form.", where="RelaxedTopK.form", expected="lcron or arf", found=str(form))
        self.form = form

    def row_values(self, lists: Lists, teacher: Tensor, wanted: Tensor, temperature: float) -> Tensor:
        """Computes the loss of each row `[M]`."""
        if self.form == "arf":
            first, _ = _top(lists, lists.student, self.keep, temperature, normalise=False)
            return torch.where(wanted, -(first + _LEAST).log(), 0.0)
        first, others = _top(lists, lists.student, self.keep, temperature)
        return -(torch.where(wanted, first, others) + _LEAST).log()


class JointTopK(_TopTerm):
    """Lets the teacher's first `top` candidates through the student and the teacher, and the others through neither.

    The probability that a candidate passes both stages is ``P_i = P_i^student(keep) · P_i^teacher(top)``, each by a
    relaxed order (see `relaxed_top_k`), and the loss ``-y_i log P_i - (1 - y_i) log(1 - P_i)`` with y_i whether it is
    among the teacher's first; in the second part P^student is one minus the probability of the other places. What the
    teacher would not choose anyway is pushed down less. Reduction: mean over the candidates of a request, weighted mean
    over requests with more than `keep`, weighted sum over tasks. Gradient path: to the student's logits only; the paper
    trains both stages.

    The arguments are those of `RelaxedTopK`, but for its form.

    Reference: Wang et al., "Learning Cascade Ranking as One Network" (LCRON), ICML 2025, arXiv 2503.09492: the
    end-to-end loss of two stages.
    """

    compares: ClassVar[bool] = True

    def row_values(self, lists: Lists, teacher: Tensor, wanted: Tensor, temperature: float) -> Tensor:
        """Computes the loss of each row `[M]`."""
        first, others = _top(lists, lists.student, self.keep, temperature)
        with torch.no_grad():
            ranker, _ = _top(lists, teacher, self.top, temperature)
        passed, stopped = first * ranker, 1.0 - (1.0 - others) * ranker
        return -(torch.where(wanted, passed, stopped) + _LEAST).log()


def _top(lists: Lists, scores: Tensor, top: int, temperature: float, normalise: bool = True) -> tuple[Tensor, Tensor]:
    """Computes `relaxed_top_k` of scores of the rows of lists `[M]`."""
    return relaxed_top_k(scores, lists.index, lists.counts, top, temperature, normalise, lists.plan)
