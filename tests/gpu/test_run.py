"""A run on a GPU: its plain steps do not wait for it, captured or not, and readers pack batches on their threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from distill.data.packed import PackedBatch
from distill.data.transfer import BatchTransfer
from distill.training.plain_steps import PlainSteps
from tests.gpu.test_step import CARD, no_waits
from tests.jobs.entry import tiny_arguments, train
from tests.training.stepping import batch_of

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"),
]


@pytest.mark.parametrize("capture", ["off", "auto"])
def test_plain_steps_do_not_wait(capture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    take, steps = PlainSteps._take, list[int]()

    def watched(loop: Any, fetcher: Any) -> None:
        with no_waits():
            take(loop, fetcher)
        steps.append(loop.global_step)

    monkeypatch.setattr(PlainSteps, "_take", watched)
    tiny = [a for a in tiny_arguments(tmp_path) if a != "trainer=cpu"]
    settings = ["trainer=gpu", f"trainer.capture={capture}", "trainer.log_every_n_steps=10"]
    train("+experiment=quickstart", *tiny, *settings, "data.loader.batch_candidates=128", "name=run")
    assert len(steps) > 20


def test_a_batch_packed_on_another_thread_is_the_batch() -> None:
    batch, transfer = batch_of(True), BatchTransfer()
    with ThreadPoolExecutor(1) as pool:
        packed = pool.submit(transfer.packed, batch, CARD).result()
    assert isinstance(packed, PackedBatch)
    assert all(buffer.is_pinned() for buffer in packed.buffers.values())
    for there, here in zip(transfer(packed, CARD).tensors(), batch.tensors(), strict=True):
        torch.testing.assert_close(there.cpu(), here, rtol=0, atol=0, equal_nan=True)
