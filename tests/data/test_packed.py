"""Packed batches hold what the batches hold, in few buffers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from distill.batch import Batch, TeacherSignals
from distill.data.packed import PackedBatch
from distill.data.transfer import BatchTransfer
from distill.losses.terms import HardBCE, SampledSoftmax, SoftmaxKL
from distill.sampling import InBatchNegatives
from tests.batches import make_batch, make_schema
from tests.training.stepping import Stepper, batch_of, module_of

CPU = torch.device("cpu")


def leaves(value: Any) -> list[Tensor]:
    found: list[Tensor] = []
    value.map(lambda tensor: (found.append(tensor), tensor)[1])
    return found


def moved(batch: Batch) -> Batch:
    return PackedBatch.of(batch).to(CPU, non_blocking=True).widened().unpack()


def with_columns(batch: Batch) -> Batch:
    rows = batch.num_candidates
    signals = TeacherSignals(
        torch.randn(rows, 2),
        torch.rand(rows) < 0.5,
        {"body": torch.randn(rows, 3), "half": torch.randn(rows, 5).half()},
    )
    return replace(batch, columns={"bid": torch.rand(rows)}, signals=signals, item_id=torch.arange(rows) - 2**60)


@pytest.mark.parametrize("sizes", [(3, 1, 4), (1,) * 9, (1,), (200, 3)], ids=["requests", "flat", "one", "long"])
def test_a_batch_comes_back_as_it_was(sizes: tuple[int, ...]) -> None:
    batch = with_columns(make_batch(make_schema(), sizes))
    again = moved(batch)
    torch.testing.assert_close(leaves(again), leaves(batch), rtol=0, atol=0, equal_nan=True)
    assert [tensor.dtype for tensor in leaves(again)] == [tensor.dtype for tensor in leaves(batch)]
    assert again.request.sequences.keys() == batch.request.sequences.keys()
    assert again.candidate.vectors.keys() == batch.candidate.vectors.keys()
    assert again.log_q is None


def test_fields_are_views_of_few_buffers() -> None:
    batch = with_columns(make_batch(make_schema()))
    packed = PackedBatch.of(batch)
    assert set(packed.buffers) == {torch.int32, torch.int64, torch.float32, torch.float16, torch.bool}
    assert len(leaves(batch)) > 4 * len(packed.buffers)
    wide = packed.widened()
    storages = {buffer.untyped_storage().data_ptr() for buffer in wide.buffers.values()}
    unpacked = [tensor for tensor in leaves(wide.unpack()) if tensor.numel()]
    assert {tensor.untyped_storage().data_ptr() for tensor in unpacked} == storages
    assert all(tensor.is_contiguous() for tensor in unpacked)
    assert all(tensor.storage_offset() * tensor.element_size() % 64 == 0 for tensor in unpacked)


def test_ids_travel_in_half_the_bytes_and_keys_whole() -> None:
    batch = make_batch(make_schema(), (400, 400))
    ids = sum(t.nbytes for t in (batch.candidate.ids, batch.request_index, batch.stage, batch.origin))
    whole = sum(tensor.nbytes for tensor in leaves(batch))
    assert PackedBatch.of(batch).num_bytes < whole - ids / 2 + 64 * len(leaves(batch))
    assert torch.equal(moved(replace(batch, row=batch.row + 2**40)).row, batch.row + 2**40)


def test_what_sampled_rows_carry_comes_along() -> None:
    module = module_of("two_tower", {"hard": HardBCE()}, {"more": InBatchNegatives()})
    ready = Stepper(module).prepare(batch_of(True))
    again = moved(ready)
    assert again.log_q is not None
    assert again.logged is not None
    torch.testing.assert_close(leaves(again), leaves(ready), rtol=0, atol=0, equal_nan=True)
    assert again.is_ready
    history = again.request.sequences["history"]
    assert history.longest == int(history.lengths.max())


@pytest.mark.parametrize(
    ("terms", "reads"), [({"hard": HardBCE(), "soft": SoftmaxKL()}, False), ({"sampled": SampledSoftmax()}, True)]
)
def test_what_metrics_alone_read_does_not_travel_in_training(terms: dict[str, Any], reads: bool) -> None:
    ready = Stepper(module_of("two_tower", terms)).prepare(batch_of(True))
    again = moved(ready)
    assert all(getattr(again, name) is getattr(ready, name) for name in ("request_id", "user_id", "row", "columns"))
    assert (again.item_id is ready.item_id) == (not reads)
    assert again.num_requests == ready.num_requests
    assert PackedBatch.of(ready).num_bytes < PackedBatch.of(replace(ready, on_host=())).num_bytes


def test_evaluation_gets_everything() -> None:
    module = module_of("two_tower")
    module.trainer.training = False
    batch = batch_of(True)
    ready = module.on_before_batch_transfer(batch, 0)
    assert isinstance(ready, Batch)
    assert ready.on_host == ()
    assert ready.candidate is batch.candidate
    assert ready.labels is batch.labels
    (history,) = ready.request.sequences.values()
    assert history.longest == int(history.lengths.max())  # which a device is not asked for


def test_on_the_cpu_nothing_is_copied() -> None:
    batch = make_batch(make_schema())
    assert BatchTransfer()(batch, CPU) is batch


def test_a_step_on_a_packed_batch_is_the_same_step() -> None:
    losses = []
    for pack in (False, True):
        module = module_of("two_tower", {"hard": HardBCE(), "soft": SoftmaxKL()})
        stepper = Stepper(module)
        torch.manual_seed(0)
        ready = [stepper.prepare(batch_of(True, seed)) for seed in range(3)]
        losses.append([stepper.step(moved(batch) if pack else batch) for batch in ready])
    assert torch.equal(torch.stack(losses[0]), torch.stack(losses[1]))


def test_a_batch_may_be_packed_before_it_is_sent() -> None:
    meta, transfer = torch.device("meta"), BatchTransfer()
    ready = Stepper(module_of("two_tower")).prepare(batch_of(True))
    packed = transfer.packed(ready, meta)
    assert isinstance(packed, PackedBatch)
    assert transfer.packed(ready, CPU) is ready
    shapes = [[(t.shape, t.dtype, t.device.type) for t in transfer(b, meta).tensors()] for b in (packed, ready)]
    assert shapes[0] == shapes[1]
