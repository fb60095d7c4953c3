"""Every value of a batch names its row or request; see builders."""

from pathlib import Path

import numpy as np
import pytest
import torch

from distill.batch import Batch, Origin
from distill.data.stream import SplitReader, StreamOrder, plan_epoch
from distill.data.stream.collate import as_padding, concat_batches
from distill.data.stream.loader import BatchLoader

from .builders import make_dataset, make_schema, make_sidecar

LENGTHS = [[3, 0, 2, 5, 1, 4], [0], [4, 1, 9, 2, 2]]
FLAT = [[1] * 15, [1] * 9]


def batches(reader: SplitReader, shuffle: bool = True, num_shards: int = 1) -> list[Batch]:
    order = StreamOrder(8, 16, num_shards, 0, shuffle)
    return list(BatchLoader(reader, plan_epoch(reader.index, order, 0), ahead=False))


def check(batch: Batch, request_of_row: np.ndarray) -> None:
    n = batch.row
    real = n.float()
    index = batch.request_index
    r = torch.from_numpy(request_of_row)[n]
    assert (index.diff() >= 0).all()
    assert index.unique().tolist() == list(range(batch.num_requests))
    assert batch.request_id.tolist() == [1000 + int(r[index == i][0]) for i in range(batch.num_requests)]
    assert torch.equal(batch.request_id[index] - 1000, r)
    per_request = batch.request_id - 1000
    assert torch.equal(batch.user_id, per_request % 7)
    assert batch.request.ids.tolist() == [[int(x)] for x in per_request]
    assert torch.equal(batch.request.numbers[:, 0], per_request / 2)
    assert torch.equal(batch.request.vectors["profile"], torch.stack([per_request + i for i in range(3)], 1).float())
    history = batch.request.sequences["history"]
    assert torch.equal(history.lengths, per_request % 4)
    assert torch.equal(history.values, per_request.repeat_interleave(per_request % 4))
    assert torch.equal(batch.item_id, 10 * n)
    assert torch.equal(batch.stage, n % 4)
    assert torch.equal(batch.candidate.ids, torch.stack([n, n % 5], 1))
    assert torch.equal(batch.candidate.numbers[:, 0], real / 4)
    assert torch.equal(batch.candidate.vectors["image"], torch.stack([real, -real], 1))
    tags = batch.candidate.sequences["tags"]
    assert torch.equal(tags.lengths, n % 3)
    assert torch.equal(tags.values, n.repeat_interleave(n % 3))
    assert torch.equal(batch.cross.ids[:, 0], 2 * n)
    assert torch.equal(batch.cross.numbers[:, 0], -real)
    assert torch.equal(batch.observed, torch.stack([n >= 0, n % 3 != 0], 1))
    assert torch.equal(batch.labels, torch.stack([n % 2, n % 3 != 0], 1).float())
    assert torch.equal(batch.columns["bid"], real + 1)
    assert (batch.weight == 1).all()
    assert (batch.origin == Origin.LOG).all()
    assert {batch.candidate.ids.dtype, tags.values.dtype, batch.stage.dtype, index.dtype} == {torch.int64}


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("layout", ["requests", "flat"])
def test_every_value_belongs_to_its_row(tmp_path: Path, layout: str, shuffle: bool) -> None:
    files = LENGTHS if layout == "requests" else FLAT
    dataset = make_dataset(tmp_path, files, layout, group_size=4)
    flat = [length for file in files for length in file]
    request_of_row = np.repeat(np.arange(len(flat)), flat)
    seen = []
    for batch in batches(SplitReader.open(dataset, dataset.schema, "train"), shuffle):
        check(batch, request_of_row)
        seen += batch.row.tolist()
    assert sorted(seen) == list(range(sum(flat)))
    assert (seen == sorted(seen)) is not shuffle


def test_joined_shards_keep_values_and_request_index(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, LENGTHS)
    reader = SplitReader.open(dataset, dataset.schema, "train")
    parts = batches(reader)[:2]
    joined = concat_batches(parts)
    flat = [length for file in LENGTHS for length in file]
    check(joined, np.repeat(np.arange(len(flat)), flat))
    assert joined.row.tolist() == parts[0].row.tolist() + parts[1].row.tolist()


def test_serving_view_holds_no_privileged_field(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, LENGTHS)
    reader = SplitReader.open(dataset, dataset.schema.serving_view(), "train")
    batch = batches(reader)[0]
    assert batch.candidate.numbers.shape == (batch.num_candidates, 0)
    assert batch.cross.ids.shape == (batch.num_candidates, 0)
    assert "field_price" not in reader.layout.columns.names
    assert not any(name.startswith("teacher") for name in reader.layout.columns.names)


def test_evaluation_columns_come_outside_training(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, {"train": LENGTHS, "val": LENGTHS})
    train = batches(SplitReader.open(dataset, dataset.schema, "train"))[0]
    val = batches(SplitReader.open(dataset, dataset.schema, "val"))[0]
    assert set(train.columns) == {"bid"}
    assert torch.equal(val.columns["utility"], val.row / 8)


def test_teacher_columns_of_the_dataset(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, LENGTHS)
    for batch in batches(SplitReader.open(dataset, dataset.schema, "train", "dataset"), num_shards=2):
        signals, log = batch.signals, batch.row >= 0
        assert signals is not None
        n = batch.row[log]
        valid = n % 5 != 0
        assert torch.equal(signals.valid[log], valid)
        expected = torch.stack([n / 16, -n / 16], 1) * valid.unsqueeze(1)
        assert torch.equal(signals.logits[log], expected)


@pytest.mark.parametrize("layout", ["requests", "flat"])
def test_sidecar_signals_with_hidden_vectors(tmp_path: Path, layout: str) -> None:
    dataset = make_dataset(tmp_path, LENGTHS if layout == "requests" else FLAT, layout)
    folder = make_sidecar(dataset, tmp_path / "signals")
    for batch in batches(SplitReader.open(dataset, dataset.schema, "train", str(folder))):
        assert batch.signals is not None
        n = batch.row
        keep = (n % 4 != 0).unsqueeze(1)
        assert torch.equal(batch.signals.valid, n % 4 != 0)
        assert torch.equal(batch.signals.logits, torch.stack([n, 2 * n], 1).float() * keep)
        assert torch.equal(batch.signals.hidden["top"], torch.stack([n + i for i in range(4)], 1).float() * keep)


def test_no_signals_unless_asked_for(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, LENGTHS)
    assert batches(SplitReader.open(dataset, dataset.schema, "train"))[0].signals is None


def test_padding_weighs_nothing(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, LENGTHS)
    padding = as_padding(batches(SplitReader.open(dataset, dataset.schema, "train"))[0])
    assert (padding.weight == 0).all()
    assert (padding.origin == Origin.PADDING).all()
    assert (padding.row == -1).all()


def test_batches_do_not_share_memory_with_the_block(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, FLAT, "flat")
    reader = SplitReader.open(dataset, dataset.schema, "train")
    for batch in batches(reader, shuffle=False):
        batch.labels.fill_(9)
        batch.candidate.numbers.fill_(9)
    assert (batches(reader, shuffle=False)[0].labels <= 1).all()


def test_schema_of_builders_has_all_kinds() -> None:
    kinds = {(f.side.value, f.kind.value) for f in make_schema("flat").fields}
    assert len(kinds) == 10
