"""The ranking score: the number candidates are ordered by."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from torch import Tensor, nn
from torch.nn import functional

from distill.schema import Schema


class RankingScore(nn.Module):
    """Computes log Π_k p_k^a_k · Π_c x_c^b_c = Σ_k a_k·log σ(z_k) + Σ_c b_c·log x_c; its order is that of the score.

    Graded and value tasks enter by their logit: Σ a_k·z_k. Without a declared score, every task has power 1.

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
        self._columns = dict(schema.score.columns)

    def forward(self, logits: Tensor, columns: Mapping[str, Tensor]) -> Tensor:
        """Returns the log score `[N]` from logits `[N, K]` and candidate columns `{name: [N]}`."""
        logits = logits.float()
        score = logits.new_zeros(logits.shape[0])
        for i, power, binary in self._tasks:
            score = score + power * (functional.logsigmoid(logits[:, i]) if binary else logits[:, i])
        for name, power in self._columns.items():
            score = score + power * columns[name].log()
        return score
