"""How a side encodes its sequence fields: one vector per sequence, whatever the candidate."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import nn

from distill.errors import ConfigError
from distill.layers.transformer import TransformerEncoder


class SequencePooling(ABC):
    """Says what turns the embedded values of a sequence into one vector of the same width."""

    @abstractmethod
    def build(self, width: int) -> nn.Module | None:
        """Returns the encoder of a sequence field of a width, or None for the plain mean."""


@dataclass(frozen=True)
class MeanPooling(SequencePooling):
    """The mean of the values' embeddings."""

    def build(self, width: int) -> None:
        """Returns None: the mean needs no weights."""


@dataclass(frozen=True)
class TransformerPooling(SequencePooling):
    """A Transformer encoder over the values, averaged.

    Attributes:
        num_layers: Number of layers.
        num_heads: Heads of each; divides the field's width.
        dropout: Of each.
        max_length: Number of positions that are told apart.
    """

    num_layers: int
    num_heads: int
    dropout: float
    max_length: int

    def __post_init__(self) -> None:
        if min(self.num_layers, self.num_heads, self.max_length) < 1 or not 0 <= self.dropout < 1:
            raise ConfigError(
                "The Transformer over sequences cannot have these sizes.",
                where="sequence",
                expected="num_layers, num_heads, max_length ≥ 1, 0 ≤ dropout < 1",
                found=str(self),
            )

    def build(self, width: int) -> nn.Module:
        """Returns the encoder of a field of a width."""
        return TransformerEncoder(width, self.num_layers, self.num_heads, self.dropout, self.max_length)
