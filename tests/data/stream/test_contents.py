"""Whatever the sizes, layout, shards and seed: every value of a batch belongs to its row, and a resumed epoch to it."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from distill.batch import Batch, Ragged
from distill.data.stream import BatchLoader, SplitReader, StreamOrder, plan_epoch

from .builders import make_dataset, make_sidecar

sizes = st.lists(st.sampled_from([0, 1, 2, 3, 5, 40]), min_size=1, max_size=14)
orders = st.builds(
    StreamOrder,
    batch_candidates=st.integers(1, 15),
    shuffle_buffer=st.integers(1, 60),
    num_shards=st.integers(1, 4),
    seed=st.integers(0, 2**40),
    shuffle=st.booleans(),
)


@settings(max_examples=25, deadline=None)
@given(st.lists(sizes, min_size=1, max_size=3), st.sampled_from(["requests", "flat"]), orders, st.data())
def test_values_belong_to_their_rows(
    files: list[list[int]], layout: str, order: StreamOrder, data: st.DataObject
) -> None:
    files = [[1] * len(file) for file in files] if layout == "flat" else [*files, [1]]
    group_size, world = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 4))
    signals = data.draw(st.sampled_from([None, "dataset", "sidecar"]))
    order = replace(order, num_shards=max(order.num_shards, world))
    with tempfile.TemporaryDirectory() as name:
        dataset = make_dataset(Path(name), files, layout, group_size)
        source = signals
        if signals == "sidecar":
            source = str(make_sidecar(dataset, Path(name) / "signals", group_size=group_size))
        reader = SplitReader.open(dataset, dataset.schema, "train", source)
        plan = plan_epoch(reader.index, order, data.draw(st.integers(0, 3)))
        seen: list[int] = []
        for rank in range(world):
            batches = list(BatchLoader(reader, plan, rank, world, ahead=False))
            assert len(batches) == plan.num_steps
            for batch in batches:
                check_batch(batch, signals)
                seen += batch.row[batch.weight == 1].tolist()
            check_resume(BatchLoader(reader, plan, rank, world, ahead=data.draw(st.booleans())), batches, data)
        assert sorted(seen) == list(range(sum(map(sum, files))))


def check_resume(loader: BatchLoader, batches: list[Batch], data: st.DataObject) -> None:
    """Every tensor of what follows a position is what it was."""
    loader.position = start = data.draw(st.integers(0, len(batches)))
    left = list(loader)
    assert len(left) == len(batches) - start
    for found, expected in zip(left, batches[start:], strict=True):
        for one, other in zip(tensors(found), tensors(expected), strict=True):
            assert torch.equal(one, other)


def tensors(batch: Batch) -> list[Tensor]:
    """All tensors of a batch, in the order of `map`."""
    found: list[Tensor] = []
    batch.map(lambda tensor: found.append(tensor) or tensor)  # type: ignore[func-returns-value]
    return found


def check_batch(batch: Batch, signals: str | None) -> None:
    """Compares all columns with what the builder wrote for the row and the request."""
    real = batch.weight == 1
    n = batch.row[real]
    assert ((batch.weight == 0) == (batch.row == -1)).all()
    r = batch.request_id - 1000
    assert torch.equal(batch.user_id, r % 7)
    assert torch.equal(batch.request.ids[:, 0], r)
    assert torch.equal(batch.request.numbers[:, 0], r / 2)
    assert torch.equal(batch.request.vectors["profile"], torch.stack([r, r + 1, r + 2], 1).float())
    check_ragged(batch.request.sequences["history"], r, r % 4)
    assert torch.equal(batch.item_id[real], 10 * n)
    assert torch.equal(batch.stage[real], n % 4)
    assert torch.equal(batch.candidate.ids[real], torch.stack([n, n % 5], 1))
    assert torch.equal(batch.candidate.numbers[real, 0], n / 4)
    assert torch.equal(batch.candidate.vectors["image"][real], torch.stack([n, -n], 1).float())
    tags = batch.candidate.sequences["tags"].select(real.nonzero()[:, 0])
    check_ragged(tags, n, n % 3)
    assert torch.equal(batch.cross.ids[real, 0], 2 * n)
    assert torch.equal(batch.cross.numbers[real, 0], -n.float())
    assert torch.equal(batch.columns["bid"][real], n + 1.0)
    assert torch.equal(batch.observed[real], torch.stack([n >= 0, n % 3 != 0], 1))
    assert torch.equal(batch.labels[real], torch.stack([n % 2, n % 3 != 0], 1).float())
    check_signals(batch, real, n, signals)


def check_ragged(ragged: Ragged, owner: Tensor, lengths: Tensor) -> None:
    assert torch.equal(ragged.lengths, lengths)
    assert torch.equal(ragged.values, owner.repeat_interleave(lengths))


def check_signals(batch: Batch, real: Tensor, n: Tensor, signals: str | None) -> None:
    assert (batch.signals is None) == (signals is None)
    if batch.signals is None:
        return
    valid = n % (5 if signals == "dataset" else 4) != 0
    factors = torch.tensor([1 / 16, -1 / 16] if signals == "dataset" else [1.0, 2.0])
    assert torch.equal(batch.signals.valid[real], valid)
    assert torch.equal(batch.signals.logits[real], n[:, None] * factors * valid[:, None])
    if signals == "sidecar":
        hidden = torch.stack([n, n + 1, n + 2, n + 3], 1) * valid[:, None]
        assert torch.equal(batch.signals.hidden["top"][real], hidden.float())
