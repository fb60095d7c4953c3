"""The two-tower family: the similarity of two vectors, one per task, as a logit."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from distill.arguments import Bundle
from distill.batch import FeatureBlock, RankerOutput
from distill.errors import ConfigError
from distill.models.prerankers.base import SplitPreRanker
from distill.serving.manifest import Interaction

Kind = Literal["cosine", "dot"]
_INITIAL_COSINE_SCALE = 5.0


class Similarity(nn.Module):
    """z_k = cos(u_k, v_k)/τ_k + b_k, or with a dot product u_k·v_k/τ_k + b_k.

    1/τ_k is folded into the request's vector, so that item vectors are stored as they are compared.

    Args:
        kind: `cosine` or `dot`.
        num_tasks: K.
        vector_dim: Width of the vectors.
        temperature: τ, fixed; learned for each task if not given, from 0.2 for cosines and the square root of the
            width for dot products.

    Raises:
        ConfigError: The kind is unknown or the temperature not positive.

    Reference: Huang et al., "Learning Deep Structured Semantic Models", 2013, eq. 4 and 5; Yi et al.,
    "Sampling-Bias-Corrected Neural Modeling", 2019, section 3 (normalisation and temperature).
    """

    def __init__(self, kind: Kind, num_tasks: int, vector_dim: int, temperature: float | None) -> None:
        super().__init__()
        if kind not in ("cosine", "dot"):
            raise ConfigError("Unknown similarity.", expected="cosine or dot", found=str(kind))
        if temperature is not None and not temperature > 0:
            raise ConfigError("The temperature must be positive.", where="temperature", found=str(temperature))
        self.kind = kind
        initial = _INITIAL_COSINE_SCALE if kind == "cosine" else 1.0 / math.sqrt(vector_dim)
        scale = initial if temperature is None else 1.0 / temperature
        log_scale = torch.full((num_tasks,), math.log(scale))
        if temperature is None:
            self.log_scale = nn.Parameter(log_scale)
        else:
            self.register_buffer("log_scale", log_scale)
        self.bias = nn.Parameter(torch.zeros(num_tasks))

    def request(self, vectors: Tensor) -> Tensor:
        """Makes raw vectors `[…, K, D]` of requests comparable."""
        return self.candidate(vectors) * self.log_scale.exp().unsqueeze(1)

    def candidate(self, vectors: Tensor) -> Tensor:
        """Makes raw vectors `[…, K or 1, D]` of candidates comparable."""
        return functional.normalize(vectors, dim=-1) if self.kind == "cosine" else vectors

    def forward(self, request: Tensor, candidate: Tensor) -> Tensor:
        """Maps comparable vectors `[N, K, D]` and `[N, K or 1, D]` to logits `[N, K]`."""
        return (request * candidate).sum(-1) + self.bias


@dataclass(frozen=True)
class TowerVectors(Bundle):
    """The vectors of two towers and how they are compared.

    Attributes:
        vector_dim: Width of a vector.
        similarity: `cosine` or `dot`.
        temperature: τ; learned for each task if not given.
    """

    vector_dim: int
    similarity: Kind
    temperature: float | None

    def build_similarity(self, num_tasks: int) -> Similarity:
        """Builds what compares them, task by task."""
        return Similarity(self.similarity, num_tasks, self.vector_dim, self.temperature)


class SimilarityPreRanker(SplitPreRanker):
    """A pre-ranker of two towers whose vectors are compared.

    Attributes:
        request_tower: Maps the request side to `[R, K, vector_dim]`.
        candidate_tower: Maps the candidate side to `[N, K or 1, vector_dim]`.
        similarity: Compares them.
    """

    request_tower: nn.Module
    candidate_tower: nn.Module
    similarity: Similarity

    def encode_request(self, block: FeatureBlock) -> Tensor:
        """Returns `[R, K, vector_dim]`."""
        return self.similarity.request(self.request_tower(block))

    def encode_candidate(self, block: FeatureBlock) -> Tensor:
        """Returns `[N, K or 1, vector_dim]`."""
        return self.similarity.candidate(self.candidate_tower(block))

    def interact(self, request: Tensor, candidate: Tensor, cross: FeatureBlock, request_index: Tensor) -> RankerOutput:
        """Returns logits `[N, K]` and hidden `request [N, K·vector_dim]`, `candidate [N, (K or 1)·vector_dim]`."""
        expanded = request.index_select(0, request_index)
        logits: Tensor = self.similarity(expanded, candidate)
        return RankerOutput(logits, {"request": expanded.flatten(1), "candidate": candidate.flatten(1)})

    def closed_form(self) -> Interaction | None:
        """A dot product, unless a subclass adds to it."""
        if type(self).interact is not SimilarityPreRanker.interact:
            return None
        return Interaction(type="dot", bias=tuple(self.similarity.bias.tolist()))
