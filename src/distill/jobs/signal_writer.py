"""Writes the signals of part files: what each process of a scoring does, wherever it runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from distill.data.format import Dataset, PartFile, Split
from distill.engines import Advance
from distill.jobs.scorer import Scorer
from distill.jobs.sent_model import SentModel
from distill.signals.aligned import write_aligned
from distill.signals.principal import PrincipalComponents
from distill.signals.provenance import Provenance

_TEACHER_KEY, _DATASET_KEY, _HIDDEN_KEY = b"distill.teacher", b"distill.dataset", b"distill.hidden"


@dataclass(frozen=True)
class SignalWriter:
    """What the parts of a scoring share.

    Attributes:
        teacher: That scores.
        dataset: What is scored.
        device: Where to compute.
        provenance: Of the signals.
        folder: Where they go.
        keys: `REQUEST_KEY` and `ITEM_KEY`, as far as they are written too.
        components: Name of each hidden vector that is reduced to the file of its principal components.
    """

    teacher: SentModel
    dataset: Dataset
    device: torch.device
    provenance: Provenance
    folder: Path
    keys: tuple[str, ...]
    components: Mapping[str, Path] = field(default_factory=dict)

    def write(self, split: Split, index: int, part: PartFile) -> None:
        """Writes the signals of a part, whole or not at all.

        Raises:
            SignalError: A hidden vector does not fit into its type.
        """
        path, nested = self.folder / part.path, self.dataset.schema.layout == "requests"
        columns = self.scorer.part(split, index, path)
        write_aligned(columns, self.dataset.open(part), path, self.marks, nested, self.keys)

    @cached_property
    def scorer(self) -> Scorer:
        """The teacher on the device."""
        components = {name: PrincipalComponents.load(path) for name, path in self.components.items()}
        self.teacher.loaded.model.to(self.device)
        return Scorer(self.teacher.loaded, self.dataset, self.device, self.provenance.hidden, components)

    @property
    def marks(self) -> dict[bytes, bytes]:
        """What a file of signals says of itself, in case the job that wrote it did not end."""
        said = asdict(self.provenance.hidden).items()
        hidden = json.dumps({key: value for key, value in said if key != "components" or value})
        return {
            _TEACHER_KEY: self.provenance.teacher.encode(),
            _DATASET_KEY: self.provenance.dataset.encode(),
            _HIDDEN_KEY: hidden.encode(),
        }

    def __getstate__(self) -> dict[str, Any]:
        """Sends what is declared: each process has a scorer of its own."""
        return {name: value for name, value in self.__dict__.items() if name != "scorer"}


def write_part(writer: SignalWriter, part: tuple[Split, int, PartFile], advance: Advance) -> int:
    """Writes the signals of a part, as the task of an engine; returns its candidates."""
    writer.write(*part)
    advance(part[-1].candidates)
    return part[-1].candidates
