"""The labels' distribution of who comes first, as a loss term."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch

from distill.losses.functional.listwise import listnet
from distill.losses.schedule import Schedule, temperature_schedule
from distill.losses.terms.base import LossInputs, TermSums
from distill.losses.terms.labelled import LabelledTerm
from distill.losses.terms.lists import list_sums
from distill.ops.segment import segment_max


class ListNet(LabelledTerm):
    """The cross-entropy of the labels' and the student's distribution of who comes first.

    ``-Σ_i softmax(y/T)_i log softmax(s)_i`` over the observed candidates of a request; requests whose labels are all
    equal say nothing about an order and are left out. Reduction: sum over the candidates of a request, weighted mean
    over requests, weighted sum over tasks. Gradient path: to the student's logits. Temperature scaling: none, T makes
    the labels' distribution sharper or flatter.

    Args:
        weight: Weight of the term in the total, a number or a schedule.
        rows: Row selector or several for their union.
        tasks: Names of the tasks it acts on; all of the schema's if None.
        temperature: T > 0, a number or a schedule.

    Reference: Cao et al., "Learning to Rank: From Pairwise Approach to Listwise Approach", ICML 2007. Its teacher's
    counterpart is `SoftmaxKL`.
    """

    compares: ClassVar[bool] = True

    def __init__(
        self,
        weight: float | Schedule = 1.0,
        rows: str | Sequence[str] = "all",
        tasks: Sequence[str] | None = None,
        temperature: float | Schedule = 1.0,
    ) -> None:
        super().__init__(weight, rows, tasks)
        self.temperature = self.planned("temperature", temperature_schedule(temperature, where="ListNet.temperature"))

    def forward(self, inputs: LossInputs) -> TermSums:
        """Computes the sums, one unit a task."""
        lists, labels = self.labelled(inputs)
        temperature = self.temperature.value(inputs.step)
        values = listnet(lists.student, labels, lists.index, lists.num_lists, temperature)
        highest, lowest = (segment_max(sign * labels, lists.index, lists.num_lists) for sign in (1, -1))
        differ = (lists.counts >= 2) & torch.isfinite(highest) & (highest + lowest > 0)
        return list_sums(self, lists, values, differ.to(values.dtype))
