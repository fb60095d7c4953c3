"""One part file in file order, for jobs that write something row by row beside it."""

from __future__ import annotations

from collections.abc import Iterator

from distill.batch import Batch
from distill.data.format import Dataset, Split
from distill.data.stream.index import SplitIndex, index_part
from distill.data.stream.layout import read_layout
from distill.data.stream.plan import plan_in_order
from distill.data.stream.stream import SplitReader
from distill.schema import Schema


def iterate_part(
    dataset: Dataset, split: Split, part_index: int, view: Schema, batch_candidates: int
) -> Iterator[Batch]:
    """Yields the batches of one part file in file order.

    No batch crosses a row group. Requests without candidates are in no batch: a writer of aligned files finds them in
    the lengths of the requests.

    Args:
        dataset: The dataset.
        split: Which split.
        part_index: Position of the part file in the manifest.
        view: Schema of the fields to read.
        batch_candidates: Most candidates in a batch; a longer request is a batch alone.

    Raises:
        DataError: The file is not what the format says.
    """
    parts = dataset.parts(split)
    first_row = sum(part.candidates for part in parts[:part_index])
    layout = read_layout(dataset, view, split, None)
    index = SplitIndex(split, (index_part(dataset, parts[part_index], layout.columns, first_row),))
    plan = plan_in_order(index, batch_candidates)
    return (batch for group in SplitReader(index, layout).tasks(plan, 0) for batch in group.make())
