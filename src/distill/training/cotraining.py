"""A teacher that learns in the same steps as its student."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NoReturn

import torch
from torch import Tensor, nn
from typing_extensions import Self

from distill.batch import Batch, LossReport, RankerOutput, TeacherSignals
from distill.errors import ConfigError
from distill.features import BorrowedTables, EmbeddingTables
from distill.losses import CompositeLoss, LossInputs, LossSetting, TaskInfo
from distill.models.training_rows import rows_in_training
from distill.ops.ranks import world_size
from distill.signals import SignalSource
from distill.signals.base import STATE_PREFIX

PREFIX = f"{STATE_PREFIX}learner."
_STUDENT = "model."


class CotrainedTeacher(SignalSource):
    """Learns from labels by a loss of its own, and tells the student what it thinks at that moment.

    What it tells carries no gradient, so that the student's loss never changes the teacher, but through embedding
    tables that they share. Candidates that its own loss does not act on (unexposed ones, say) are scored without
    gradient.

    Args:
        model: The teacher; it may have `BorrowedTables`.
        loss: Its own loss, set up (see `cotrained_setting`).
        card: Plain data that a checkpoint of the teacher alone must carry.

    Reference: Xu et al., "Privileged Features Distillation at Taobao Recommendations", 2020, arXiv:1907.05171.
    """

    learns: ClassVar[bool] = True

    def __init__(self, model: nn.Module, loss: CompositeLoss, card: Mapping[str, Any]) -> None:
        super().__init__()
        self.learner = model
        self.loss = loss
        self._card = dict(card)
        nn.Module.train(self, True)

    @property
    def model(self) -> nn.Module:
        """The teacher."""
        return self.learner

    @property
    def card(self) -> Mapping[str, Any]:
        """As given."""
        return self._card

    def train(self, mode: bool = True) -> Self:
        """Follows the student into training and evaluation, unlike a frozen teacher."""
        return nn.Module.train(self, mode)

    @torch.no_grad()
    def forward(self, batch: Batch) -> TeacherSignals:
        """Returns what the teacher says of all candidates, without learning."""
        output: RankerOutput = self.learner(batch)
        return TeacherSignals(output.logits.float(), torch.ones_like(batch.weight, dtype=torch.bool), output.hidden)

    def learn(
        self, batch: Batch, wanted: Callable[[], Tensor], step: int, hidden: bool = False
    ) -> tuple[TeacherSignals, LossReport]:
        """Computes the teacher's own loss, and its signals for the student; see `SignalSource.learn`.

        Returns:
            Signals, valid on the wanted rows and on those that the teacher learns from, without gradient; and the
            report of its loss, with gradient.
        """
        learning = self.loss.acts_on(batch, None, step) | rows_in_training(self.learner, batch)
        own = learning.nonzero().flatten()
        part = batch.select(own)
        output = self.learner(part).map(Tensor.float)
        with torch.autocast(batch.weight.device.type, enabled=False):
            report: LossReport = self.loss(LossInputs(part, output, None, step))
        heard = [(own, output.map(Tensor.detach))]
        others = (wanted() & ~learning).nonzero().flatten()
        if others.shape[0] or world_size() > 1:  # what the ranks compute together, all of them compute
            with torch.no_grad():
                heard.append((others, self.learner(batch.select(others)).map(Tensor.float)))
        return _signals(batch.num_candidates, heard, hidden), report

    def standalone_state(self, state: Mapping[str, Any], student: nn.Module) -> dict[str, Any]:
        """Returns the weights as each of the two would have them alone."""
        return separate(state, student, self.learner)

    def whole_state(self, state: Mapping[str, Any], student: nn.Module) -> dict[str, Any]:
        """Undoes `standalone_state`."""
        return join(state, student, self.learner)


def cotrained_setting(tasks: Sequence[TaskInfo], total_steps: int) -> LossSetting:
    """Returns what a cotrained teacher's own loss is told of the run: labels and its logits are all that there is."""
    return LossSetting(tasks, False, total_steps, "teacher.loss", _refuse, _refuse, _refuse, exposures=_refuse)


