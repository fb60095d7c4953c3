"""Only the columns of the view are read: damage to the bytes of any other goes unnoticed."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from distill.data.format import Dataset
from distill.data.stream import BatchLoader, SplitReader, StreamOrder, plan_epoch
from distill.errors import DataError
from distill.schema import Schema

from .builders import make_dataset

LENGTHS = {"flat": [[1] * 9, [1] * 5], "requests": [[3, 1, 4], [2, 5, 2]]}


def read(dataset: Dataset, view: Schema) -> int:
    reader = SplitReader.open(dataset, view, "train")
    plan = plan_epoch(reader.index, StreamOrder(16, 32, 1, 0, True), 0)
    return sum(batch.num_candidates for batch in BatchLoader(reader, plan, ahead=False))


def damage(path: Path, columns: set[str]) -> int:
    """Overwrites all pages of some columns; returns how many bytes that were."""
    metadata = pq.read_metadata(path)
    damaged = 0
    with path.open("r+b") as file:
        for group in range(metadata.num_row_groups):
            for position in range(metadata.num_columns):
                chunk = metadata.row_group(group).column(position)
                if chunk.path_in_schema.split(".")[0] in columns:
                    file.seek(chunk.dictionary_page_offset or chunk.data_page_offset)
                    file.write(b"\xff" * chunk.total_compressed_size)
                    damaged += chunk.total_compressed_size
    return damaged


@pytest.mark.parametrize("layout", ["flat", "requests"])
def test_columns_that_the_view_lacks_are_not_read(tmp_path: Path, layout: str) -> None:
    dataset = make_dataset(tmp_path, LENGTHS[layout], layout)
    view = dataset.schema.serving_view()
    expected = read(dataset, dataset.schema)
    for part in dataset.parts("train"):
        assert damage(dataset.root / part.path, {"field_price", "field_pair", "teacher_click", "teacher_like"}) > 0
    assert read(dataset, view) == expected
    with pytest.raises(DataError, match="cannot be read"):
        read(dataset, dataset.schema)
