"""A teacher that runs over the parts of a dataset: the columns of numbers that the score job writes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from distill.batch import RankerOutput
from distill.data.format import Dataset, Split, hidden_column, teacher_column
from distill.data.stream import iterate_part
from distill.data.transfer import BatchTransfer
from distill.errors import ConfigError
from distill.jobs.parts import LoadedModel
from distill.ops.brought import Brought
from distill.signals.aligned import Values, as_type
from distill.signals.principal import PrincipalComponents
from distill.signals.provenance import HiddenVectors

_BATCH_CANDIDATES = 32_768
_SAMPLE_BATCHES = 4


@dataclass(frozen=True)
class Scorer:
    """Scores parts with a teacher.

    Attributes:
        teacher: With its weights, on the device.
        dataset: What is scored.
        device: Where to compute.
        hidden: The hidden vectors that are wanted.
        components: Name of each of them to its principal components, if they are to be reduced.
    """

    teacher: LoadedModel
    dataset: Dataset
    device: torch.device
    hidden: HiddenVectors
    components: dict[str, PrincipalComponents] = field(default_factory=dict)

    def fit_components(self) -> dict[str, PrincipalComponents]:
        """Finds the principal components of each hidden vector on the first candidates of the training split.

        Raises:
            ConfigError: The teacher has no such vector, or none so wide.
        """
        if self.hidden.width is None:
            return {}
        parts = range(len(self.dataset.parts("train")))
        first = list(islice(chain.from_iterable(self._outputs("train", i) for i in parts), _SAMPLE_BATCHES))
        return {
            name: PrincipalComponents.fit(
                (self._vectors(output, name) for output in first), self.hidden.width, f"hidden_width, vector {name}"
            )
            for name in self.hidden.names
        }

    @torch.no_grad()
    def part(self, split: Split, index: int, path: Path) -> dict[str, Values]:
        """Scores a part file.

        Args:
            split: Of the part.
            index: Its place in the split.
            path: Where its signals go, for errors.

        Returns:
            Column name to `[N]` logits or `[N, W]` hidden vectors.

        Raises:
            ConfigError: The teacher has no such hidden vector.
            SignalError: A hidden vector does not fit into its type.
        """
        tasks = self.teacher.schema.task_names
        columns: dict[str, list[Values]] = {teacher_column(task): [np.zeros(0, np.float32)] for task in tasks}
        found = Brought(_joined)
        for output in self._outputs(split, index):
            found.add(self._wanted(output), output.logits.shape[0], output.logits)
        for part in found.parts():
            for k, task in enumerate(tasks):
                columns[teacher_column(task)].append(part.logits[:, k].numpy())
            for name, vectors in part.hidden.items():
                column = hidden_column(name)
                columns.setdefault(column, []).append(as_type(vectors.numpy(), self.hidden.type, path, column))
        return {name: np.concatenate(values) for name, values in columns.items()}

    def _wanted(self, output: RankerOutput) -> RankerOutput:
        """Takes what is written, hidden vectors reduced if they are to be."""
        vectors = {name: self._vectors(output, name) for name in self.hidden.names}
        reduced = {n: self.components[n](v) if n in self.components else v for n, v in vectors.items()}
        return RankerOutput(output.logits.float(), reduced)

    @torch.no_grad()
    def _outputs(self, split: Split, index: int) -> Iterator[RankerOutput]:
        transfer = BatchTransfer()
        view = self.dataset.schema.model_copy(update={"fields": self.teacher.schema.fields})
        for batch in iterate_part(self.dataset, split, index, view, _BATCH_CANDIDATES):
            yield self.teacher.model(transfer(batch.measured(), self.device))

    def _vectors(self, output: RankerOutput, name: str) -> Tensor:
        if name not in output.hidden:
            raise ConfigError(
                "The teacher has no such hidden vector.",
                where="hidden",
                expected=", ".join(f"{n} [{v.shape[1]}]" for n, v in output.hidden.items()) or "none",
                found=name,
            )
        return output.hidden[name].float()


def _joined(outputs: Sequence[RankerOutput]) -> RankerOutput:
    return RankerOutput(
        torch.cat([output.logits for output in outputs]),
        {name: torch.cat([output.hidden[name] for output in outputs]) for name in outputs[0].hidden},
    )
