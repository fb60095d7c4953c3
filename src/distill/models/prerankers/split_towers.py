"""Split towers: each channel of a side has a small tower, and attention fuses their vectors."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from distill.batch import FeatureBlock
from distill.errors import ConfigError
from distill.features import Features, SideEncoder
from distill.layers.fusion import AttentionFusion
from distill.models.bodies.base import BodyFactory
from distill.models.prerankers.grouped import Groups, named_fields
from distill.models.prerankers.similarity import SimilarityPreRanker, TowerVectors
from distill.models.prerankers.tower import side_encoders
from distill.schema import Schema, Side

_REST = "rest"


class SplitTowers(SimilarityPreRanker):
    """A two-tower whose sides are Σ_m a_m c_m: c_m is the vector of channel m, a the softmax attention over channels.

    Args:
        features: Fields of a serving view; their sequences are encoded whatever the candidate.
        body: Builds the body of each channel's tower from the channel's fields.
        vectors: Their width, and how they are compared.
        request_channels: Channel name to the names of its fields; fields that no channel names are in the channel
            `rest`. If not given: ids, sequences and dense fields (numbers and vectors) are a channel each.
        candidate_channels: The same for the candidate side.

    Raises:
        ConfigError: A channel names a field that the side does not have, or one that another channel has.

    Reference: Liu et al., "Que2Search", KDD 2021, section 3.2 (attention fusion). Deviation: the attention reads all
    channel vectors side by side, and channels are groups of fields instead of text encoders.
    """

    def __init__(
        self,
        features: Features,
        body: BodyFactory,
        vectors: TowerVectors,
        request_channels: Groups | None,
        candidate_channels: Groups | None,
    ) -> None:
        super().__init__()
        of_request = _channels(features.schema, Side.REQUEST, request_channels)
        of_candidate = _channels(features.schema, Side.CANDIDATE, candidate_channels)
        request, candidate = side_encoders(features)
        shape = (features.num_tasks, vectors.vector_dim)
        self.request_tower = _FusedTower(request, body, of_request, shape)
        self.candidate_tower = _FusedTower(candidate, body, of_candidate, shape)
        self.similarity = vectors.build_similarity(features.num_tasks)


class _FusedTower(nn.Module):
    """Groups of a side → vectors `[B, K, vector_dim]`; one attention for the vectors of all tasks."""

    def __init__(self, encoder: SideEncoder, body: BodyFactory, channels: Groups, shape: tuple[int, int]) -> None:
        super().__init__()
        self.encoder, self._shape = encoder, shape
        width = shape[0] * shape[1]
        self.bodies, self.projections = nn.ModuleDict(), nn.ModuleDict()
        for name, fields in channels.items():
            layout = encoder.layout.select(fields)
            built = body(layout)
            self.bodies[name], self.projections[name] = built, nn.Linear(built.out_features, width)
            self.register_buffer(f"_columns_{name}", encoder.layout.columns(fields), persistent=False)
        self.fusion = AttentionFusion(dict.fromkeys(channels, width))

    def forward(self, block: FeatureBlock) -> Tensor:
        x = self.encoder(block)
        vectors = [
            self.projections[name](body(x.index_select(1, self.get_buffer(f"_columns_{name}"))))
            for name, body in self.bodies.items()
        ]
        fused: Tensor = self.fusion(torch.cat(vectors, dim=1))
        return fused.view(-1, *self._shape)


def _channels(schema: Schema, side: Side, given: Groups | None) -> dict[str, list[str]]:
    fields = schema.side(side)
    if given is None:
        by_kind = {"ids": [f.name for f in fields if f.is_id]}
        by_kind["sequences"] = [f.name for f in fields if f.is_sequence]
        by_kind["dense"] = [f.name for f in fields if not f.is_sequence and not f.is_id]
        return {name: members for name, members in by_kind.items() if members}
    known = [f.name for f in fields]
    named, wrong = named_fields(known, given)
    if wrong:
        raise ConfigError(
            f"The channels of the {side.value} side do not cover each of its fields once.",
            where=f"model.net.{side.value}_channels",
            expected="each field once: " + ", ".join(known),
            found="unknown or named twice: " + ", ".join(wrong),
        )
    rest = [name for name in known if name not in named]
    channels = {name: list(members) for name, members in given.items() if members}
    return {**channels, **({_REST: rest} if rest else {})}
