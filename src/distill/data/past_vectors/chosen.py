"""The rows of a dataset that make a user's past, with the vectors that a teacher had for them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from distill.codes import Stage
from distill.data.checked_file import CheckedFile
from distill.data.format import (
    NUM_CANDIDATES,
    REQUEST_KEY,
    SPLITS,
    STAGE,
    Dataset,
    hidden_column,
    label_column,
    value_column,
)
from distill.data.stream.columns import flat_values
from distill.data.stream.signals import open_sidecar
from distill.encodings.arrow import Int64
from distill.errors import ConfigError


@dataclass(frozen=True)
class ChosenRows:
    """E candidates, in the order of the dataset.

    Attributes:
        requests: Keys of their requests `[E]`.
        vectors: `[E, W]`.
    """

    requests: Int64
    vectors: npt.NDArray[np.float32]


def read_chosen(dataset: Dataset, signals: Path, vector: str, task: str | None) -> ChosenRows:
    """Reads the vectors of candidates that weigh something: of positives of a task, or of all that were exposed.

    Args:
        dataset: It.
        signals: Folder of signals of it, with hidden vectors.
        vector: Name of a hidden vector that they hold.
        task: Whose positives; None for the exposed ones.

    Raises:
        ConfigError: The dataset has no such task.
        SignalError: The signals are damaged, or lie not beside the dataset.
        DataError: A part file is damaged.
    """
    if task is not None and task not in dataset.schema.task_names:
        raise ConfigError(
            "There is no such task.", where="task", expected=", ".join(dataset.schema.task_names), found=task
        )
    keys, vectors = [np.zeros(0, np.int64)], []
    for split in SPLITS:
        if not dataset.manifest.splits.get(split):
            continue
        sidecar = open_sidecar(dataset, (), split, signals)
        for part, said in zip(dataset.parts(split), sidecar.files, strict=True):
            file = dataset.open(part)
            for group in range(file.num_row_groups):
                request, chosen = _chosen(dataset, file, group, task)
                keys.append(request[chosen])
                vectors.append(_vectors(said, group, vector, sidecar.hidden[vector])[chosen])
    return ChosenRows(np.concatenate(keys), np.concatenate(vectors))


def _chosen(dataset: Dataset, file: CheckedFile, group: int, task: str | None) -> tuple[Int64, npt.NDArray[np.bool_]]:
    """Returns the request of each candidate of a row group `[N]`, and which of them are taken `[N]`."""
    schema, where = dataset.schema, f"{file.path}, row group {group}"
    nested = schema.layout == "requests"
    weight = [] if schema.weight is None else [value_column(schema.weight.column)]
    by = STAGE if task is None else label_column(task)
    table = file.read(group, [REQUEST_KEY, *([NUM_CANDIDATES] if nested else []), by, *weight])
    values = flat_values(table, by, where)
    chosen = values == int(Stage.EXPOSED) if task is None else values > 0  # a label that is not observed is NaN
    for name in weight:
        chosen = chosen & (flat_values(table, name, where) > 0)
    request = flat_values(table, REQUEST_KEY, where)
    return (np.repeat(request, flat_values(table, NUM_CANDIDATES, where)) if nested else request), chosen


def _vectors(file: CheckedFile, group: int, name: str, width: int) -> npt.NDArray[np.float32]:
    column = hidden_column(name)
    table: pa.Table = file.read(group, [column])
    return flat_values(table, column, f"{file.path}, row group {group}").astype(np.float32).reshape(-1, width)
