"""A calibrator of a teacher that no longer fits the log: it learns from the labels, the student from what it says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from distill.batch import Batch, TeacherSignals
from distill.checks import require_number
from distill.errors import ConfigError
from distill.losses.functional.bce import bce_with_logits
from distill.losses.schedule import Schedule
from distill.losses.setting import LossSetting
from distill.losses.terms.base import LossInputs, LossTerm, TermSums, at_least_float32


class TeacherAdapter(LossTerm):
    """Maps the teacher's logits to those of today's labels, and learns that map beside the student.

    The adapted logit of task k is ``t'_k = e^{a_k} t_k + b_k``, and with `hidden_units` that plus ``m_k(x)``, where m
    is a perceptron (ReLU) on x = [logits of the tasks | the student's vectors `vectors`, without gradient]. It begins
    as the identity: a, b and the last layer of m are 0. Its own loss is the cross-entropy of t' and the labels of the
    log on the rows that the teacher scored; labels that sample rules made take no part. All other terms of the loss are
    given t' without gradient, so the adapter learns from labels alone and the student never changes it.

    Without `hidden_units` a task's order stays the teacher's; a perceptron may change it.

    Args:
        weight: Weight of its own loss, a number or a schedule; where it is 0 the adapter does not learn.
        rows: Row selector or several for their union: on which rows it learns. All that the teacher scored are adapted.
        tasks: Names of the tasks it adapts, which must be binary; all that the teacher scores if None.
        hidden_units: Widths of the perceptron's hidden layers; none for the affine map alone.
        vectors: Names of the student's hidden vectors that the perceptron reads, such as `request`.
        speed: How many times further a step moves a and b than the optimiser's rate says: they are a few numbers that
            all rows share, and a day is short.

    Raises:
        ConfigError: A width is not positive, there are vectors without a perceptron, or `speed` is not positive.

    Reference: the Student Adapter of Liang et al., "External Large Foundation Model", WWW 2025, arXiv:2502.17494, which
    transforms the teacher's predictions and learns with the student. Read from summaries: the affine part, the start at
    the identity and the student's vectors as inputs are choices made here.
    """

    needs_signals: ClassVar[bool] = True
    takes: ClassVar[tuple[str, ...]] = ("binary",)

    def __init__(
        self,
        weight: float | Schedule = 1.0,
        rows: str | Sequence[str] = "scored",
        tasks: Sequence[str] | None = None,
        hidden_units: Sequence[int] = (),
        vectors: Sequence[str] = (),
        speed: float = 10.0,
    ) -> None:
        super().__init__(weight, rows, tasks)
        self.hidden_units, self.vectors = tuple(hidden_units), tuple(vectors)
        if any(width < 1 for width in self.hidden_units) or (self.vectors and not self.hidden_units):
            raise ConfigError(
                "The perceptron of the adapter cannot be built like this.",
                where="TeacherAdapter.hidden_units",
                expected="widths of at least 1, and at least one if there are vectors to read",
                found=f"hidden_units={list(self.hidden_units)}, vectors={list(self.vectors)}",
            )
        require_number("TeacherAdapter.speed", speed, 1e-6, 1e6)
        self.speed = speed
        self.log_scale: nn.Parameter | None = None
        self.shift: nn.Parameter | None = None
        self.perceptron: nn.Sequential | None = None

    @property
    def label_tasks(self) -> tuple[str, ...]:
        """All of its tasks."""
        return self.names

    def setup(self, setting: LossSetting) -> None:
        """Makes its parameters; see `LossTerm.setup`.

        Raises:
            ConfigError: Also if the student has no vector of a name.
        """
        super().setup(setting)
        self.log_scale = nn.Parameter(torch.zeros_like(self.task_weights))
        self.shift = nn.Parameter(torch.zeros_like(self.task_weights))
        if self.hidden_units:
            widths = setting.student_vectors() if self.vectors else {}
            for name in (name for name in self.vectors if name not in widths):
                raise ConfigError(
                    "The student has no such hidden vector.",
                    where="TeacherAdapter.vectors",
                    expected=", ".join(f"{n} [{w}]" for n, w in widths.items()) or "[]",
                    found=name,
                    remedy="Choose one of them, or leave the vectors out.",
                )
            self.perceptron = _perceptron(
                len(self.names) + sum(widths[name] for name in self.vectors), self.hidden_units, len(self.names)
            )

    def acts_on(self, batch: Batch, signals: TeacherSignals | None) -> Tensor:
        """Says from which candidates it learns; see `LossTerm.acts_on`."""
        return super().acts_on(batch, signals) & self.columns_of(batch.labelled).any(dim=1)

    def adapted_logits(self, inputs: LossInputs) -> Tensor:
        """Returns the adapted logits `[N, K']` of its tasks, with gradient to the adapter alone.

        Raises:
            ConfigError: `setup` was not called.
            SignalError: There are no signals that fit.
        """
        logits = self.teacher_logits(inputs)
        if self.log_scale is None or self.shift is None:
            raise ConfigError("The adapter was used before `setup`.")
        adapted = (self.speed * self.log_scale).exp() * logits + self.speed * self.shift
        if self.perceptron is None:
            return adapted
        read = [logits, *(at_least_float32(inputs.output.hidden[name].detach()) for name in self.vectors)]
        more: Tensor = self.perceptron(torch.cat(read, dim=1))
        return adapted + more

    def adapt(self, inputs: LossInputs, adapted: Tensor) -> LossInputs:
        """Returns the inputs with adapted logits `[N, K']` in the place of the teacher's, without gradient; rows that
        the teacher did not score, and other tasks, stay as they are."""
        signals = inputs.signals
        assert signals is not None  # `adapted_logits` has refused it
        own = torch.where(signals.valid.unsqueeze(1), adapted.detach(), self.teacher_logits(inputs))
        logits = signals.logits.index_copy(1, self.task_columns, own.to(signals.logits.dtype))
        return replace(inputs, signals=replace(signals, logits=logits))

    def forward(self, inputs: LossInputs) -> TermSums:
        """Computes the sums of its own loss, one unit a task."""
        return self.sums(inputs, self.adapted_logits(inputs))

    def sums(self, inputs: LossInputs, adapted: Tensor) -> TermSums:
        """Computes the sums of the cross-entropy of adapted logits `[N, K']`, one unit a task."""
        batch = inputs.batch
        labels = at_least_float32(self.columns_of(batch.labels)).to(adapted.dtype)
        used = self.columns_of(batch.labelled) & self.selected(inputs).unsqueeze(1)
        return self.row_sums(bce_with_logits(adapted, labels), used, batch.weight)


def _perceptron(in_features: int, hidden_units: Sequence[int], out_features: int) -> nn.Sequential:
    """Linear layers with ReLU between them, of which the last gives 0 at first."""
    layers: list[nn.Module] = []
    for width in hidden_units:
        layers += [nn.Linear(in_features, width), nn.ReLU()]
        in_features = width
    last = nn.Linear(in_features, out_features)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(*layers, last)
