"""What is exported: a model, what it reads, and what its ids mean."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, SupportsIndex

import torch
from torch import nn

from distill.encodings import FittedEncodings, PackedEncodings
from distill.models.prerankers.base import PreRanker
from distill.schema import Schema


@dataclass(frozen=True)
class Trained:
    """A trained model.

    Attributes:
        model: In evaluation mode, on the CPU.
        schema: Its view of the schema.
        encodings: Of its fields.
        original: The model as it was trained, where `model` is made of it to be served (see `in_parts`).
        again: Loads it in another process, which is sent this function in its stead; None sends all of it.
    """

    model: nn.Module
    schema: Schema
    encodings: PackedEncodings
    original: nn.Module | None = None
    again: Callable[[], Trained] | None = None

    def __reduce_ex__(self, protocol: SupportsIndex) -> Any:
        """Says what is sent to another process."""
        return super().__reduce_ex__(protocol) if self.again is None else (self.again, ())

    def in_parts(self) -> Trained:
        """Returns what is served in parts although it was trained as one; itself if the model has no such parts."""
        parts = self.model.in_parts() if isinstance(self.model, PreRanker) else None
        return self if parts is None else replace(self, model=parts.eval(), original=self.model)

    @property
    def checkpoint_model(self) -> nn.Module:
        """The model as it was trained: what is served must score as it does."""
        return self.model if self.original is None else self.original

    @property
    def name(self) -> str:
        """Name of its class."""
        return type(self.checkpoint_model).__name__

    @cached_property
    def fitted(self) -> FittedEncodings:
        """The encodings, ready to encode."""
        return FittedEncodings.unpacked(self.encodings)

    @cached_property
    def version(self) -> str:
        """Hash of the weights and of the encodings (32 hex digits): request and item vectors of one version belong
        together."""
        digest = hashlib.blake2b(digest_size=16)
        kinds = self.name if self.original is None else f"{self.name} {type(self.model).__name__}"
        digest.update(f"{kinds} {self.encodings.saved.fingerprint(self.schema.fields)}".encode())
        for name, tensor in sorted(self.checkpoint_model.state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(_bytes(tensor))
        return digest.hexdigest()


def _bytes(tensor: torch.Tensor) -> Any:
    return tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data
