"""Positives against tiers of negatives, of which none drowns the others, as a loss term."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from distill.batch import Batch, TeacherSignals
from distill.checks import require_number
from distill.errors import ConfigError
from distill.losses.functional.listwise import multi_positive_softmax
from distill.losses.rows import parse_rows, select_rows
from distill.losses.schedule import Schedule
from distill.losses.terms.base import LossInputs, LossTerm, TermSums
from distill.losses.terms.lists import Lists, list_sums, lists_of
from distill.ops.ranks import sum_over_ranks

STAGES = ("exposed", "ranked", "preranked", "recalled")


class TieredContrast(LossTerm):
    """The softmax of positives against the negatives of each tier alone, with gradients of one size from all tiers.

    With E the positives of a request and N_g its negatives of tier g (by default those that ended at a stage: exposed
    ones are the hardest, recalled ones the easiest), tier g of a request costs ``L_g = mean_{i ∈ E} -log(e^{s_i/T} /
    (e^{s_i/T} + Σ_{j ∈ N_g} e^{s_j/T}))``. A positive is one of the task's label; a row of an exposed tier is a
    negative if its label was observed. In one softmax over all negatives the hard ones have nearly all of the gradient;
    here each tier has its own, and with `harmonise` they make ``Σ_g c_g L_g / G`` with ``c_g = min(n̄ / n_g, most)``.
    There n_g is the norm of the gradient of L_g with respect to all logits of the batch (of all processes), n̄ its mean
    over the tiers that have one, and c_g has no gradient. So all tiers pull with one force, together as hard as before.

    Reduction: each tier is averaged over the requests that have a positive and a negative of it, then tiers, then tasks
    are added with their weights. Gradient path: to the student's logits.

    Args:
        weight: Weight of the term in the total, a number or a schedule.
        rows: Row selector or several for their union.
        tasks: Names of the tasks it acts on; all of the schema's if None.
        tiers: Row selectors, of which each is a tier of negatives, such as `exposed`, `ranked`, `sampled`.
        temperature: T.
        harmonise: Whether all tiers pull alike; `false` leaves each its own gradient.
        most: The greatest c_g, so that a tier that is learned already is not blown up.

    Raises:
        ConfigError: A tier is no row selector or there are two of it, or a number is out of range.

    Reference: the gradient-harmonised contrast (GHCL) of Tong et al., "Not All Candidates are Created Equal" (HAP),
    2026, arXiv:2603.03770; stages as sources of negatives also Zhao et al. (HCCP), 2025, arXiv:2502.10284. Read from
    abstracts and summaries: that easy and hard negatives are apart, each on a path of its own, and their gradients are
    harmonised. The formulas are choices made here. HAP's routing of hard candidates to a larger model, and the margin
    of HCCP's InfoNCE, are not part of it.
    """

    def __init__(
        self,
        weight: float | Schedule = 1.0,
        rows: str | Sequence[str] = "all",
        tasks: Sequence[str] | None = None,
        tiers: Sequence[str] = STAGES,
        temperature: float = 1.0,
        harmonise: bool = True,
        most: float = 10.0,
    ) -> None:
        super().__init__(weight, rows, tasks)
        self.tiers = parse_rows(tiers, "TieredContrast.tiers")
        if len(set(self.tiers)) < len(self.tiers):
            raise ConfigError(
                "A tier of negatives is named twice.",
                where="TieredContrast.tiers",
                expected="different row selectors",
                found=", ".join(self.tiers),
            )
        require_number("TieredContrast.temperature", temperature, 1e-6, 1e6)
        require_number("TieredContrast.most", most, 1.0, 1e6)
        self.temperature, self.harmonise, self.most = temperature, harmonise, most

    @property
    def uses_signals(self) -> bool:
        """Whether a tier or the choice of rows reads the teacher signals."""
        return "scored" in self.tiers or super().uses_signals

    @property
    def label_tasks(self) -> tuple[str, ...]:
        """All of its tasks."""
        return self.names

    def acts_on(self, batch: Batch, signals: TeacherSignals | None) -> Tensor:
        """Says on which candidates the term acts: positives and those of a tier; see `LossTerm.acts_on`."""
        positive = self.columns_of(batch.positive).any(dim=1)
        return super().acts_on(batch, signals) & (positive | select_rows(self.tiers, batch, signals))

    def forward(self, inputs: LossInputs) -> TermSums:
        """Computes the sums, one unit a tier and task, tier by tier."""
        positive = self.columns_of(inputs.batch.positive)
        tiers = [self._negatives(inputs, name) & ~positive for name in self.tiers]
        every = self._lists(inputs, torch.stack([positive, *tiers]).any(dim=0))
        of_tiers = [self._contrasted(self._lists(inputs, positive | tier), positive, every.weight) for tier in tiers]
        numerators = torch.stack([sums.numerators for sums in of_tiers])
        denominators = torch.stack([sums.denominators for sums in of_tiers])
        weights = torch.stack([sums.weights for sums in of_tiers]) / len(self.tiers)
        if self.harmonise:
            logits = inputs.output.logits
            weights = weights * self._factors(logits, numerators, denominators)
        return TermSums(numerators.flatten(), denominators.flatten(), weights.flatten())

    def _negatives(self, inputs: LossInputs, name: str) -> Tensor:
        """Returns the rows of a tier `[N, K']`, positives among them."""
        rows = select_rows((name,), inputs.batch, inputs.signals).unsqueeze(1)
        return rows & self.columns_of(inputs.batch.observed) if name == "exposed" else rows.expand(-1, len(self.names))

    def _lists(self, inputs: LossInputs, mask: Tensor) -> Lists:
        return lists_of(self, inputs, self.selected(inputs).unsqueeze(1) & mask)

    def _contrasted(self, lists: Lists, positive: Tensor, weight: Tensor) -> TermSums:
        """Contrasts the positives of lists with the others; a list counts by the weight `[S]` of its request."""
        scores = lists.student / self.temperature
        values = multi_positive_softmax(scores, lists.of(positive), lists.index, lists.counts)
        return list_sums(self, replace(lists, weight=weight), *values)

    def _factors(self, logits: Tensor, numerators: Tensor, denominators: Tensor) -> Tensor:
        """Returns c `[G, K']`: by how much the gradient of each tier is stretched, task by task."""
        if not numerators.requires_grad:
            return torch.ones_like(denominators)
        squares = []
        for numerator in numerators.flatten():
            (gradient,) = torch.autograd.grad(numerator, logits, retain_graph=True)
            squares.append(gradient.square().sum())
        joined = sum_over_ranks(torch.stack([torch.stack(squares), denominators.flatten()]).detach())
        total = joined[1].view_as(denominators)
        norms = joined[0].view_as(denominators).sqrt() / torch.where(total > 0, total, 1.0)
        pulls = norms > 0
        mean = norms.sum(0) / pulls.sum(0).clamp(min=1)
        return torch.where(pulls, (mean / torch.where(pulls, norms, 1.0)).clamp(max=self.most), 1.0)
