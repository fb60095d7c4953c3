"""A bundle in the place of a checkpoint: whatever evaluates or predicts with a model does so with what will serve."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor, nn

from distill.batch import Batch, FeatureBlock, RankerOutput
from distill.encodings import PackedEncodings, SideArrays
from distill.schema import Side
from distill.serving import Bundle
from distill.serving.inputs import REQUEST_INDEX, SideInputs


class BundleModel(nn.Module):
    """Scores batches with the programs of a bundle, on the CPU.

    Args:
        bundle: It.
    """

    def __init__(self, bundle: Bundle) -> None:
        super().__init__()
        self.bundle = bundle

    def forward(self, batch: Batch) -> RankerOutput:
        """Returns logits `[N, K]`, and no hidden vectors: programs give none."""
        blocks = {Side.REQUEST: batch.request, Side.CANDIDATE: batch.candidate, Side.CROSS: batch.cross}
        inputs: dict[str, npt.NDArray[Any]] = {REQUEST_INDEX: batch.request_index.cpu().numpy()}
        for side, block in blocks.items():
            inputs |= SideInputs(self.bundle.schema.side(side), side).of(_arrays(block))
        logits = torch.from_numpy(self.bundle.logits(inputs))
        return RankerOutput(logits.to(batch.request_index.device), {})


def bundle_encodings(bundle: Bundle) -> PackedEncodings:
    """Returns the encodings of a bundle with the content of their files."""
    return PackedEncodings.read(bundle.root, bundle.manifest.encodings)


def _arrays(block: FeatureBlock) -> SideArrays:
    def numpy(tensor: Tensor) -> npt.NDArray[Any]:
        found: npt.NDArray[Any] = tensor.cpu().numpy()
        return found

    return SideArrays(
        numpy(block.ids),
        numpy(block.numbers),
        {name: numpy(vectors) for name, vectors in block.vectors.items()},
        {name: (numpy(rows.values), numpy(rows.lengths)) for name, rows in block.sequences.items()},
    )
