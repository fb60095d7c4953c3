"""Whether a difference from the control is more than chance: a paired test over requests, combined over seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from distill.reports.summary import FEW, SIGNIFICANT, Difference, Summary

PAIRED_NOTE = (
    f"* more than {SIGNIFICANT:g} standard errors from the control, paired over {FEW} requests or more (GAUC: users); "
    "seeds and folds count equally; not corrected for the number of comparisons"
)


@dataclass(frozen=True)
class PairedTest:
    """Distilled minus control on the same requests, the mean over seeds and folds.

    Attributes:
        difference: The mean over seeds (all alike: a fixed effect) of the mean over requests.
        standard_error: Of it. Within a seed it is that over requests. Seeds that were tested on other requests are
            independent, and their errors are added in quadrature; those of one dataset share its requests, and their
            errors are added as they are, which is an upper bound however they depend on one another.
            A fold is a dataset of its own.
        requests: Number of paired requests, each seed's counted.
        deviation: Sample deviation of the difference over seeds and folds, each paired with its own control; NaN of a
            single run.
        few: Whether it rests on fewer than `FEW` requests; seeds that share a dataset share its requests.
    """

    difference: float
    standard_error: float
    requests: int
    deviation: float = math.nan
    few: bool = False

    @property
    def standard_errors(self) -> float:
        """The difference in standard errors."""
        return self.difference / self.standard_error

    @property
    def p(self) -> float:
        """Probability of a difference at least as large by chance (two-sided, normal)."""
        return math.erfc(abs(self.standard_errors) / math.sqrt(2))

    @property
    def significant(self) -> bool:
        """Whether it is more than `SIGNIFICANT` standard errors, of enough requests."""
        return not self.few and abs(self.standard_errors) > SIGNIFICANT


def paired_tests(runs: Sequence[Summary]) -> dict[str, PairedTest]:
    """Tests every metric that all runs have differences of; one without any spread is left out.

    Args:
        runs: Of one configuration, one for each seed and fold.
    """
    names = set.intersection(*(set(run.differences) for run in runs))
    found = {}
    for name in sorted(names):
        own = [(run.dataset, run.differences[name]) for run in runs]
        errors = dict.fromkeys((dataset for dataset, _ in own), 0.0)
        for dataset, difference in own:
            errors[dataset] += difference.standard_error
        error = math.hypot(*errors.values()) / len(own)
        if error > 0:
            mean = math.fsum(d.mean for _, d in own) / len(own)
            spread = statistics.stdev(d.mean for _, d in own) if len(own) > 1 else math.nan
            found[name] = PairedTest(mean, error, sum(d.requests for _, d in own), spread, _few(own))
    return found


def _few(own: Sequence[tuple[str, Difference]]) -> bool:
    """Whether the differences of some seeds, each with its dataset, rest on fewer than `FEW` different requests."""
    different: dict[str, int] = {}
    for dataset, difference in own:
        different[dataset] = max(difference.requests, different.get(dataset, 0))
    return sum(different.values()) < FEW
