"""What is exported: a model, what it reads, and what its ids mean."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import nn

from distill.encodings import FittedEncodings, PackedEncodings
from distill.schema import Schema


@dataclass(frozen=True)
class Trained:
    """A trained model.

    Attributes:
        model: In evaluation mode, on the CPU.
        schema: Its view of the schema.
        encodings: Of its fields.
    """

    model: nn.Module
    schema: Schema
    encodings: PackedEncodings

    @cached_property
    def fitted(self) -> FittedEncodings:
        """The encodings, ready to encode."""
        return FittedEncodings.unpacked(self.encodings)

    @cached_property
    def version(self) -> str:
        """Hash of the weights and of the encodings (32 hex digits): request and item vectors of one version belong
        together."""
        digest = hashlib.blake2b(digest_size=16)
        digest.update(f"{type(self.model).__name__} {self.encodings.saved.fingerprint(self.schema.fields)}".encode())
        for name, tensor in sorted(self.model.state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(_bytes(tensor))
        return digest.hexdigest()


def _bytes(tensor: torch.Tensor) -> Any:
    return tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data
