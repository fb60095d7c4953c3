"""Every candidate that the log left without a label learns from the teacher's probability, as far as it is sure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional

from distill.batch import Batch, Origin
from distill.errors import ConfigError
from distill.ops.segment import segment_mean
from distill.ops.waiting import places
from distill.sampling.base import Sampler

Confidence = Literal["entropy", "margin", "request", "none"]


class WeightedPseudoLabels(Sampler):
    """Labels unexposed candidates with the teacher's probability p = σ(z), weighted by its confidence c.

    - `entropy`: c = 1 + (p log p + (1 − p) log(1 − p)) / log 2, one minus the entropy in bits;
    - `margin`: c = |2p − 1|;
    - `request`: c = |2 σ(z − z̄) − 1| with z̄ the mean of z over the candidates of the request that may get a label:
      where positives are rare every p is far from ½, and this says who is far from the others;
    - `none`: c = 1.

    A row has one weight, so that of a row that gets labels of several tasks is the mean of their c. For terms on order
    and on positives a label of ½ or more makes a positive.

    Args:
        tasks: Names of the tasks that get labels; all that the teacher scores if None.
        weight: λ: a row that gets a label weighs λ · c times its own weight.
        confidence: How c is found.
        min_confidence: Candidates get a label of a task only with a greater c.
        unexposed: Whether exposed candidates are left out, even without a label of the task.

    Raises:
        ConfigError: An option is out of its range.

    Reference: Bi et al., "Generative Pseudo-Labeling for Pre-Ranking with LLMs" (GPL), 2026, arXiv:2602.20995, read
    from summaries: L = L_al(D_e) + λ L_pl(D_u), the losses of exposed and of unexposed candidates, the latter weighted
    by confidence. Choices made here: the labels are a ranker's and not those of interests that a language model wrote;
    c is one of the equations above, where the paper's comes from the spread of these interests.
    """

    needs_signals: ClassVar[bool] = True

    def __init__(
        self,
        tasks: Sequence[str] | None = None,
        weight: float = 1.0,
        confidence: Confidence = "entropy",
        min_confidence: float = 0.0,
        unexposed: bool = True,
    ) -> None:
        super().__init__(tasks, weight)
        if confidence not in get_args(Confidence) or not 0 <= min_confidence < 1:
            raise ConfigError(
                "The options of the weighted pseudo-labels are wrong.",
                where="WeightedPseudoLabels",
                expected=f"confidence: {', '.join(get_args(Confidence))}; 0 ≤ min_confidence < 1",
                found=f"confidence={confidence}, min_confidence={min_confidence}",
            )
        self.confidence, self.min_confidence, self.unexposed = confidence, min_confidence, unexposed

    def forward(self, batch: Batch, step: int) -> Batch:
        """Returns the batch with labels of unexposed candidates.

        Raises:
            SignalError: The batch came without signals.
        """
        logits, eligible = self.teachable(batch, self.unexposed)
        sure = self._sure(batch, logits, eligible)
        chosen = eligible & (sure > self.min_confidence)
        labels = logits.sigmoid()
        positive = chosen & (labels >= 0.5)
        share = torch.where(chosen, sure, 0.0).sum(1) / chosen.sum(1).clamp(min=1)
        origin = torch.where(positive.any(dim=1), int(Origin.PSEUDO_POSITIVE), int(Origin.PSEUDO_NEGATIVE))
        return self.labelled(batch, chosen, labels, positive, origin, share)

    def _sure(self, batch: Batch, logits: Tensor, eligible: Tensor) -> Tensor:
        """Returns c `[N, K']`."""
        if self.confidence == "none":
            return torch.ones_like(logits)
        if self.confidence == "entropy":
            entropy = functional.softplus(logits) - logits * logits.sigmoid()
            return (1 - entropy / math.log(2)).clamp(0, 1)
        if self.confidence == "margin":
            return (logits / 2).tanh().abs()
        return ((logits - self._means(batch, logits, eligible)) / 2).tanh().abs()

    def _means(self, batch: Batch, logits: Tensor, eligible: Tensor) -> Tensor:
        """Returns, for each row, the mean of the logits of its request's candidates that may get a label `[N, K']`."""
        means = torch.zeros_like(logits)
        for task in range(logits.shape[1]):
            taken = places(eligible[:, task])
            index = taken.keep(batch.request_index.index_select(0, taken.rows), batch.num_requests)
            num_lists = batch.num_requests + (taken.real is not None)  # what is not eligible is one more
            mean = segment_mean(logits[:, task].index_select(0, taken.rows), index, num_lists)
            means[:, task] = mean.index_select(0, batch.request_index)
        return means
