"""In-batch negatives: a positive's request against the positives of other requests, as a loss term."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from distill.batch import MISSING_KEY, Batch, TeacherSignals
from distill.errors import ConfigError
from distill.losses.functional.sampled_softmax import sampled_softmax
from distill.losses.rows import select_rows
from distill.losses.schedule import Schedule
from distill.losses.setting import LossSetting
from distill.losses.terms.base import LossInputs, LossTerm, TermSums, at_least_float32
from distill.ops.keys import apart, first_equal
from distill.ops.waiting import places


class SampledSoftmax(LossTerm):
    """The softmax of a positive's item among those of all positives of the batch, corrected for how often each occurs.

    ``-log softmax_j(u_i·v_j - log q_j)_i`` for the vectors that a two-tower compares; its scale 1/τ is in u. q_j is the
    probability that a step has item j among its positives: 1 / (the running mean of the steps from one that has it to
    the next).
    Items that are positives of the same request are not negatives of it. Reduction: weighted mean over positives.
    Gradient path: to the vectors of both towers. Negatives are those of the process's own batch.

    Args:
        weight: Weight of the term in the total, a number or a schedule.
        rows: Row selector or several for their union.
        task: Name of the task whose positives are meant; the first if None.
        alpha: Step size of the running means.
        buckets: Number of running means; items share one by their id modulo this.

    Raises:
        ConfigError: An option is out of its range.

    Reference: Yi et al., "Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations", RecSys 2019,
    section 3 and algorithm 2.
    """

    counts_positives: ClassVar[bool] = True
    reads: ClassVar[frozenset[str]] = frozenset({"item_id"})

    last_seen: Tensor
    gap: Tensor

    def __init__(
        self,
        weight: float | Schedule = 1.0,
        rows: str = "all",
        task: str | None = None,
        alpha: float = 0.05,
        buckets: int = 131_072,
    ) -> None:
        super().__init__(weight, rows, None if task is None else [task])
        if not 0 < alpha <= 1 or buckets < 1:
            raise ConfigError(
                "The options of the item frequency are wrong.",
                where="SampledSoftmax",
                expected="0 < alpha ≤ 1, buckets ≥ 1",
                found=f"alpha={alpha}, buckets={buckets}",
            )
        self.alpha = alpha
        self._width: int | None = None
        self.register_buffer("last_seen", torch.full((buckets,), -1))
        self.register_buffer("gap", torch.ones(buckets))

    @property
    def label_tasks(self) -> tuple[str, ...]:
        """The task whose positives are meant."""
        return self.names[:1]

    def setup(self, setting: LossSetting) -> None:
        """Learns the width of the towers' vectors; see `LossTerm.setup`.

        Raises:
            ConfigError: Also if the student has no towers with vectors of one width.
        """
        super().setup(setting)
        student = setting.student_vectors()
        widths = [student.get(name, 0) for name in ("request", "candidate")]
        if not widths[0] or widths[0] != widths[1]:
            raise ConfigError(
                "Negatives of other requests need towers with vectors of equal width.",
                where="SampledSoftmax",
                expected="a student with hidden vectors `request` and `candidate` of the same width, such as two_tower",
                found=", ".join(f"{n} [{w}]" for n, w in student.items()) or "none",
            )
        self._width = widths[0]

    def acts_on(self, batch: Batch, signals: TeacherSignals | None) -> Tensor:
        """Says which candidates are selected positives of the task."""
        rows = select_rows(self.rows, batch, signals)
        column = self.columns[0]
        return rows & batch.positive[:, column]

    def forward(self, inputs: LossInputs) -> TermSums:
        """Computes the sums, one unit; in training also counts the items."""
        if self._width is None:
            raise ConfigError("The loss term SampledSoftmax was used before `setup`.")
        batch = inputs.batch
        most = None if batch.sizes is None else batch.sizes.positives
        taken = places(self.acts_on(batch, inputs.signals), exact=most is None, most=most)
        rows = taken.rows
        width = self._width // self._num_tasks  # of a task
        start = self.columns[0] * width
        request, item = (
            at_least_float32(inputs.output.hidden[name][:, start : start + width]).index_select(0, rows)
            for name in ("request", "candidate")
        )
        item_id = batch.item_id.index_select(0, rows)
        log_q = self._log_probability(item_id, taken.real, self.step_of(inputs)).to(request.dtype)
        unknown = item_id == MISSING_KEY  # of unknown items no two are the same
        same = apart(item_id, unknown, rows) if taken.real is None else first_equal(item_id, unknown | ~taken.real)
        of_request = taken.keep(batch.request_index.index_select(0, rows), batch.num_requests)
        values = taken.keep(sampled_softmax(request, item, same, of_request, log_q, taken.real))
        weight = taken.keep(batch.weight.index_select(0, rows).to(values.dtype))
        one = torch.ones(1, dtype=values.dtype, device=values.device)
        return TermSums((values * weight).sum().view(1), weight.sum().view(1), one)

    @torch.no_grad()
    def _log_probability(self, item_id: Tensor, real: Tensor | None, step: int | Tensor) -> Tensor:
        bucket = item_id.remainder(self.gap.shape[0])
        if self.training and bucket.numel():
            # Padding counts what the first positive counts, if there is one.
            present = torch.unique(bucket) if real is None else torch.where(real, bucket, bucket[:1])
            since = (step - self.last_seen[present]).clamp(min=1).to(self.gap.dtype)
            known = self.last_seen[present] >= 0
            mean = (1 - self.alpha) * self.gap[present] + self.alpha * since
            again = self.last_seen[present] == step
            gap = torch.where(again, self.gap[present], torch.where(known, mean, since))
            seen = torch.full_like(present, step) if isinstance(step, int) else step.expand_as(present)
            if real is not None:
                gap = torch.where(real[:1], gap, self.gap[present])
                seen = torch.where(real[:1], seen, self.last_seen[present])
            self.gap[present], self.last_seen[present] = gap, seen
        return -self.gap[bucket].clamp(min=1.0).log()
