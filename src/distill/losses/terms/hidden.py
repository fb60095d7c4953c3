"""What the terms on hidden vectors have in common."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from distill.errors import ConfigError, SignalError
from distill.losses.schedule import Schedule
from distill.losses.setting import LossSetting
from distill.losses.terms.base import LossInputs, TermSums, at_least_float32
from distill.losses.terms.soft import SoftTerm
from distill.ops.waiting import Places, places

_NO_VECTORS = (
    "Declare logged vectors under `teacher.hidden` in the schema; or score with hidden=[NAME]; teacher=trained and "
    "teacher=checkpoint do so themselves; or let the teacher run in the step: teacher.signals=online"
)


class HiddenTerm(SoftTerm):
    """A term on hidden vectors of the student, side by side, and one of the teacher.

    Args:
        weight: Weight of the term in the total, a number or a schedule.
        rows: Row selector or several for their union.
        student: Name of the student's hidden vector, or of several.
        teacher: Name of the teacher's.
    """

    def __init__(
        self,
        weight: float | Schedule = 1.0,
        rows: str | Sequence[str] = "scored",
        student: str | Sequence[str] = ("request", "candidate"),
        teacher: str = "body",
    ) -> None:
        super().__init__(weight, rows, None)
        self.student = (student,) if isinstance(student, str) else tuple(student)
        self.teacher = teacher
        self._is_set_up = False

    @property
    def teacher_vectors(self) -> tuple[str, ...]:
        """The name of the teacher's vector."""
        return (self.teacher,)

    def setup(self, setting: LossSetting) -> None:
        """Learns the widths of the hidden vectors; see `LossTerm.setup`.

        Raises:
            ConfigError: Also if a side has no vector of that name.
        """
        super().setup(setting)
        student, teacher = setting.student_vectors(), setting.teacher_vectors()
        kind = type(self).__name__
        wanted = [("student", name, student) for name in self.student] + [("teacher", self.teacher, teacher)]
        for side, name, known in wanted:
            if name not in known:
                raise ConfigError(
                    f"The {side} has no such hidden vector.",
                    where=f"{kind}.{side}",
                    expected=", ".join(f"{n} [{w}]" for n, w in known.items()) or "a model with hidden vectors",
                    found=name,
                    remedy="Choose one of them." if known or side == "student" else _NO_VECTORS,
                )
        self._is_set_up = True
        self.build(sum(student[name] for name in self.student), teacher[self.teacher])

    def build(self, student_width: int, teacher_width: int) -> None:
        """Makes what of the term depends on the widths; nothing by default."""

    def vectors(self, inputs: LossInputs) -> tuple[Places, Tensor, Tensor]:
        """Returns the rows that take part `[M]`, and their vectors `[M, W]` and `[M, W']`, the teacher's detached.

        Raises:
            ConfigError: `setup` was not called.
            SignalError: The signals lack the vector.
        """
        if not self._is_set_up:
            raise ConfigError(f"The loss term {type(self).__name__} was used before `setup`.")
        if inputs.signals is None or self.teacher not in inputs.signals.hidden:
            raise SignalError(
                "The teacher's signals lack a hidden vector.",
                expected=self.teacher,
                found="no signals" if inputs.signals is None else ", ".join(inputs.signals.hidden) or "none",
                remedy=_NO_VECTORS,
            )
        unknown = self.over_pairs and inputs.batch.sizes is None  # how many pairs there are
        taken = places(self.selected(inputs), exact=self.needs_shapes or unknown)
        joined = torch.cat([inputs.output.hidden[name] for name in self.student], dim=1)
        student = at_least_float32(joined).index_select(0, taken.rows)
        teacher = inputs.signals.hidden[self.teacher].detach().to(student.dtype).index_select(0, taken.rows)
        return taken, student, teacher

    def sums(self, inputs: LossInputs, taken: Places, values: Tensor) -> TermSums:
        """Averages values of rows `[M]`, weighted by the rows' weights; one unit."""
        weight = taken.keep(inputs.batch.weight.index_select(0, taken.rows).to(values.dtype))
        one = torch.ones(1, dtype=values.dtype, device=values.device)
        return TermSums((taken.keep(values) * weight).sum().view(1), weight.sum().view(1), one)
