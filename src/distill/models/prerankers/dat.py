"""DAT: a two-tower whose sides carry an augmented vector that mimics the other side's positive interactions."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from distill.batch import Batch, FeatureBlock, Penalty, RankerOutput
from distill.errors import ConfigError
from distill.features import FieldLayout, SequenceEncoding, SideEncoder, build_tables
from distill.models.bodies.base import BodyFactory
from distill.models.prerankers.alignment import category_alignment
from distill.models.prerankers.base import SplitPreRanker
from distill.models.prerankers.similarity import Kind, Similarity
from distill.models.prerankers.tower import side_encoders
from distill.ops.ranks import rows_of_all_ranks
from distill.schema import FieldSpec, Schema, Side

_AUGMENTED = "<augmented>"


class DAT(SplitPreRanker):
    """A two-tower with augmented vectors a_u and a_v, one per user and one per item, beside the fields of each side.

    a_u learns what items with a positive label look like from the other side, and a_v what such requests look like:
    loss_u = mean[(y a_u + (1 − y) sg(p_v) − sg(p_v))²], that is y (a_u − sg(p_v))², and loss_v likewise with p_u, task
    by task, where p_u and p_v are the vectors that are compared (of length one for cosines) and sg stops the gradient.
    So information of one side gets into the other before they meet. Optionally the covariance of these item vectors of
    each category is drawn to that of the most frequent one of the batch: Σ_i ‖C(S_major) − C(S_i)‖²_F.

    Both act on the rows that the log labelled, whatever the loss acts on: the mean is over labels, by their weights,
    and the covariances are over rows with any label, of all processes together.

    Args:
        schema: Serving view of a prepared schema.
        embedding_dim: Width of fields that do not name their own.
        embedding_std: Standard deviation of the initial embeddings, augmented vectors included.
        sequence: How sequence fields are encoded, whatever the candidate.
        body: Builds the body of each tower from the fields of its side and the augmented vector.
        vector_dim: Width of the vectors.
        similarity: `cosine` or `dot`.
        temperature: Of the similarity; learned for each task if not given.
        request_field: Id field that has the augmented vectors a_u; by default that of the user key, else the first.
        candidate_field: Id field that has the augmented vectors a_v; by default that of the item key, else the first.
        mimic_weight: Weight of loss_u + loss_v.
        category_field: Candidate id field whose categories are aligned; none switches it off.
        alignment_weight: Weight of the alignment.

    Raises:
        ConfigError: A field does not exist or is no id.

    Reference: Yu et al., "A Dual Augmented Two-tower Model for Online Large-scale Recommendation", DLP-KDD 2021.
    Deviations: a vector and an augmented vector for each task; the body is any; the similarity may be a cosine.
    """

    def __init__(
        self,
        schema: Schema,
        embedding_dim: int,
        embedding_std: float,
        sequence: SequenceEncoding,
        body: BodyFactory,
        vector_dim: int,
        similarity: Kind,
        temperature: float | None,
        request_field: str | None,
        candidate_field: str | None,
        mimic_weight: float,
        category_field: str | None,
        alignment_weight: float,
    ) -> None:
        super().__init__()
        num_tasks = len(schema.tasks)
        request, candidate = side_encoders(schema, embedding_dim, embedding_std, sequence)
        user = _id_field(schema, Side.REQUEST, request_field, schema.keys.user)
        item = _id_field(schema, Side.CANDIDATE, candidate_field, schema.keys.item)
        shape = (num_tasks, vector_dim)
        self.request_tower = _AugmentedTower(request, schema, user, body, shape, embedding_std)
        self.candidate_tower = _AugmentedTower(candidate, schema, item, body, shape, embedding_std)
        self.similarity = Similarity(similarity, num_tasks, vector_dim, temperature)
        self.mimic_weight, self.alignment_weight = mimic_weight, alignment_weight
        self._category: int | None = None
        if category_field is not None:
            self._category = _position(schema, _id_field(schema, Side.CANDIDATE, category_field, None))

    def encode_request(self, block: FeatureBlock) -> Tensor:
        """Returns `[R, K, vector_dim]`."""
        return self.similarity.request(self.request_tower(block)[0])

    def encode_candidate(self, block: FeatureBlock) -> Tensor:
        """Returns `[N, K, vector_dim]`."""
        return self.similarity.candidate(self.candidate_tower(block)[0])

    def interact(self, request: Tensor, candidate: Tensor, cross: FeatureBlock, request_index: Tensor) -> RankerOutput:
        """Returns logits `[N, K]` and hidden `request [N, K·vector_dim]`, `candidate [N, K·vector_dim]`."""
        expanded = request.index_select(0, request_index)
        logits: Tensor = self.similarity(expanded, candidate)
        return RankerOutput(logits, {"request": expanded.flatten(1), "candidate": candidate.flatten(1)})

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

    def _alignment(self, batch: Batch, item: Tensor, column: int) -> Penalty:
        rows = batch.labelled.any(dim=1).nonzero().flatten()
        vectors, _ = rows_of_all_ranks(item.index_select(0, rows))
        category, _ = rows_of_all_ranks(batch.candidate.ids[:, column].index_select(0, rows))
        return Penalty.of_no_rows(self.alignment_weight * category_alignment(vectors, category))


class _AugmentedTower(nn.Module):
    """Fields and augmented vector of one side → (vectors `[B, K, D]`, augmented vectors `[B, K, D]`)."""

    def __init__(
        self,
        encoder: SideEncoder,
        schema: Schema,
        spec: FieldSpec,
        body: BodyFactory,
        shape: tuple[int, int],
        init_std: float,
    ) -> None:
        super().__init__()
        width = shape[0] * shape[1]
        self.encoder, self._shape = encoder, shape
        own = spec.model_copy(update={"embedding_dim": width})
        self.augmented_tables = build_tables(schema.model_copy(update={"fields": (own,)}), width, init_std)
        self._column, self._width = _position(schema, spec), width
        self.body = body(encoder.layout + FieldLayout({_AUGMENTED: width}))
        self.project = nn.Linear(self.body.out_features, width)

    def forward(self, block: FeatureBlock) -> tuple[Tensor, Tensor]:
        augmented = self.augmented_tables.rows(self._width, block.ids[:, self._column])
        x = torch.cat([self.encoder(block), augmented], dim=1)
        vectors: Tensor = self.project(self.body(x))
        return vectors.view(-1, *self._shape), augmented.view(-1, *self._shape)


def _id_field(schema: Schema, side: Side, name: str | None, key: str | None) -> FieldSpec:
    fields = [f for f in schema.side(side) if f.is_id]
    wanted = [f for f in fields if f.name == name] if name is not None else [f for f in fields if f.column == key]
    found = wanted or (fields if name is None else [])
    if not found:
        raise ConfigError(
            f"The augmented vectors need an id field of the {side.value} side.",
            where="model.net",
            expected=", ".join(f.name for f in fields) or "an id field in the schema",
            found=name or "none",
        )
    return found[0]


def _position(schema: Schema, spec: FieldSpec) -> int:
    return [f.name for f in schema.side(spec.side) if f.is_id].index(spec.name)
