"""Experts that rebuild the teacher's hidden vector, as a loss term."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from distill.errors import ConfigError
from distill.losses.functional.chunks import by_rows
from distill.losses.functional.hidden import squared_distance
from distill.losses.schedule import Schedule, temperature_schedule
from distill.losses.terms.base import LossInputs, TermSums
from distill.losses.terms.hidden import HiddenTerm


class DE(HiddenTerm):
    """Several experts rebuild the teacher's hidden vector from the student's, each for its share of the rows.

    ``mean over columns of (Σ_m α_m E_m(h_s) - sg(h_t))²`` with MLPs E_m and
    ``α = softmax((log softmax(S sg(h_t)) + g)/τ)`` for Gumbel noise g: as τ falls, each row is left to the expert that
    its teacher vector selects. Reduction: weighted mean over rows. Gradient path: to the student's hidden vector, the
    experts and S.

    Args:
        weight: Weight of the term in the total, a number or a schedule.
        rows: Row selector or several for their union.
        student: Name of the student's hidden vector, or of several, side by side.
        teacher: Name of the teacher's.
        num_experts: Number of experts.
        temperature: τ > 0, a number or a schedule.

    Raises:
        ConfigError: At least one expert is needed.

    Reference: Kang et al., "DE-RRD: A Knowledge Distillation Framework for Recommender System", CIKM 2020, arXiv
    2012.04357, section 3.1. Deviation: the squared distance is averaged over columns.
    """

    def __init__(
        self,
        weight: float | Schedule = 1.0,
        rows: str | Sequence[str] = "scored",
        student: str | Sequence[str] = ("request", "candidate"),
        teacher: str = "body",
        num_experts: int = 4,
        temperature: float | Schedule = 1.0,
    ) -> None:
        super().__init__(weight, rows, student, teacher)
        if num_experts < 1:
            raise ConfigError(
                "At least one expert is needed.", where="DE.num_experts", expected="at least 1", found=str(num_experts)
            )
        self.num_experts = num_experts
        self.temperature = self.planned("temperature", temperature_schedule(temperature, where="DE.temperature"))
        self.experts = nn.ModuleList()
        self.select: nn.Linear | None = None

    def build(self, student_width: int, teacher_width: int) -> None:
        """Makes the experts and S."""
        middle = (student_width + teacher_width) // 2
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(student_width, middle), nn.ReLU(), nn.Linear(middle, teacher_width))
            for _ in range(self.num_experts)
        )
        self.select = nn.Linear(teacher_width, self.num_experts)

    def forward(self, inputs: LossInputs) -> TermSums:
        """Computes the sums, one unit."""
        taken, student, teacher = self.vectors(inputs)
        assert self.select is not None
        logits: Tensor = self.select(teacher).log_softmax(dim=1)
        noise = -torch.empty_like(logits).exponential_().clamp(min=1e-20).log()
        share = ((logits + noise) / self.temperature.value(inputs.step)).softmax(dim=1)

        def distance(vectors: Tensor, weights: Tensor, wanted: Tensor) -> Tensor:
            rebuilt = torch.stack([expert(vectors) for expert in self.experts], dim=1)
            return squared_distance((weights.unsqueeze(2) * rebuilt).sum(dim=1), wanted)

        elements = self.num_experts * (student.shape[1] + 2 * teacher.shape[1])
        return self.sums(inputs, taken, by_rows(distance, (student, share, teacher), elements))
