"""What the reader says of damaged data; order of a part file."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from distill.data.dataset import load_dataset
from distill.data.format import Dataset
from distill.data.stream import BatchLoader, SplitReader, StreamOrder, iterate_part, plan_epoch
from distill.errors import DataError, SignalError

from .builders import make_dataset, make_sidecar, with_checksums

LENGTHS = [[3, 0, 2, 5, 1, 4], [0], [4, 1, 9, 2, 2]]
ORDER = StreamOrder(batch_candidates=8, shuffle_buffer=16, num_shards=1, seed=0, shuffle=False)
Change = Callable[[pa.Table], pa.Table]


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return make_dataset(tmp_path, LENGTHS)


def read(dataset: Dataset, signals: str | None = None) -> None:
    reader = SplitReader.open(dataset, dataset.schema, "train", signals)
    for _ in BatchLoader(reader, plan_epoch(reader.index, ORDER, 0)):
        pass


def rewrite(path: Path, change: Change) -> None:
    pq.write_table(change(pq.read_table(path)), path, row_group_size=4)


def spoil(dataset: Dataset, change: Change) -> Dataset:
    """Changes the first part file as a faulty writer would, which leaves checksums that fit."""
    rewrite(first_part(dataset), change)
    return with_checksums(dataset)


def replace_column(name: str, values: Callable[[pa.ChunkedArray], pa.Array]) -> Change:
    return lambda table: table.set_column(table.column_names.index(name), name, values(table.column(name)))


def first_part(dataset: Dataset) -> Path:
    return dataset.root / dataset.parts("train")[0].path


def test_part_comes_in_file_order_with_positions_in_the_split(dataset: Dataset) -> None:
    before = sum(sum(lengths) for lengths in LENGTHS[:2])
    batches = list(iterate_part(dataset, "train", 2, dataset.schema, 5))
    rows = [row for batch in batches for row in batch.row.tolist()]
    assert rows == list(range(before, before + 18))
    assert [batch.num_candidates for batch in batches] == [5, 9, 2, 2]  # row groups of 4 requests: 4 1 9 2 | 2


def test_part_without_candidates_gives_nothing(dataset: Dataset) -> None:
    assert list(iterate_part(dataset, "train", 1, dataset.schema, 5)) == []


def test_empty_requests_are_counted(dataset: Dataset) -> None:
    assert SplitReader.open(dataset, dataset.schema, "train").index.num_empty_requests == 2


def test_split_without_a_candidate(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, [[0, 0]])
    with pytest.raises(DataError, match="No request of the train split has a candidate"):
        read(dataset)


def test_vanished_file_is_named_with_its_row_group(dataset: Dataset) -> None:
    reader = SplitReader.open(dataset, dataset.schema, "train")
    batches = iter(BatchLoader(reader, plan_epoch(reader.index, ORDER, 0)))
    path = dataset.root / dataset.parts("train")[2].path
    path.unlink()
    with pytest.raises(DataError, match=rf"{path.name}, row group 0"):
        list(batches)


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.9])
def test_truncated_file(dataset: Dataset, keep: float) -> None:
    path = first_part(dataset)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    with pytest.raises(DataError, match=rf"cannot be read.*\n.*{path.name}"):
        read(dataset)


def test_damaged_pages_are_named_with_the_row_group(dataset: Dataset) -> None:
    reader = SplitReader.open(dataset, dataset.schema, "train")
    path = first_part(dataset)
    content = bytearray(path.read_bytes())
    content[4:400] = b"\xff" * 396
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"{path.name}, row group 0"):
        list(BatchLoader(reader, plan_epoch(reader.index, ORDER, 0)))


@pytest.mark.parametrize(
    ("column", "type_"), [("field_age", pa.float64()), ("field_item", pa.list_(pa.int64())), ("key_user", pa.int32())]
)
def test_wrong_type(dataset: Dataset, column: str, type_: pa.DataType) -> None:
    dataset = spoil(dataset, replace_column(column, lambda values: values.cast(type_)))
    with pytest.raises(DataError, match=rf"another type(.|\n)*column {column}"):
        read(dataset)


def test_missing_column(dataset: Dataset) -> None:
    dataset = spoil(dataset, lambda table: table.drop_columns(["field_tags"]))
    with pytest.raises(DataError, match=r"column is missing(.|\n)*field_tags"):
        read(dataset)


def nullable(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    return table.set_column(table.column_names.index(name), pa.field(name, values.type), values)


def test_null_scalar_and_null_in_a_list(dataset: Dataset) -> None:
    dataset = spoil(dataset, lambda table: nullable(table, "field_age", pa.array([None] * 6, pa.float32())))
    with pytest.raises(DataError, match=r"nulls(.|\n)*row group 0, column field_age"):
        read(dataset)


@pytest.mark.parametrize("at", [0, 14])
def test_null_in_a_list(dataset: Dataset, at: int) -> None:
    flat = [0.0] * 15
    flat[at] = None  # type: ignore[call-overload]
    values = pa.ListArray.from_arrays(np.array([0, 3, 3, 5, 10, 11, 15], np.int32), pa.array(flat, pa.float32()))
    dataset = spoil(dataset, lambda table: nullable(table, "label_click", values))
    with pytest.raises(DataError, match=rf"nulls(.|\n)*row group {int(at > 9)}, column label_click"):
        read(dataset)


def test_null_list(dataset: Dataset) -> None:
    values = pa.array([[1, 1, 1], None, [1, 1], [1] * 5, [1], [1] * 4], pa.list_(pa.int8()))
    dataset = spoil(dataset, lambda table: nullable(table, "stage", values))
    with pytest.raises(DataError, match=r"nulls(.|\n)*column stage"):
        read(dataset)


def test_list_of_another_length_than_its_request(dataset: Dataset) -> None:
    values = pa.array([[1, 1], [1], [1, 1], [1] * 5, [1], [1] * 4], pa.list_(pa.int64()))
    dataset = spoil(dataset, lambda table: nullable(table, "key_item", values))
    with pytest.raises(DataError, match=r"one value per candidate(.|\n)*key_item(.|\n)*3 values(.|\n)*2 values"):
        read(dataset)


def test_rows_differ_from_the_manifest(dataset: Dataset) -> None:
    dataset = spoil(dataset, lambda table: table.slice(1))
    with pytest.raises(DataError, match=r"does not match the manifest(.|\n)*6 rows with 15(.|\n)*5 rows with 12"):
        read(dataset)


def test_negative_length(dataset: Dataset) -> None:
    dataset = spoil(dataset, replace_column("num_candidates", lambda v: pa.array([-1, 1, 5, 5, 1, 4], pa.int32())))
    with pytest.raises(DataError, match="negative number of candidates"):
        read(dataset)


def test_chunked_and_dictionary_encoded_pages_read_alike(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, LENGTHS, group_size=100)
    before = [b.row.tolist() for b in iterate_part(dataset, "train", 0, dataset.schema, 5)]
    path = first_part(dataset)
    pq.write_table(pq.read_table(path), path, use_dictionary=False, data_page_size=1, write_batch_size=1)
    dataset = with_checksums(dataset)
    assert [b.row.tolist() for b in iterate_part(dataset, "train", 0, dataset.schema, 5)] == before


def test_error_reaches_the_consumer_through_the_thread(dataset: Dataset) -> None:
    dataset = spoil(dataset, lambda table: nullable(table, "field_age", pa.array([None] * 6, pa.float32())))
    reader = SplitReader.open(dataset, dataset.schema, "train")
    with pytest.raises(DataError, match="field_age"):
        list(BatchLoader(reader, plan_epoch(reader.index, ORDER, 0), ahead=True))


def test_signals_missing_altogether(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(SignalError, match="cannot be read"):
        read(dataset, str(tmp_path / "nowhere"))


def test_signals_with_other_row_groups(dataset: Dataset, tmp_path: Path) -> None:
    folder = make_sidecar(dataset, tmp_path / "signals", group_size=3)
    with pytest.raises(
        SignalError,
        match=r"does not have the rows(.|\n)*6 rows in row groups of 4, 2(.|\n)*6 rows in row groups of 3, 3",
    ):
        read(dataset, str(folder))


def test_signals_with_other_rows(dataset: Dataset, tmp_path: Path) -> None:
    folder = make_sidecar(dataset, tmp_path / "signals")
    rewrite(folder / "train" / "part-00002.parquet", lambda table: table.slice(1))
    with pytest.raises(SignalError, match="does not have the rows"):
        read(dataset, str(folder))


def test_signals_with_other_candidates(dataset: Dataset, tmp_path: Path) -> None:
    folder = make_sidecar(dataset, tmp_path / "signals", hidden=False)
    path = folder / "train" / "part-00000.parquet"
    rewrite(path, lambda table: table.take([2, 1, 0, 3, 4, 5]))
    with pytest.raises(SignalError, match=rf"one value per candidate(.|\n)*{folder.name}"):
        read(dataset, str(folder))


def test_signals_without_a_task(dataset: Dataset, tmp_path: Path) -> None:
    folder = make_sidecar(dataset, tmp_path / "signals")
    for path in (folder / "train").iterdir():
        rewrite(path, lambda table: table.drop_columns(["teacher_like"]))
    with pytest.raises(SignalError, match="teacher_like"):
        read(dataset, str(folder))


def test_signals_of_a_schema_without_teacher(dataset: Dataset) -> None:
    view = dataset.schema.model_copy(update={"teacher": None})
    with pytest.raises(SignalError, match="holds no teacher scores"):
        SplitReader.open(dataset, view, "train", "dataset")


def test_dataset_of_the_builders_loads(dataset: Dataset) -> None:
    assert load_dataset(dataset.root) == dataset
