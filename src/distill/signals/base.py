"""What every source of teacher signals does."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from torch import Tensor, nn
from typing_extensions import Self

from distill.batch import Batch, LossReport, TeacherSignals

STATE_PREFIX = "signals."  # of a source's weights in the state of the training module


class SignalSource(nn.Module, ABC):
    """Gives the teacher's word on a batch, without gradient; a frozen one always in evaluation mode."""

    learns: ClassVar[bool] = False
    """Whether the teacher is trained in the same steps."""

    @abstractmethod
    def forward(self, batch: Batch) -> TeacherSignals:
        """Returns the signals of all N candidates of a batch."""

    @property
    def model(self) -> nn.Module | None:
        """The model that runs in the step, None if there is none."""
        return None

    @property
    def tasks(self) -> tuple[str, ...] | None:
        """Names of the tasks that it scores; None for all."""
        return None

    @property
    def card(self) -> Mapping[str, Any] | None:
        """Plain data with which a teacher that learns can be loaded alone from the student's checkpoint."""
        return None

    def learn(
        self, batch: Batch, wanted: Callable[[], Tensor], step: int, hidden: bool = False
    ) -> tuple[TeacherSignals, LossReport | None]:
        """Returns the signals of a training step, and the teacher's own loss if it learns.

        Args:
            batch: N candidates, labelled by the log alone.
            wanted: Returns the candidates whose signals the student wants `[N]` bool; others may get none.
            step: Of training.
            hidden: Whether the student wants hidden vectors too.
        """
        return self(batch), None

    def standalone_state(self, state: Mapping[str, Any], student: nn.Module) -> dict[str, Any]:
        """Returns the state of the training module from which the student can be loaded alone, as a checkpoint has it:
        without a frozen teacher, which has a file of its own."""
        return {name: value for name, value in state.items() if not name.startswith(STATE_PREFIX)}

    def whole_state(self, state: Mapping[str, Any], student: nn.Module) -> dict[str, Any]:
        """Undoes `standalone_state`."""
        own = {STATE_PREFIX + name: value for name, value in self.state_dict().items()}
        return {**SignalSource.standalone_state(self, state, student), **own}

    def train(self, mode: bool = True) -> Self:
        """Stays in evaluation mode whatever `mode` says: a teacher has no dropout and fixed batch statistics."""
        return super().train(False)
