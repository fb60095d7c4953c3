"""A split pre-ranker whose item vectors are stored in fewer bits: what that costs is measured as any model is."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from distill.batch import Batch, RankerOutput
from distill.errors import ConfigError
from distill.export.quantise import restored, store_as
from distill.jobs.parts import LoadedModel
from distill.models.prerankers.base import PreRanker, SplitPreRanker
from distill.serving.items import ItemType


class StoredItems(nn.Module):
    """Scores as a server does that has item vectors of a type.

    Args:
        model: It.
        kind: What its vectors are stored as.
    """

    def __init__(self, model: SplitPreRanker, kind: ItemType) -> None:
        super().__init__()
        self.model, self.kind = model, kind

    def forward(self, batch: Batch) -> RankerOutput:
        """Returns what the model says with the vectors that come back from the store."""
        request = self.model.encode_request(batch.request)
        vectors = self.model.encode_candidate(batch.candidate)
        return self.model.interact(request, self._stored(vectors), batch.cross, batch.request_index)

    def _stored(self, vectors: Tensor) -> Tensor:
        found = restored(*store_as(vectors.float().cpu().numpy(), self.kind))
        return torch.from_numpy(found).to(vectors.device)


def with_item_type(loaded: LoadedModel, name: str, kind: ItemType) -> LoadedModel:
    """Returns the same model with its item vectors stored as a type.

    Args:
        loaded: The model.
        name: Of it, for the error.
        kind: The type.

    Raises:
        ConfigError: It has no item vectors.
    """
    model = loaded.model.in_parts() or loaded.model if isinstance(loaded.model, PreRanker) else loaded.model
    if not isinstance(model, SplitPreRanker):
        raise ConfigError(
            "This model has no item vectors that could be stored.",
            where="item_types",
            expected="checkpoints of pre-rankers in parts, such as two_tower",
            found=f"{name}: {type(loaded.model).__name__}",
        )
    return replace(loaded, model=StoredItems(model, kind).eval())
