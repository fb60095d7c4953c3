"""Sends batches to the device where a model trains."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

import torch
from torch import Tensor

from distill.batch import Batch
from distill.data.packed import PackedBatch
from distill.data.stream import PlacedBatch


class BatchTransfer:
    """Copies batches to a device; what is on the CPU already stays as it is.

    To a GPU a batch goes in a few page-locked buffers on a stream of its own: the copy runs while the GPU computes what
    it was asked for before, and the host waits for neither.
    """

    def __init__(self) -> None:
        self._streams: dict[torch.device, torch.cuda.Stream] = {}

    @staticmethod
    def packed(batch: Batch, device: torch.device) -> Batch | PackedBatch:
        """Returns a batch of the host as it is sent to a device, on any thread, before it is sent."""
        if device.type != "cuda":
            return batch if device.type == "cpu" else PackedBatch.of(batch)
        with torch.cuda.device(device):  # another thread begins with the first one
            return PackedBatch.of(batch, pin_memory=True)

    def __call__(self, batch: Batch | PlacedBatch | PackedBatch, device: torch.device) -> Batch:
        """Returns the batch on a device, but for fields that only the host reads.

        Raises:
            ConfigError: The rows of which a batch is gathered do not fit there.
        """
        if isinstance(batch, PlacedBatch):
            return self._beside(partial(_gathered, batch, device), device)
        packed = batch if isinstance(batch, PackedBatch) else self.packed(batch, device)
        if isinstance(packed, Batch):
            return packed
        return self._beside(partial(_copied, packed, device), device)

    def _beside(self, make: Callable[[], tuple[Batch, Iterable[Tensor]]], device: torch.device) -> Batch:
        """Makes a batch on the other stream of a GPU, for whose end the present one waits."""
        if device.type != "cuda":
            return make()[0]
        present = torch.cuda.current_stream(device)
        if device not in self._streams:
            self._streams[device] = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        stream = self._streams[device]
        with torch.cuda.stream(stream):
            batch, memory = make()
        present.wait_stream(stream)
        for tensor in memory:
            tensor.record_stream(present)  # its memory is the other stream's
        return batch


def _copied(packed: PackedBatch, device: torch.device) -> tuple[Batch, Iterable[Tensor]]:
    moved = packed.to(device, non_blocking=device.type == "cuda").widened()
    return moved.unpack(), moved.buffers.values()


def _gathered(placed: PlacedBatch, device: torch.device) -> tuple[Batch, Iterable[Tensor]]:
    batch = placed.on(device)
    return batch, batch.tensors()
