"""What the terms that compare observed labels have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from distill.batch import Batch, TeacherSignals
from distill.losses.schedule import Schedule
from distill.losses.terms.base import LossInputs, LossTerm, at_least_float32
from distill.losses.terms.lists import Lists, lists_of


class LabelledTerm(LossTerm):
    """A term on candidates with observed labels.

    One that compares candidates goes by what labels stand for (`labelled`): a soft pseudo-label counts as the positive
    or negative that it is, since the teacher's probability of its worst candidate must not put it above an observed 0.

    Args:
        weight: Weight of the term in the total, a number or a schedule.
        rows: Row selector or several for their union.
        tasks: Names of the tasks it acts on; all of the schema's if None.
    """

    needs_both_classes: ClassVar[bool] = True

    def __init__(
        self, weight: float | Schedule = 1.0, rows: str | Sequence[str] = "all", tasks: Sequence[str] | None = None
    ) -> None:
        super().__init__(weight, rows, tasks)

    @property
    def label_tasks(self) -> tuple[str, ...]:
        """All of its tasks."""
        return self.names

    def acts_on(self, batch: Batch, signals: TeacherSignals | None) -> Tensor:
        """Says which candidates are selected and observed in any of the tasks; see `LossTerm.acts_on`."""
        return super().acts_on(batch, signals) & self.columns_of(batch.observed).any(dim=1)

    def observed(self, inputs: LossInputs) -> Tensor:
        """Returns which labels of selected rows the log or a sampler observed `[N, K']` bool."""
        return self.columns_of(inputs.batch.observed) & self.selected(inputs).unsqueeze(1)

    def label_values(self, inputs: LossInputs) -> Tensor:
        """Returns the labels `[N, K']` in the dtype of `student_logits`, whatever they are where none was observed."""
        dtype = torch.promote_types(inputs.output.logits.dtype, torch.float32)
        return at_least_float32(self.columns_of(inputs.batch.labels)).to(dtype)

    def labelled(self, inputs: LossInputs) -> tuple[Lists, Tensor]:
        """Returns the lists of selected, observed rows and their relevance `[M]`."""
        lists = lists_of(self, inputs, self.observed(inputs))
        relevance = at_least_float32(self.columns_of(inputs.batch.relevance)).to(lists.student.dtype)
        return lists, lists.of(relevance)
