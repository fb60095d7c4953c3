"""What logits of a model mean: probabilities, and the ranking score that candidates are ordered by."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from distill.schema import Schema


def shifted(logits: Tensor, shifts: Sequence[float]) -> Tensor:
    """Adds a number to the logits of each task `[N, K]`; without any, returns them as they are."""
    if not any(shifts):
        return logits
    return torch.stack([logits[:, k] + shift for k, shift in enumerate(shifts)], dim=1)


def predictions(schema: Schema, logits: Tensor) -> Tensor:
    """Returns what logits `[N, K]` predict: probabilities, corrected for the sampling of negatives, or values."""
    logits = shifted(logits, schema.log_rates)
    binary = [task.kind == "binary" for task in schema.tasks]
    return torch.stack([z.sigmoid() if b else z for z, b in zip(logits.unbind(1), binary, strict=True)], dim=1)


class RankingScore(nn.Module):
    """Computes log Π_k p_k^a_k · Π_c x_c^b_c = Σ_k a_k·log σ(z_k) + Σ_c b_c·log x_c; its order is that of the score.

    Graded and value tasks enter by their logit: Σ a_k·z_k. Without a declared score, every task has power 1. Where the
    schema declares that negatives were sampled, z_k + log(rate) stands for z_k (see `Schema.log_rates`).

    Args:
        schema: Says which powers.
        among: Names of the tasks that are scored; the others are left out of the product. All if None.
    """

    def __init__(self, schema: Schema, among: Collection[str] | None = None) -> None:
        super().__init__()
        powers = schema.score.tasks or dict.fromkeys(schema.task_names, 1.0)
        taken = [(i, task) for i, task in enumerate(schema.tasks) if task.name in powers]
        taken = [(i, task) for i, task in taken if among is None or task.name in among]
        self.tasks = tuple(task.name for _, task in taken)
        """Names of the tasks of the product."""
        self._tasks = [(i, powers[task.name], task.kind == "binary") for i, task in taken]
        self._shifts = schema.log_rates
        self._columns = dict(schema.score.columns)

    def forward(self, logits: Tensor, columns: Mapping[str, Tensor]) -> Tensor:
        """Returns the log score `[N]` from logits `[N, K]` and candidate columns `{name: [N]}`."""
        logits = shifted(logits.float(), self._shifts)
        score = logits.new_zeros(logits.shape[0])
        for i, power, binary in self._tasks:
            score = score + power * (functional.logsigmoid(logits[:, i]) if binary else logits[:, i])
        for name, power in self._columns.items():
            score = score + power * columns[name].log()
        return score
