"""Metrics of items that a model does not know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from distill.batch import MISSING_KEY
from distill.metrics.agreement import Reference, teacher_reference
from distill.metrics.base import Sampled, cutoffs
from distill.metrics.evaluation import Evaluation
from distill.metrics.functional.influence import Influence
from distill.metrics.goal import UP, Goal
from distill.metrics.long_tail import aucs, recalls_of_bands, rows_of_bands, sampled_aucs

_NEW = ("new",)


class NewItems:
    """`<task>/auc_new` and `<stem>_recall@<k>_<m>_new` of candidates whose item the encodings do not know.

    The AUC is over the observed rows of such items. A recall is the share of the best m of a request *that are such
    items* in the student's first k, over all requests of more than k and more than m candidates together: of the
    teacher's best (`teacher_recall`), and of a column's.

    Args:
        tasks: Tasks whose AUC is measured; None for all that are binary.
        ks: How many the student passes on.
        m: How many of the best are wanted.
        column: A column of the truly best, for `best_recall`; None without one.
    """

    of_probabilities = False

    def __init__(
        self, tasks: Sequence[str] | None = None, ks: Sequence[int] = (20,), m: int = 10, column: str | None = None
    ) -> None:
        self.tasks, self.column = tasks, column
        self.ks = cutoffs(ks, "metrics.*.ks")
        (self.m,) = cutoffs((m,), "metrics.*.m")
        self.known: Tensor | None = None

    @property
    def goals(self) -> Mapping[str, Goal]:
        """More is better."""
        stems = ("teacher_recall", *(["best_recall"] if self.column is not None else []))
        return {"auc_new": UP, **{f"{stem}@{k}_{self.m}_new": UP for stem in stems for k in self.ks}}

    def __call__(self, evaluation: Evaluation) -> dict[str, float]:
        """Returns name to value; nothing before the known items are told."""
        if self.known is None:
            return {}
        band = self._bands(self.known, evaluation)
        recalls = {name: float(result.value) for name, result in self._recalls(evaluation, band).items()}
        return {**aucs(evaluation, band, _NEW, self.tasks), **recalls}

    def sampled(self, evaluation: Evaluation) -> Mapping[str, Sampled]:
        """Returns the results, moved by requests; nothing before the known items are told."""
        if self.known is None:
            return {}
        band = self._bands(self.known, evaluation)
        found = sampled_aucs(evaluation, rows_of_bands(evaluation, band, _NEW, self.tasks))
        return {**found, **self._recalls(evaluation, band)}

    def missing(self, evaluation: Evaluation) -> str | None:
        """Says that nobody knows which items are new."""
        return "no field of the item key has a vocabulary" if self.known is None else None

    def _bands(self, known: Tensor, evaluation: Evaluation) -> Tensor:
        """0 of new items, 1 of others and of candidates whose item is not known `[N]`."""
        items = evaluation.items
        known_or_none = torch.isin(items.ids, known.to(items.ids.device)) | (items.ids == MISSING_KEY)
        return known_or_none.long().index_select(0, items.number)

    def _recalls(self, evaluation: Evaluation, band: Tensor) -> dict[str, Influence]:
        values = evaluation.rows.columns.get(self.column or "")
        references = {
            "teacher_recall": teacher_reference(evaluation.rows),
            "best_recall": None if values is None else Reference(values, ~torch.isnan(values)),
        }
        found: dict[str, Influence] = {}
        for stem, reference in references.items():
            if reference is not None:
                found |= recalls_of_bands(stem, evaluation, reference, band, _NEW, self.ks, self.m)
        return found


def give_known_items(metrics: Mapping[str, object], known: Tensor | None) -> None:
    """Tells those of the metrics that go by it which item keys the encodings know."""
    for metric in metrics.values():
        if isinstance(metric, NewItems):
            metric.known = known