def _refuse() -> NoReturn:
    raise ConfigError(
        "A cotrained teacher learns from labels and its logits alone.",
        expected="terms on labels",
        remedy="Remove the terms on hidden vectors and items, or train the teacher first (teacher=trained).",
    )


def _signals(count: int, heard: list[tuple[Tensor, RankerOutput]], hidden: bool) -> TeacherSignals:
    """Puts what was said of some rows at their places among all."""
    rows = torch.cat([rows for rows, _ in heard])

    def scatter(parts: list[Tensor]) -> Tensor:
        values = torch.cat(parts)
        return values.new_zeros(count, *values.shape[1:]).index_copy(0, rows, values)

    names = heard[0][1].hidden if hidden else ()
    return TeacherSignals(
        logits=scatter([output.logits for _, output in heard]),
        valid=torch.zeros(count, dtype=torch.bool, device=rows.device).index_fill(0, rows, True),
        hidden={name: scatter([output.hidden[name] for _, output in heard]) for name in names},
    )


def separate(state: Mapping[str, Any], student: nn.Module, teacher: nn.Module) -> dict[str, Any]:
    """Turns the state of a student and its cotrained teacher into one from which each can be loaded alone.

    Args:
        state: Of the training module, with the keys of `student` below `model.` and of `teacher` below `PREFIX`.
        student: The student.
        teacher: Its teacher.
    """
    found = dict(state)
    for shared in _shared(student, teacher):
        for width in shared.tables.widths:
            joint = state[f"{shared.teacher[0]}.weights.{width}"]
            own = shared.tables.own_layout(width, joint)
            found |= {f"{name}.weights.{width}": own for name in shared.teacher}
            if count := shared.tables.lent_rows(width):
                found |= {f"{name}.weights.{width}": joint[:count].clone() for name in shared.student}
    return found


def join(state: Mapping[str, Any], student: nn.Module, teacher: nn.Module) -> dict[str, Any]:
    """Undoes `separate`."""
    found = dict(state)
    for shared in _shared(student, teacher):
        for width in shared.tables.widths:
            lent = state[f"{shared.student[0]}.weights.{width}"] if shared.tables.lent_rows(width) else None
            joint = shared.tables.joint_layout(width, lent, state[f"{shared.teacher[0]}.weights.{width}"])
            names = shared.teacher if lent is None else shared.teacher + shared.student
            found |= {f"{name}.weights.{width}": joint for name in names}
    return found


@dataclass(frozen=True)
class _Shared:
    """Tables that the teacher borrowed, and all names of them in the state of teacher and student."""

    tables: BorrowedTables
    teacher: list[str]
    student: list[str]


def _shared(student: nn.Module, teacher: nn.Module) -> list[_Shared]:
    of_student = [(_STUDENT + name, module) for name, module in _tables(student)]
    of_teacher = [(PREFIX + name, module) for name, module in _tables(teacher)]
    found = []
    for tables in {id(m): m for _, m in of_teacher if isinstance(m, BorrowedTables)}.values():
        weights = {id(w) for w in tables.weights.values()}
        lent = [name for name, m in of_student if weights & {id(w) for w in m.weights.values()}]
        found.append(_Shared(tables, [name for name, m in of_teacher if m is tables], lent))
    return found


def _tables(model: nn.Module) -> list[tuple[str, EmbeddingTables]]:
    """Returns the tables of a model under every name that they have there."""
    named = model.named_modules(remove_duplicate=False)
    return [(name, module) for name, module in named if isinstance(module, EmbeddingTables)]


def teacher_state(state: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the teacher's weights of a separated state under the names of a model's own checkpoint."""
    return {_STUDENT + k.removeprefix(PREFIX): v for k, v in state.items() if k.startswith(PREFIX)}
