"""How sequence fields are encoded: one vector per sequence whatever the candidate, or one for each candidate."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from distill.errors import ConfigError
from distill.layers.activation import Activation
from distill.layers.ragged import SequenceSizes, append_target, pad_values
from distill.layers.sequence_search import Keys, best_pairs, best_values
from distill.layers.target_attention import TargetAttention
from distill.layers.transformer import TransformerEncoder
from distill.ops.waiting import can_look

_UNKNOWN = SequenceSizes()


class SequenceEncoding(ABC):
    """Says what turns the embedded values of a sequence into one vector of the same width."""

    @abstractmethod
    def build(self, width: int) -> nn.Module | None:
        """Returns the encoder of a sequence field of a width, or None for the plain mean."""


class SequencePooling(SequenceEncoding):
    """A way that does not look at the candidate, `(values [sum(lengths), D], lengths [R], longest or None) -> [R, D]`:
    run once per request."""


@dataclass(frozen=True)
class MeanPooling(SequencePooling):
    """The mean of the values' embeddings."""

    def build(self, width: int) -> None:
        """Returns None: the mean needs no weights."""


@dataclass(frozen=True)
class _OfTransformer:
    """Sizes of a Transformer encoder.

    Attributes:
        num_layers: Number of layers.
        num_heads: Heads of each; divides the field's width.
        dropout: Of each.
        max_length: Number of positions that are told apart, that of a candidate included.
    """

    num_layers: int
    num_heads: int
    dropout: float
    max_length: int

    def __post_init__(self) -> None:
        if min(self.num_layers, self.num_heads, self.max_length) < 1 or not 0 <= self.dropout < 1:
            raise ConfigError(
                "The Transformer over sequences cannot have these sizes.",
                where="num_layers, num_heads, dropout, max_length",
                expected="num_layers, num_heads, max_length ≥ 1, 0 ≤ dropout < 1",
                found=", ".join(f"{name}={value}" for name, value in vars(self).items()),
            )

    def _encoder(self, width: int) -> TransformerEncoder:
        return TransformerEncoder(width, self.num_layers, self.num_heads, self.dropout, self.max_length)


@dataclass(frozen=True)
class TransformerPooling(_OfTransformer, SequencePooling):
    """A Transformer encoder over the values, averaged."""

    def build(self, width: int) -> nn.Module:
        """Returns the encoder of a field of a width."""
        return self._encoder(width)


@dataclass(frozen=True)
class TargetEncoding(SequenceEncoding):
    """A way that looks at the candidate, as only a ranker can."""

    @abstractmethod
    def build(self, width: int) -> nn.Module:
        """Returns a module that maps `(query [N, D], values [sum(lengths), D], lengths [R], request_index [N], sizes)`,
        with what the host knows of the sequences (`SequenceSizes`), to one vector per candidate `[N, D]` and the weight
        that it left unused `[N]`, 0 if there is no such thing.

        Where `keys_of` names keys, it takes them (`Keys`) as a sixth argument."""

    def keys_of(self, sequence: str) -> str | None:
        """Names the sequence that has the keys of a sequence's values; None if they need none."""
        return None


@dataclass(frozen=True)
class TargetAttentionEncoding(TargetEncoding):
    """Attention of the candidate to the values, with a zero vector among them (DIN).

    Attributes:
        hidden_units: Widths of the MLP that scores a pair.
        activation: Of that MLP.
    """

    hidden_units: tuple[int, ...]
    activation: Activation

    def build(self, width: int) -> nn.Module:
        """Returns the attention of a field of a width."""
        return _Attention(TargetAttention(width, self.hidden_units, self.activation))


@dataclass(frozen=True)
class SearchedAttentionEncoding(TargetAttentionEncoding):
    """Attention of the candidate to the values that a search finds for it in a long sequence (SIM; see `best_values`).

    Attributes:
        top_k: Most values that are found.
        search: `soft`, by inner products with the candidate's vector, or `hard`, the newest of the same key.
        keys: Of hard search, sequence to the sequence, as long, that has its keys; of others the values themselves.
    """

    top_k: int = 50
    search: Literal["soft", "hard"] = "soft"
    keys: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.top_k < 1 or self.search not in ("soft", "hard") or (self.keys and self.search == "soft"):
            raise ConfigError(
                "The options of the sequence search are wrong.",
                where="top_k, search, keys",
                expected="top_k ≥ 1, search=soft without keys, or search=hard",
                found=f"top_k={self.top_k}, search={self.search}, keys={dict(self.keys)}",
            )

    def build(self, width: int) -> nn.Module:
        """Returns search and attention of a field of a width."""
        return _SearchedAttention(TargetAttention(width, self.hidden_units, self.activation), self.top_k)

    def keys_of(self, sequence: str) -> str | None:
        """Names the sequence that has the keys; None of soft search."""
        return None if self.search == "soft" else self.keys.get(sequence, sequence)


@dataclass(frozen=True)
class TargetTransformerEncoding(_OfTransformer, TargetEncoding):
    """A Transformer encoder over the values and the candidate behind them, averaged (BST; see `TransformerEncoder`)."""

    def build(self, width: int) -> nn.Module:
        """Returns the encoder of a field of a width."""
        return _Transformer(self._encoder(width))


class _Attention(nn.Module):
    pairs_values = True  # lays out a row for each value that a candidate sees

    def __init__(self, attention: TargetAttention) -> None:
        super().__init__()
        self.attention = attention

    def forward(
        self, query: Tensor, values: Tensor, lengths: Tensor, request_index: Tensor, sizes: SequenceSizes = _UNKNOWN
    ) -> tuple[Tensor, Tensor]:
        attended = self.attention(query, values, lengths, request_index, sizes.pairs)
        return attended.pooled, attended.zero_weight


class _SearchedAttention(nn.Module):
    pairs_values = True

    def __init__(self, attention: TargetAttention, top_k: int) -> None:
        super().__init__()
        self.attention, self.top_k = attention, top_k

    def forward(
        self,
        query: Tensor,
        values: Tensor,
        lengths: Tensor,
        request_index: Tensor,
        sizes: SequenceSizes = _UNKNOWN,
        keys: Keys | None = None,
    ) -> tuple[Tensor, Tensor]:
        if values.dim() == 2 and sizes.pairs is not None and not can_look(lengths):
            pairs = best_pairs(query, values, lengths, request_index, self.top_k, keys, sizes)
            attended = self.attention.over(query, values, pairs)
            return attended.pooled, attended.zero_weight
        found = best_values(query, values, lengths, request_index, self.top_k, keys)
        each = torch.arange(query.shape[0], device=query.device)
        attended = self.attention(query, found.values, found.lengths, each)
        return attended.pooled, attended.zero_weight


class _Transformer(nn.Module):
    def __init__(self, encoder: TransformerEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(
        self, query: Tensor, values: Tensor, lengths: Tensor, request_index: Tensor, sizes: SequenceSizes = _UNKNOWN
    ) -> tuple[Tensor, Tensor]:
        if values.dim() == 2 and sizes.longest is not None and not can_look(lengths):
            values, _ = pad_values(values, lengths, sizes.longest)
        longer, counts = append_target(values, lengths, request_index, query)
        return self.encoder(longer, counts), query.new_zeros(query.shape[0])
