"""Sends batches to the device where a model trains."""

from __future__ import annotations

import torch

from distill.batch import Batch
from distill.data.packed import PackedBatch


class BatchTransfer:
    """Copies batches to a device; what is on the CPU already stays as it is.

    To a GPU a batch goes in a few page-locked buffers on a stream of its own: the copy runs while the GPU computes what
    it was asked for before, and the host waits for neither.
    """

    def __init__(self) -> None:
        self._streams: dict[torch.device, torch.cuda.Stream] = {}

    def __call__(self, batch: Batch, device: torch.device) -> Batch:
        """Returns the batch on a device, but for fields that only the host reads."""
        if device.type == "cpu":
            return batch
        if device.type != "cuda":
            return PackedBatch.of(batch).to(device).widened().unpack()
        return self._beside(PackedBatch.of(batch, pin_memory=True), device)

    def _beside(self, packed: PackedBatch, device: torch.device) -> Batch:
        """Copies and widens on the other stream, for whose end the present one waits."""
        present = torch.cuda.current_stream(device)
        if device not in self._streams:
            self._streams[device] = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        stream = self._streams[device]
        with torch.cuda.stream(stream):
            moved = packed.to(device, non_blocking=True).widened()
        present.wait_stream(stream)
        for buffer in moved.buffers.values():
            buffer.record_stream(present)  # its memory is the other stream's
        return moved.unpack()
