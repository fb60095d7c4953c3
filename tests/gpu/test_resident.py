"""Rows that lie on the card: the same batches as from disk, gathered without a wait."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from distill.data.stream import BatchLoader, PlacedBatch, ResidentReader, SplitReader, StreamOrder, plan_epoch
from distill.data.transfer import BatchTransfer
from tests.data.stream.builders import make_dataset, make_sidecar

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"),
]
CARD = torch.device("cuda", 0)


@pytest.mark.parametrize("layout", ["requests", "flat"])
def test_batches_are_gathered_on_the_card_without_a_wait(layout: str, tmp_path: Path) -> None:
    files = [[1] * 40] if layout == "flat" else [[3, 0, 2, 5, 1, 4, 2, 2, 6], [4, 1, 9, 2, 2, 3, 1]]
    dataset = make_dataset(tmp_path / "data", files, layout)
    reader = SplitReader.open(dataset, dataset.schema, "train", str(make_sidecar(dataset, tmp_path / "signals")))
    plan = plan_epoch(reader.index, StreamOrder(6, 12, 2, 0, True), 0)
    expected = list(BatchLoader(reader, plan))
    placed = list(BatchLoader(ResidentReader.of(reader, on_device=True), plan))
    transfer = BatchTransfer()
    assert isinstance(placed[0], PlacedBatch)
    transfer(placed[0], CARD)  # moves the rows there
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        found = [transfer(batch, CARD) for batch in placed]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for one, other in zip(found, expected, strict=True):
        for there, here in zip(one.tensors(), other.tensors(), strict=True):
            torch.testing.assert_close(there.cpu(), here, rtol=0, atol=0, equal_nan=True)
