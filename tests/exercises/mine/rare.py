"""A loss that looks at the run around it: how often each item was exposed."""

from __future__ import annotations

from collections.abc import Sequence

from distill.data.popularity import ItemExposures
from distill.losses import LossInputs, LossSetting, Schedule, TermSums
from distill.losses.functional import bce_with_logits
from distill.losses.terms.labelled import LabelledTerm


class RareItems(LabelledTerm):
    """BCE of which a row counts ``(1 + exposures)^-α``: popular items do not drown the others."""

    def __init__(
        self,
        weight: float | Schedule = 1.0,
        rows: str | Sequence[str] = "all",
        tasks: Sequence[str] | None = None,
        alpha: float = 0.5,
    ) -> None:
        super().__init__(weight, rows, tasks)
        self.alpha = alpha
        self.exposures: ItemExposures | None = None

    def setup(self, setting: LossSetting) -> None:
        """Asks for the catalogue, which nobody reads otherwise."""
        super().setup(setting)
        self.exposures = setting.catalogue().exposures

    def forward(self, inputs: LossInputs) -> TermSums:
        """Computes the sums, one unit a task."""
        assert self.exposures is not None
        values = bce_with_logits(self.student_logits(inputs), self.label_values(inputs))
        count = self.exposures.of(inputs.batch.item_id.cpu()).to(values.device)
        return self.row_sums(values, self.observed(inputs), inputs.batch.weight * (1.0 + count) ** -self.alpha)
