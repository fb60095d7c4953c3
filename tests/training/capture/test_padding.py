"""Batches of few shapes count for what they counted."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from distill.batch import MISSING_KEY, Batch, Origin
from distill.sampling import RandomNegatives
from distill.training.capture.padding import ladder, padded
from tests.training.stepping import Stepper, batch_of, module_of


@given(st.integers(1, 1 << 20))
def test_an_eighth_at_most_is_added_and_few_sizes_are_left(size: int) -> None:
    found = ladder(size)
    assert size <= found < size * 1.125
    assert ladder(found) == found


def test_the_ladder_keeps_powers_of_two_and_has_eight_sizes_in_an_octave() -> None:
    assert [ladder(size) for size in (0, 1, 17, 4000, 4096, 4097)] == [0, 1, 18, 4096, 4096, 4608]
    assert len({ladder(size) for size in range(1025, 2049)}) == 8


def sizes_of(batch: Batch) -> tuple[int, ...]:
    ragged = batch.request.sequences["history"]
    return batch.num_candidates, batch.num_requests, ragged.values.shape[0], ragged.longest or 0


def ready(seed: int = 3, sizes: tuple[int, ...] = (40, 30, 33), samples: bool = False) -> Batch:
    module = module_of("two_tower", samplers={"random": RandomNegatives()} if samples else {})
    return Stepper(module).prepare(batch_of(True, seed, sizes))


@pytest.mark.parametrize("samples", [False, True])
def test_rows_are_added_that_count_for_nothing(samples: bool) -> None:
    batch = ready(samples=samples)
    found = padded(batch)
    count, added = batch.num_candidates, found.padding
    assert added == found.num_candidates - count > 0
    assert found.num_candidates == ladder(count)
    assert found.num_requests == ladder(3) + 8
    for name in ("weight", "labels", "observed", "logged", "grades", "log_q"):
        assert (getattr(found, name) is None) == (getattr(batch, name) is None)
        assert getattr(found, name) is None or not getattr(found, name)[count:].any()
    assert found.signals is None or not found.signals.valid[count:].any()
    assert (found.origin[count:] == Origin.PADDING).all()
    assert (found.row[count:] == -1).all()
    assert (found.item_id[count:] == MISSING_KEY).all()
    assert (found.request_index[count:] == 4).all()  # request 3 has the values that were added to the sequences


def test_the_rows_that_were_there_are_there() -> None:
    batch = ready()
    found = padded(batch)
    for there, here in zip(found.tensors(), batch.tensors(), strict=True):
        torch.testing.assert_close(there[: here.shape[0]], here, rtol=0, atol=0, equal_nan=True)


def test_no_other_row_of_a_table_is_touched() -> None:
    batch = ready()
    found = padded(batch)
    for side in ("request", "candidate", "cross"):
        for there, here in zip(getattr(found, side).tensors(), getattr(batch, side).tensors(), strict=True):
            if here.dtype is torch.int64 and there.shape != here.shape and here.dim() == 2:
                assert set(there.flatten().tolist()) == set(here.flatten().tolist())


def test_every_value_of_a_sequence_has_a_row() -> None:
    for seed in range(6):
        found = padded(ready(seed, (4, 3, 2, 5, 1, 4) * 3))
        history = found.request.sequences["history"]
        assert int(history.lengths.sum()) == history.values.shape[0] == ladder(history.values.shape[0])
        assert history.longest is not None
        assert history.values.shape[0] != history.longest * found.num_requests
        assert int(history.lengths[:-8].max()) <= history.longest


def test_batches_of_about_the_same_size_have_the_same_shape() -> None:
    shapes = {sizes_of(padded(ready(3, (40, 30, n)))) for n in (26, 28, 30)}
    assert len(shapes) == 1


def test_a_batch_of_a_size_of_the_ladder_stays_as_it_is() -> None:
    batch = ready(sizes=(8, 8, 8, 8))
    flat = replace(batch, request=replace(batch.request, sequences={}), cross=replace(batch.cross, sequences={}))
    flat = flat.select(torch.arange(16))
    found = padded(replace(flat, candidate=replace(flat.candidate, sequences={})))
    assert (found.padding, found.num_requests) == (0, 4)
    assert found.candidate.ids is flat.candidate.ids


def test_to_pad_again_changes_nothing() -> None:
    once = padded(ready())
    assert padded(once) is once


def test_a_batch_without_a_candidate_has_nothing_to_copy() -> None:
    found = padded(ready().select(torch.zeros(0, dtype=torch.int64)))
    assert (found.num_candidates, found.padding) == (0, 0)
