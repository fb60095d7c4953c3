"""The ranker: fields → interaction body → multi-task trunk → one logit per task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import cast

from torch import Tensor, nn

from distill.batch import Batch, RankerOutput
from distill.errors import ConfigError
from distill.features import Features, FieldSelection, kept_fields
from distill.models.bodies.base import BodyFactory
from distill.models.heads import TaskHeads, TaskTowers
from distill.models.linear import LinearPart
from distill.models.rankers.base import Ranker
from distill.models.rankers.pair_encoder import PairEncoder
from distill.models.task_order import OrderFactory

TrunkFactory = Callable[[int, int], nn.Module]


class InteractionRanker(Ranker):
    """z_k = w_k·h_k + b_k (+ a linear part), where h is the body's vector of the fields or what a trunk makes of it.

    Which ranker it is depends on its parts: the body makes it a DNN, DeepFM, DCN, xDeepFM, FiBiNet, AutoInt or DLRM,
    the way sequences are encoded a DIN or BST, the trunk an MMoE, CGC, PLE or AITM, the order of its tasks an ESMM. Any
    body goes with any trunk and any way to encode sequences.

    Args:
        features: The fields, and how they are embedded.
        body: Builds the body from the fields.
        trunk: Builds, from the width of the body's vector and K, what gives each task a vector of its own; if there is
            none, all tasks read the body's vector.
        tower_units: Widths of the MLP of each task behind the trunk.
        linear: Whether to add the linear part: one weight per id and task, and one per number.
        task_order: Builds, from the tasks, what the model makes of the order in which they happen; nothing by default.
        fields: Names of the fields that are read; the others are not even looked up. All if not given.

    Raises:
        ConfigError: There are towers without a trunk, or a field is not known.
    """

    def __init__(
        self,
        features: Features,
        body: BodyFactory,
        trunk: TrunkFactory | None = None,
        tower_units: Sequence[int] = (),
        linear: bool = False,
        task_order: OrderFactory | None = None,
        fields: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        num_tasks = features.num_tasks
        self.selection = None
        if fields is not None:
            kept = kept_fields(features.schema, fields)
            self.selection = FieldSelection(features.schema, frozenset(f.name for f in kept.fields))
            features = replace(features, schema=kept)
        self.encoder = PairEncoder(features)
        self.body = body(self.encoder.layout)
        self.trunk = None if trunk is None else trunk(self.body.out_features, num_tasks)
        self.heads: nn.Module
        if self.trunk is not None:
            self.heads = TaskTowers(cast(int, self.trunk.out_features), num_tasks, tower_units)
        elif tower_units:
            raise ConfigError(
                "Towers of tasks need a trunk.",
                where="model.net.tower_units",
                expected="none without a trunk",
                found=str(list(tower_units)),
                remedy="Choose a trunk (+trunk@model.net.trunk=mmoe), or leave tower_units empty.",
            )
        else:
            self.heads = TaskHeads(self.body.out_features, num_tasks)
        self.linear = LinearPart(features.schema) if linear else None
        self.task_order = None if task_order is None else task_order(features.schema.tasks)

    @property
    def penalises_rows(self) -> bool:
        """Whether training adds penalties over labelled rows: where the order of the tasks does."""
        return self.task_order is not None and self.task_order.penalises

    def forward(self, batch: Batch) -> RankerOutput:
        """Returns logits `[N, K]` and hidden vectors.

        They are `body [N, W]`; behind a trunk also `tasks [N, K·H]`; with target attention also `zero_weight [N, S]`.
        """
        batch = batch if self.selection is None else self.selection(batch)
        x, zero_weight = self.encoder(batch)
        vector: Tensor = self.body(x)
        hidden = {"body": vector}
        if self.trunk is not None:
            vector = self.trunk(vector)
            hidden["tasks"] = vector.flatten(1)
        if zero_weight.shape[1]:
            hidden["zero_weight"] = zero_weight
        logits: Tensor = self.heads(vector)
        if self.linear is not None:
            logits = logits + self.linear(batch)
        if self.task_order is None:
            return RankerOutput(logits, hidden)
        logits, penalties = self.task_order(logits, batch)
        return RankerOutput(logits, hidden, penalties)
