"""Batches that are gathered as one and taken apart are those that are gathered one by one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from distill.batch import Batch
from distill.data.stream import BatchLoader, ResidentReader, SplitReader, StreamOrder, apart, plan_epoch
from distill.training.saved_step import to_plain

from .builders import make_dataset, make_sidecar

FILES = {
    "requests": [[3, 0, 2, 5, 1, 4, 2, 2, 6], [4, 1, 9, 2, 2, 3, 1], [0, 7, 1, 1]],
    "flat": [[1] * 40, [1] * 3],
}


def reader_of(layout: str, root: Path) -> SplitReader:
    dataset = make_dataset(root / "data", FILES[layout], layout)
    return SplitReader.open(dataset, dataset.schema, "train", str(make_sidecar(dataset, root / "signals")))


def assert_equal(found: list[Batch], expected: list[Batch]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        for own, wanted in zip(one.tensors(), other.tensors(), strict=True):
            assert own.dtype is wanted.dtype
            torch.testing.assert_close(own, wanted, rtol=0, atol=0, equal_nan=True)
        assert one.columns.keys() == other.columns.keys()
        for side in ("request", "candidate", "cross"):
            assert getattr(one, side).sequences.keys() == getattr(other, side).sequences.keys()


@pytest.mark.parametrize("layout", ["requests", "flat"])
@pytest.mark.parametrize("resident", [False, True])
@pytest.mark.parametrize("start", [0, 1, 3])
def test_the_same_batches(
    layout: str, resident: bool, start: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = reader_of(layout, tmp_path)
    reader = ResidentReader.of(split, on_device=False) if resident else split
    plan = plan_epoch(split.index, StreamOrder(6, 24, 1, 0, True), 0)

    def read(candidates: int) -> list[Batch]:
        monkeypatch.setattr(apart, "_CANDIDATES", candidates)
        loader = BatchLoader(reader, plan, workers=3)
        loader.position = start
        return list(loader)

    one_by_one = read(1)
    assert_equal(read(18), one_by_one)
    assert_equal(read(10**6), one_by_one)
    assert len(one_by_one) == plan.num_steps - start


def test_groups_are_of_a_bounded_size() -> None:
    batches = [np.arange(3)] * 20
    assert [len(some) for some in apart.together(iter(batches), 4096)] == [8, 8, 4]
    assert [len(some) for some in apart.together(iter(batches), 65536)] == [1] * 20
    assert [len(some) for some in apart.together(iter(batches), None)] == [1] * 20


def test_a_file_of_a_batch_does_not_hold_those_beside_it() -> None:
    values = torch.arange(1000)
    kept = to_plain({"part": values[:2]})["part"]
    assert kept.untyped_storage().nbytes() == 16
