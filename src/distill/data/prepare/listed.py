"""Labels of lists: the items of a request that were clicked, bought, …"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from distill.codes import MISSING_KEY
from distill.data.prepare.chunk import Chunk
from distill.data.prepare.key_types import KeyColumn, check_one_type
from distill.data.prepare.keys import keys_of
from distill.data.prepare.source import RawFiles
from distill.encodings.arrow import Bool, Int64, explode, null_mask
from distill.schema import Schema, Task

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class RawLabels:
    """Labels of a task as the raw data holds them.

    Attributes:
        values: `[N]`; anything where null.
        null: Whether the raw data says nothing `[N]`.
        elsewhere: Request of each listed item that is none of its candidates.
    """

    values: Float32
    null: Bool
    elsewhere: Int64 = field(default_factory=lambda: np.zeros(0, np.int64))


def label_purpose(task: Task) -> str:
    """Names the column of a task's labels in errors."""
    return f"label of task {task.name!r}"


def listed_labels(chunk: Chunk, task: Task, items: Int64) -> RawLabels:
    """Labels candidates by whether their item is in the list of their request; a null list or item says nothing.

    Args:
        chunk: N candidates.
        task: A task that names a column of lists.
        items: Item keys `[N]`.

    Raises:
        DataError: What is listed cannot be ids.
    """
    column = str(task.chosen)
    array = chunk.request[column]
    if pa.types.is_null(array.type):
        array = array.cast(pa.list_(pa.null()))
    inner, lengths = explode(array)
    listed, null = keys_of(inner, chunk.request_place(column, label_purpose(task)).nested(lengths))
    of_listed = np.repeat(np.arange(len(lengths)), lengths)[~null]
    of_item = np.repeat(np.arange(len(chunk.counts)), chunk.counts)
    distinct, codes = np.unique(np.append(items, listed[~null]), return_inverse=True)
    pairs = np.append(of_item, of_listed) * len(distinct) + codes
    shown, chosen = pairs[: len(items)], pairs[len(items) :]
    unknown = null_mask(array)[of_item] | (items == MISSING_KEY)
    return RawLabels(np.isin(shown, chosen).astype(np.float32), unknown, of_listed[~np.isin(chosen, shown)])


def check_listed(schema: Schema, files: RawFiles) -> None:
    """Raises DataError if lists of items hold another type than the items that they are compared with."""
    items = KeyColumn(files, str(schema.keys.item), "keys.item")
    for task in (task for task in schema.tasks if task.chosen is not None):
        check_one_type(
            "Listed ids are of another type than those of the candidates: none would be found.",
            KeyColumn(files, str(task.chosen), label_purpose(task)),
            items,
        )
