"""The teacher's hidden vector as a hint for the student's, as a loss term."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch.nn.functional as F
from torch import nn

from distill.errors import ConfigError
from distill.losses.functional.hidden import cosine_distance, squared_distance
from distill.losses.schedule import Schedule
from distill.losses.terms.base import LossInputs, TermSums
from distill.losses.terms.hidden import HiddenTerm


class Hint(HiddenTerm):
    """Draws a linear image of the student's hidden vector to the teacher's.

    ``mean over columns of (P h_s - sg(h_t))²`` (`distance="l2"`) or ``1 - cos(P h_s, sg(h_t))`` (`distance="cosine"`).
    P is learned with the student, also for equal widths, whose columns mean different things. With `normalise`,
    h_s before P and h_t are brought to mean 0 and variance 1 across their columns, so the weight of the term does not
    depend on the teacher's scale. Reduction: weighted mean over rows. Gradient path: to the student's hidden vector and
    P. Temperature scaling: none.

    Args:
        weight: Weight of the term in the total, a number or a schedule.
        rows: Row selector or several for their union.
        student: Name of the student's hidden vector, or of several, side by side.
        teacher: Name of the teacher's.
        distance: `l2` or `cosine`.
        normalise: Whether both vectors are normalised across their columns.

    Raises:
        ConfigError: The distance is unknown.

    Reference: Romero et al., "FitNets: Hints for Thin Deep Nets", ICLR 2015, arXiv 1412.6550, eq. 3.
    """

    def __init__(
        self,
        weight: float | Schedule = 1.0,
        rows: str | Sequence[str] = "scored",
        student: str | Sequence[str] = ("request", "candidate"),
        teacher: str = "body",
        distance: Literal["l2", "cosine"] = "l2",
        normalise: bool = True,
    ) -> None:
        super().__init__(weight, rows, student, teacher)
        if distance not in ("l2", "cosine"):
            raise ConfigError("Unknown distance.", where="Hint.distance", expected="l2 or cosine", found=str(distance))
        self.distance, self.normalise = distance, normalise
        self.project: nn.Linear | None = None

    def build(self, student_width: int, teacher_width: int) -> None:
        """Makes P."""
        self.project = nn.Linear(student_width, teacher_width)

    def forward(self, inputs: LossInputs) -> TermSums:
        """Computes the sums, one unit."""
        taken, student, teacher = self.vectors(inputs)
        if self.normalise:
            student, teacher = (F.layer_norm(x, x.shape[1:]) for x in (student, teacher))
        assert self.project is not None
        image = self.project(student)
        distance = squared_distance if self.distance == "l2" else cosine_distance
        return self.sums(inputs, taken, distance(image, teacher))
