"""Metrics by popularity of the items, and of how evenly a pre-ranker passes items on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from distill.batch import MISSING_KEY
from distill.data.popularity import ItemExposures
from distill.errors import ConfigError
from distill.metrics import functional
from distill.metrics.agreement import Reference, covered_orders, teacher_reference
from distill.metrics.base import Sampled, cutoffs
from distill.metrics.evaluation import Evaluation
from distill.metrics.functional.inequality import gini
from distill.metrics.functional.influence import Influence, auc_influence, ratio_influence
from distill.metrics.functional.reduce import sum_by_number, total
from distill.metrics.functional.topk import membership
from distill.metrics.goal import NEITHER, UP, Goal

BANDS = ("head", "torso", "tail")


class PopularityBands:
    """`<task>/auc_<band>` and `teacher_recall@<k>_<m>_<band>` of head, torso and tail items.

    The head holds the most popular items that make up the first share of the training split's exposures, the torso
    those up to the second, the tail all others, with items that were never exposed; items of equal popularity are in
    one band, candidates whose item is not known in none. The AUC is over the observed rows of a band; the recall is the
    share of the teacher's top-m *that are of the band* in the student's top-k, over all requests of more than k and
    more than m candidates together.

    Args:
        shares: Where the head and the torso end, in cumulative exposures.
        ks: How many the student passes on.
        m: How many of the teacher's best are wanted.
        tasks: Tasks whose AUC is measured; None for all that are binary.
    """

    of_probabilities = False

    def __init__(
        self,
        shares: Sequence[float] = (0.5, 0.8),
        ks: Sequence[int] = (20,),
        m: int = 10,
        tasks: Sequence[str] | None = None,
    ) -> None:
        if len(shares) != len(BANDS) - 1:
            raise ConfigError(
                "Popularity needs exactly three bands.",
                where="metrics.metrics.*.shares",
                expected="two shares",
                found=str(list(shares)),
            )
        self.shares = tuple(float(share) for share in shares)
        self.ks = cutoffs(ks, "metrics.*.ks")
        (self.m,) = cutoffs((m,), "metrics.*.m")
        self.tasks = tasks
        self.exposures: ItemExposures | None = None

    @property
    def goals(self) -> Mapping[str, Goal]:
        """More is better."""
        stems = ("auc", *(f"teacher_recall@{k}_{self.m}" for k in self.ks))
        return {f"{stem}_{band}": UP for stem in stems for band in BANDS}

    def __call__(self, evaluation: Evaluation) -> dict[str, float]:
        """Returns name to value; nothing before the exposures are known."""
        if self.exposures is None:
            return {}
        band = self._bands(self.exposures, evaluation)
        recalls = {name: float(result.value) for name, result in self._recalls(evaluation, band).items()}
        return {**aucs(evaluation, band, BANDS, self.tasks), **recalls}

    def sampled(self, evaluation: Evaluation) -> Mapping[str, Sampled]:
        """Returns the results, moved by requests; nothing before the exposures are known."""
        if self.exposures is None:
            return {}
        band = self._bands(self.exposures, evaluation)
        aucs = sampled_aucs(evaluation, rows_of_bands(evaluation, band, BANDS, self.tasks))
        return {**aucs, **self._recalls(evaluation, band)}

    def missing(self, evaluation: Evaluation) -> str | None:
        """Says that the exposures are not known."""
        return "exposures of the training split are not known" if self.exposures is None else None

    def _bands(self, exposures: ItemExposures, evaluation: Evaluation) -> Tensor:
        """The band of each row `[N]`, found for each item."""
        items = evaluation.items
        band = exposures.band_of(items.ids.cpu(), exposures.bands(self.shares)).to(items.ids.device)
        return band.masked_fill_(items.ids == MISSING_KEY, len(BANDS)).index_select(0, items.number)  # of none

    def _recalls(self, evaluation: Evaluation, band: Tensor) -> Mapping[str, Influence]:
        """The recalls, moved by requests."""
        reference = teacher_reference(evaluation.rows)
        if reference is None:
            return {}
        return recalls_of_bands("teacher_recall", evaluation, reference, band, BANDS, self.ks, self.m)


def rows_of_bands(
    evaluation: Evaluation, band: Tensor, names: Sequence[str], tasks: Sequence[str] | None
) -> Iterator[tuple[str, Tensor, int]]:
    """Yields the name of each AUC of a band, its observed rows by position, and the column of its task.

    Args:
        evaluation: What is measured.
        band: Number of the band of each row `[N]`.
        names: Of the bands.
        tasks: Which; None for all that are binary.
    """
    for task, column in evaluation.columns(tasks).items():
        if evaluation.observed_rows(column).is_binary:
            for number, name in enumerate(names):
                (kept,) = (evaluation.rows.observed[:, column] & (band == number)).nonzero(as_tuple=True)
                yield f"{task}/auc_{name}", kept, column


def aucs(evaluation: Evaluation, band: Tensor, names: Sequence[str], tasks: Sequence[str] | None) -> dict[str, float]:
    """Returns the AUC of each band; the rows keep the order that they have among all. See `rows_of_bands`."""
    values = {}
    for task, column in evaluation.columns(tasks).items():
        rows, observed = evaluation.observed_rows(column), evaluation.observed(column)
        if rows.is_binary:
            own = band if observed is None else band.index_select(0, observed)
            sorted_band = own.index_select(0, rows.by_logit.order)
            for number, name in enumerate(names):
                order = rows.by_logit.only((sorted_band == number).nonzero()[:, 0])
                values[f"{task}/auc_{name}"] = float(functional.auc(rows.logits, rows.labels, rows.weight, order))
    return values


def sampled_aucs(evaluation: Evaluation, parts: Iterable[tuple[str, Tensor, int]]) -> dict[str, Influence]:
    """Returns the AUC of each part of the rows, moved by requests."""
    rows, (index, num_requests) = evaluation.rows, evaluation.requests
    return {
        name: auc_influence(
            rows.logits[kept, column], rows.labels[kept, column], index[kept], num_requests, rows.weight[kept]
        )
        for name, kept, column in parts
    }


def recalls_of_bands(
    stem: str,
    evaluation: Evaluation,
    reference: Reference,
    band: Tensor,
    names: Sequence[str],
    ks: Sequence[int],
    m: int,
) -> dict[str, Influence]:
    """Returns `<stem>@<k>_<m>_<band>`: the share of the reference's top-m that are of the band in the student's top-k.

    Over all requests of more than k and more than m candidates together, moved by requests.
    """
    student, wanted_order, requests = covered_orders(evaluation, reference)
    (band,) = reference.covered(band)
    large = requests.size.index_select(0, student.index)
    values = {}
    for k in ks:
        (rows,) = (large > max(k, m)).nonzero(as_tuple=True)
        wanted, passed = membership(wanted_order, m)[rows], membership(student, k)[rows]
        for number, name in enumerate(names):
            own = wanted * (band[rows] == number)
            values[f"{stem}@{k}_{m}_{name}"] = ratio_influence(
                own * passed, own, student.index[rows], student.num_requests
            )
    return values


class PassedOn:
    """`coverage@<k>` and `gini@<k>`: which share of the items is passed on at all, and how evenly.

    Items are those that are a candidate anywhere in the split, each counted with its (expected) number of places among
    the first k by the ranking score. Requests of no more than k candidates, which pass on everything, are left out, as
    are candidates whose item is not known.

    Args:
        ks: How many the student passes on.
    """

    of_probabilities = False

    def __init__(self, ks: Sequence[int] = (20,)) -> None:
        self.ks = cutoffs(ks, "metrics.*.ks")

    @property
    def goals(self) -> Mapping[str, Goal]:
        """Neither more nor less is better: chance passes everything on, and most evenly."""
        return {f"{name}@{k}": NEITHER for k in self.ks for name in ("coverage", "gini")}

    def __call__(self, evaluation: Evaluation) -> dict[str, float]:
        """Returns name to value; NaN if no request has more than k candidates."""
        items, ranks = evaluation.items, evaluation.ranks(None)
        size = evaluation.request_size.index_select(0, ranks.index)
        is_known = evaluation.rows.item_id != MISSING_KEY
        values: dict[str, float] = {}
        for k in self.ks:
            (large,) = ((size > k) & is_known).nonzero(as_tuple=True)
            number = items.number.index_select(0, large)
            passed = sum_by_number(membership(ranks.select(large), k), number, items.count)
            passed = passed[torch.bincount(number, minlength=items.count) > 0]
            values[f"coverage@{k}"] = float(total(passed > 0) / passed.numel()) if passed.numel() else float("nan")
            values[f"gini@{k}"] = float(gini(passed))
        return values

    def sampled(self, evaluation: Evaluation) -> Mapping[str, Sampled]:
        """Nothing: how many items are passed on at all grows with the number of requests, which resampling changes."""
        return {}

    def missing(self, evaluation: Evaluation) -> str | None:
        """Nothing is ever missing."""
        return None


def give_exposures(metrics: Mapping[str, object], exposures: ItemExposures) -> None:
    """Tells those of the metrics that go by popularity how often items were exposed."""
    for metric in metrics.values():
        if isinstance(metric, PopularityBands):
            metric.exposures = exposures
