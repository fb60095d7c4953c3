"""Binary cross-entropy against the observed labels, as a loss term."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, Literal

import torch
from torch import nn

from distill.errors import ConfigError
from distill.losses.functional.bce import bce_with_logits
from distill.losses.schedule import Schedule
from distill.losses.setting import LossSetting
from distill.losses.terms.base import LossInputs, TermSums
from distill.losses.terms.labelled import LabelledTerm

TaskWeighting = Literal["fixed", "uncertainty"]


class HardBCE(LabelledTerm):
    """The multi-task binary cross-entropy of the student's logits against the labels.

    ``Σ_k λ_k · Σ_i w_i o_ik BCE(s_ik, y_ik) / Σ_i w_i o_ik`` with task weights λ, row weights w and ``o_ik`` = 1 where
    row i is selected and task k observed on it. Reduction: each task is averaged over its own observed rows, then tasks
    are added with their weights. Gradient path: to the student's logits. Temperature scaling: none.

    With `task_weighting="uncertainty"` each task's mean L_k becomes ``exp(−s_k) L_k + s_k / 2`` with a learned s_k, the
    logarithm of the task's noise variance, 0 at first; the optimiser trains it with the model.

    Args:
        weight: Weight of the term in the total, a number or a schedule.
        rows: Row selector or several for their union.
        tasks: Names of the tasks it acts on, which must be binary; all of the schema's if None.
        task_weighting: `fixed` (the schema's weights alone) or `uncertainty` (learned weights on top of them).

    Raises:
        ConfigError: The task weighting is unknown.

    Reference: Kendall et al., "Multi-Task Learning Using Uncertainty to Weigh Losses", 2018, arXiv:1705.07115, eq. 7
    and 10 (classification).
    """

    takes: ClassVar[tuple[str, ...]] = ("binary",)

    def __init__(
        self,
        weight: float | Schedule = 1.0,
        rows: str | Sequence[str] = "all",
        tasks: Sequence[str] | None = None,
        task_weighting: TaskWeighting = "fixed",
    ) -> None:
        super().__init__(weight, rows, tasks)
        if task_weighting not in ("fixed", "uncertainty"):
            raise ConfigError(
                "Unknown task weighting.",
                where="HardBCE.task_weighting",
                expected="fixed or uncertainty",
                found=str(task_weighting),
            )
        self.task_weighting = task_weighting
        self.log_variance: nn.Parameter | None = None

    def setup(self, setting: LossSetting) -> None:
        """Makes the tasks' log variances, if they are learned; see `LossTerm.setup`."""
        super().setup(setting)
        if self.task_weighting == "uncertainty":
            self.log_variance = nn.Parameter(torch.zeros_like(self.task_weights))

    def forward(self, inputs: LossInputs) -> TermSums:
        """Computes the sums, one unit a task."""
        values = bce_with_logits(self.student_logits(inputs), self.label_values(inputs))
        sums = self.row_sums(values, self.observed(inputs), inputs.batch.weight)
        if self.log_variance is None:
            return sums
        numerators = (-self.log_variance).exp() * sums.numerators + 0.5 * self.log_variance * sums.denominators
        return replace(sums, numerators=numerators)
