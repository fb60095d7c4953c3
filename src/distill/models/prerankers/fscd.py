"""FSCD: a small online network that learns which groups of fields to keep, the costly ones against resistance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from distill.arguments import Bundle
from distill.batch import Batch, Penalty, RankerOutput
from distill.errors import ConfigError
from distill.features import Features
from distill.layers.fields import field_of_column
from distill.layers.mlp import MLP
from distill.models.heads import TaskHeads
from distill.models.prerankers.base import SplitPreRanker
from distill.models.prerankers.gated_parts import SummedParts, can_be_taken_apart
from distill.models.prerankers.grouped import GatedPreRanker, GroupedFields, Groups
from distill.ops.ranks import of_first_rank
from distill.schema import FieldSpec, Schema, Side

_ONLINE_COST = {Side.REQUEST: 0.0, Side.CANDIDATE: 0.5, Side.CROSS: 1.0}


@dataclass(frozen=True)
class CostlySelection(Bundle):
    """How FSCD selects groups of fields, in the words of its formulas.

    Attributes:
        gammas: γ₁, γ₂ and γ₃.
        costs: Group name to its c_j, instead of the one from the schema.
        temperature: t.
        selection_weight: λ; 1/N in the paper, N the number of training rows.

    Raises:
        ConfigError: An option is out of its range.
    """

    gammas: Sequence[float]
    costs: Mapping[str, float] | None
    temperature: float
    selection_weight: float

    def __post_init__(self) -> None:
        if len(self.gammas) != 3 or self.temperature <= 0 or self.selection_weight < 0:
            found = (list(self.gammas), self.temperature, self.selection_weight)
            raise ConfigError(
                "FSCD cannot select with these options.",
                where="model.net",
                expected="three gammas, temperature > 0, selection_weight ≥ 0",
                found="gammas={}, temperature={}, selection_weight={}".format(*found),
            )


class FSCD(GatedPreRanker):
    """z = w·MLP([z_1 e_1 … z_M e_M]) + b with gates z_j ~ Bern(δ_j), relaxed: z_j = σ((logit δ_j + logit u) / t).

    The prior of keeping a group is θ_j = 1 − σ(c_j) for its cost c_j = γ₁ o_j + γ₂ e_j + γ₃ n_j, and the penalty
    `selection` is λ Σ_j α_j z_j with α_j = log(1 − θ_j) − log θ_j = c_j. δ_j is learned and starts at θ_j. One u of
    U(0, 1) is drawn for each group and batch, the same for all processes. In evaluation z_j is δ_j.

    Costs are of 0..1 by what the schema says: o_j is 0 for request fields (computed once), ½ for candidate fields and
    1 for cross fields (computed for each pair), the largest of the group's; e_j is the group's width and n_j the
    logarithm of its number of ids, each by the largest.

    Args:
        features: Fields of a serving view.
        fields: Names of the fields that are read; all if not given.
        groups: Group name to its fields; each of the other fields is a group alone.
        gate: Whether there are gates; without them, every z_j is 1 and there is no penalty.
        compress: Whether numbers and vectors go through linear_log.
        hidden_units: Widths of the MLP.
        dropout: Of the MLP.
        selection: How groups are selected.

    Raises:
        ConfigError: A cost is of an unknown group.

    Reference: Ma et al., "Towards a Better Tradeoff between Effectiveness and Efficiency in Pre-Ranking: A Learnable
    Feature Selection based Approach", SIGIR 2021, arXiv:2105.07706.
    """

    def __init__(
        self,
        features: Features,
        fields: Sequence[str] | None,
        groups: Groups | None,
        gate: bool,
        compress: bool,
        hidden_units: Sequence[int],
        dropout: float,
        selection: CostlySelection,
    ) -> None:
        super().__init__()
        self.fields = GroupedFields(features, fields, groups, compress)
        self.selection = selection
        cost = _costs(features.schema, self.fields, selection.gammas, selection.costs or {})
        self.register_buffer("cost", cost, persistent=False)
        self.keep_logit = nn.Parameter(-cost) if gate else None  # logit(1 − σ(c)) = −c
        self.register_buffer("_group", field_of_column(self.fields.widths), persistent=False)
        self.mlp = MLP(self.fields.out_features, hidden_units, dropout=dropout)
        self.heads = TaskHeads(self.mlp.out_features, features.num_tasks)

    def forward(self, batch: Batch) -> RankerOutput:
        """Returns logits `[N, K]`, hidden `mlp [N, hidden_units[-1]]`, and in training the penalty `selection`."""
        x, penalties = self.fields(batch), {}
        if self.keep_logit is not None:
            gates = self._sampled(self.keep_logit) if self.training else self.keep_logit.sigmoid()
            x = x * gates.index_select(0, self.get_buffer("_group"))
            if self.training:
                selection = self.selection.selection_weight * (self.get_buffer("cost") * gates).sum()
                penalties["selection"] = Penalty.of_no_rows(selection)
        hidden = self.mlp(x)
        return RankerOutput(self.heads(hidden), {"mlp": hidden}, penalties)

    def in_parts(self) -> SplitPreRanker | None:
        """Returns what is served: see `gated_parts`. None if a sequence is encoded in view of the candidate."""
        if not can_be_taken_apart(self.fields, self.mlp):
            return None
        gates = (
            None if self.keep_logit is None else self.keep_logit.sigmoid().index_select(0, self.get_buffer("_group"))
        )
        return SummedParts(self.fields, self.mlp, self.heads, gates)

    def _sampled(self, logit: Tensor) -> Tensor:
        uniform = of_first_rank(torch.rand_like(logit)).clamp(1e-6, 1 - 1e-6)
        return ((logit + uniform.logit()) / self.selection.temperature).sigmoid()

    def group_weights(self, batch: Batch) -> Tensor:
        """Returns δ for each candidate `[N, M]`, the same for all; 1 without gates."""
        weights = torch.ones_like(self.get_buffer("cost")) if self.keep_logit is None else self.keep_logit.sigmoid()
        return weights.expand(batch.num_candidates, -1)


def _costs(schema: Schema, fields: GroupedFields, gammas: Sequence[float], given: Mapping[str, float]) -> Tensor:
    unknown = sorted(set(given) - set(fields.groups))
    if unknown:
        raise ConfigError(
            "Costs are given for groups that do not exist.",
            where="model.net.costs",
            expected=", ".join(fields.groups),
            found=", ".join(unknown),
        )
    members = {name: [schema.field(f) for f in group] for name, group in fields.groups.items()}
    widest = max(fields.widths.values())
    most = max(_log_ids(specs) for specs in members.values()) or 1.0
    costs = []
    for name, specs in members.items():
        online = max(_ONLINE_COST[spec.side] for spec in specs)
        parts = (online, fields.widths[name] / widest, _log_ids(specs) / most)
        costs.append(given.get(name, sum(gamma * part for gamma, part in zip(gammas, parts, strict=True))))
    return torch.tensor(costs, dtype=torch.float32)


def _log_ids(specs: Sequence[FieldSpec]) -> float:
    return math.log(1 + sum(spec.size or 0 for spec in specs))
