"""DAT: a two-tower whose sides carry an augmented vector that mimics the other side's positive interactions."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from distill.batch import Batch, FeatureBlock, Penalty, RankerOutput
from distill.features import Features, FieldLayout, SideEncoder
from distill.models.bodies.base import BodyFactory
from distill.models.prerankers.alignment import category_alignment
from distill.models.prerankers.id_field import IdField, id_field
from distill.models.prerankers.similarity import SimilarityPreRanker, TowerVectors
from distill.models.prerankers.tower import side_encoders
from distill.ops.ranks import rows_of_all_ranks, world_size
from distill.ops.waiting import places
from distill.schema import Side

_AUGMENTED = "<augmented>"


class DAT(SimilarityPreRanker):
    """A two-tower with augmented vectors a_u and a_v, one per user and one per item, beside the fields of each side.

    a_u learns what items with a positive label look like from the other side, and a_v what such requests look like:
    loss_u = mean[(y a_u + (1 − y) sg(p_v) − sg(p_v))²], that is y (a_u − sg(p_v))², and loss_v likewise with p_u, task
    by task, where p_u and p_v are the vectors that are compared (of length one for cosines) and sg stops the gradient.
    So information of one side gets into the other before they meet. Optionally the covariance of these item vectors of
    each category is drawn to that of the most frequent one of the batch: Σ_i ‖C(S_major) − C(S_i)‖²_F.

    Both act on the rows that the log labelled, whatever the loss acts on: the mean is over labels, by their weights,
    and the covariances are over rows with any label, of all processes together.

    Args:
        features: Fields of a serving view; their sequences are encoded whatever the candidate.
        body: Builds the body of each tower from the fields of its side and the augmented vector.
        vectors: Their width, and how they are compared.
        request_field: Id field that has the augmented vectors a_u; by default that of the user key, else the first.
        candidate_field: Id field that has the augmented vectors a_v; by default that of the item key, else the first.
        mimic_weight: Weight of loss_u + loss_v.
        category_field: Candidate id field whose categories are aligned; none switches it off.
        alignment_weight: Weight of the alignment.

    Raises:
        ConfigError: A field does not exist or is not an id.

    Reference: Yu et al., "A Dual Augmented Two-tower Model for Online Large-scale Recommendation", DLP-KDD 2021.
    Deviations: a vector and an augmented vector for each task; the body is any; the similarity may be a cosine.
    """

    def __init__(
        self,
        features: Features,
        body: BodyFactory,
        vectors: TowerVectors,
        request_field: str | None,
        candidate_field: str | None,
        mimic_weight: float,
        category_field: str | None,
        alignment_weight: float,
    ) -> None:
        super().__init__()
        schema = features.schema
        request, candidate = side_encoders(features)
        user = id_field(schema, Side.REQUEST, request_field, schema.keys.user, "model.net.request_field")
        item = id_field(schema, Side.CANDIDATE, candidate_field, schema.keys.item, "model.net.candidate_field")
        shape = (features.num_tasks, vectors.vector_dim)
        self.request_tower = _AugmentedTower(request, features, user, body, shape)
        self.candidate_tower = _AugmentedTower(candidate, features, item, body, shape)
        self.similarity = vectors.build_similarity(features.num_tasks)
        self.mimic_weight, self.alignment_weight = mimic_weight, alignment_weight
        self._category: IdField | None = None
        if category_field is not None:
            where = "model.net.category_field"
            self._category = id_field(schema, Side.CANDIDATE, category_field, None, where)

    def encode_request(self, block: FeatureBlock) -> Tensor:
        """Returns `[R, K, vector_dim]`."""
        return self.similarity.request(self.request_tower(block)[0])

    def encode_candidate(self, block: FeatureBlock) -> Tensor:
        """Returns `[N, K, vector_dim]`."""
        return self.similarity.candidate(self.candidate_tower(block)[0])

    def forward(self, batch: Batch) -> RankerOutput:
        """Scores the candidates of a batch; in training with the penalties `mimic` and `alignment`."""
        if not self.training:
            return super().forward(batch)
        user, wanted_items = self.request_tower(batch.request)
        item, wanted_users = self.candidate_tower(batch.candidate)
        request, p_v = self.similarity.request(user), self.similarity.candidate(item)
        output = self.interact(request, p_v, batch.cross, batch.request_index)
        with torch.autocast(batch.weight.device.type, enabled=False):
            p_u, p_v = self.similarity.candidate(user.float()), p_v.float()
            penalties = {"mimic": self._mimic(batch, p_u, wanted_items.float(), p_v, wanted_users.float())}
            if self._category is not None:
                penalties["alignment"] = self._alignment(batch, p_v, self._category)
        return RankerOutput(output.logits, output.hidden, penalties)

    @property
    def penalises_rows(self) -> bool:
        """Whether training adds penalties over labelled rows: always."""
        return True

    def _mimic(self, batch: Batch, user: Tensor, wanted_items: Tensor, item: Tensor, wanted_users: Tensor) -> Penalty:
        weight = batch.labelled * batch.weight.unsqueeze(1)
        positive = (weight * batch.labels).unsqueeze(2)
        of_user = wanted_items.index_select(0, batch.request_index) - item.detach()
        of_item = wanted_users - user.index_select(0, batch.request_index).detach()
        total = (positive * (of_user.square() + of_item.square())).sum()
        return Penalty(self.mimic_weight * total, weight.sum() * item.shape[2])

    def _alignment(self, batch: Batch, item: Tensor, field: IdField) -> Penalty:
        taken = places(batch.labelled.any(dim=1), exact=world_size() > 1)
        vectors, _ = rows_of_all_ranks(item.index_select(0, taken.rows))
        category, _ = rows_of_all_ranks(batch.candidate.ids[:, field.column].index_select(0, taken.rows))
        value = category_alignment(vectors, category, taken.real, field.spec.size)
        return Penalty.of_no_rows(self.alignment_weight * value)


class _AugmentedTower(nn.Module):
    """Fields and augmented vector of one side → (vectors `[B, K, D]`, augmented vectors `[B, K, D]`)."""

    def __init__(
        self,
        encoder: SideEncoder,
        features: Features,
        of: IdField,
        body: BodyFactory,
        shape: tuple[int, int],
    ) -> None:
        super().__init__()
        width = shape[0] * shape[1]
        self.encoder, self._shape = encoder, shape
        own = of.spec.model_copy(update={"embedding_dim": width})
        alone = replace(features, schema=features.schema.model_copy(update={"fields": (own,)}))
        self.augmented_tables = alone.build_tables()
        self._column, self._width = of.column, width
        self.body = body(encoder.layout + FieldLayout({_AUGMENTED: width}))
        self.project = nn.Linear(self.body.out_features, width)

    def forward(self, block: FeatureBlock) -> tuple[Tensor, Tensor]:
        augmented = self.augmented_tables.rows(self._width, block.ids[:, self._column])
        x = torch.cat([self.encoder(block), augmented], dim=1)
        vectors: Tensor = self.project(self.body(x))
        return vectors.view(-1, *self._shape), augmented.view(-1, *self._shape)
