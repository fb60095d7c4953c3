"""A loss that looks at the run around it: how often each item was exposed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from distill.data.popularity import ItemExposures
from distill.losses import LossInputs, LossSetting, Schedule, TermSums
from distill.losses.functional import bce_with_logits
from distill.losses.terms.labelled import LabelledTerm


class RareItems(LabelledTerm):
    """BCE of which a row counts ``(1 + exposures)^-α``: popular items do not drown the others."""

    takes: ClassVar[tuple[str, ...]] = ("binary",)

    item_id: Tensor
    count: Tensor

    def __init__(
        self,
        weight: float | Schedule = 1.0,
        rows: str | Sequence[str] = "all",
        tasks: Sequence[str] | None = None,
        alpha: float = 0.5,
    ) -> None:
        super().__init__(weight, rows, tasks)
        self.alpha = alpha
        for name in ("item_id", "count"):  # buffers, so that they are where the model is
            self.register_buffer(name, torch.empty(0, dtype=torch.int64), persistent=False)

    def setup(self, setting: LossSetting) -> None:
        """Asks for the catalogue, which is read only on request."""
        super().setup(setting)
        exposures = setting.catalogue().exposures
        self.item_id, self.count = exposures.item_id, exposures.count

    def forward(self, inputs: LossInputs) -> TermSums:
        """Computes the sums, one unit a task."""
        values = bce_with_logits(self.student_logits(inputs), self.label_values(inputs))
        count = ItemExposures(self.item_id, self.count).of(inputs.batch.item_id)
        return self.row_sums(values, self.observed(inputs), inputs.batch.weight * (1.0 + count) ** -self.alpha)
